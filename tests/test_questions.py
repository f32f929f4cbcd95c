"""What equal questions come to is worked out once, and what is wrong with one is told each time."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import pytest

from lookingglass import configuration
from lookingglass.glass import Glass
from lookingglass.journal import Record
from lookingglass.problems import Problem
from lookingglass.questions import KEPT_PLANS, Question
from lookingglass.visitors import Visitor

COMMANDS = {
    "ping": {"cmd": ["true", "{{TARGET}}"], "argument": "host"},
    "show": {"cmd": ["true"]},
}


@pytest.fixture
def glass() -> Glass:
    return Glass(configuration.read({"commands": COMMANDS}, Path()))


def record_of(question: Question) -> Record:
    return Record(Visitor("", ""), question.path)


@pytest.mark.parametrize("path", ["show", "ping/8.8.8.8", "ping/a.example"])
def test_equal_questions_are_checked_once_and_each_is_noted(glass: Glass, path: str) -> None:
    first, second = record_of(Question(path)), record_of(Question(path))
    assert glass.planner.check(Question(path), first) is glass.planner.check(Question(path), second)
    assert vars(first) | {"began": 0, "visitor": 0} == vars(second) | {"began": 0, "visitor": 0}
    assert (second.command, second.target, second.asked) == (*f"{path}/".split("/")[:2], "")


def test_question_without_a_name_is_planned_once(glass: Glass) -> None:
    checked = glass.check(Question("ping/8.8.8.8"))
    assert glass.planner.plan(checked) is glass.planner.plan(checked)
    other = glass.check(Question("ping/8.8.4.4"))
    assert glass.planner.plan(other).invocation.argv == ("true", "8.8.4.4")


def test_name_is_planned_by_what_was_found_for_it_now(glass: Glass) -> None:
    checked = glass.check(Question("ping/a.example"))
    for address in ("8.8.8.8", "8.8.4.4"):
        plan = glass.planner.plan(checked, (ipaddress.ip_address(address),))
        assert plan.invocation.argv == ("true", address)
        assert plan.subject.address == address
    with pytest.raises(Problem):
        glass.planner.plan(checked, (ipaddress.ip_address("10.0.0.1"),))


def test_parameters_make_another_question(glass: Glass) -> None:
    plain, short = Question("show"), Question("show", (("runtime", "1"),))
    assert glass.check(plain).parameters.runtime is None
    assert glass.check(short).parameters.runtime == 1
    assert glass.check(plain).parameters.runtime is None


@pytest.mark.parametrize(
    ("path", "command"), [("nothing", ""), ("ping/8.8.8.8/24", "ping"), ("show/8.8.8.8", "show")]
)
def test_refusal_is_the_same_each_time_and_noted_as_far_as_it_was_understood(
    glass: Glass, path: str, command: str
) -> None:
    said = set()
    for _ in range(3):
        record = record_of(Question(path))
        with pytest.raises(Problem) as caught:
            glass.check(Question(path), record)
        said.add((str(caught.value), record.command, record.asked))
    ((_, noted, asked),) = said
    assert (noted, asked) == (command, path)


def test_denied_target_is_denied_each_time(glass: Glass) -> None:
    checked = glass.check(Question("ping/127.0.0.1"))
    for _ in range(3):
        with pytest.raises(Problem):
            glass.planner.plan(checked)


def test_many_questions_take_no_more_room_than_a_few(glass: Glass) -> None:
    for number in range(KEPT_PLANS + 50):
        glass.planner.plan(glass.check(Question(f"ping/8.8.{number // 256}.{number % 256}")))
    assert len(glass.planner._known) == KEPT_PLANS
    assert glass.planner._planned.cache_info().currsize == KEPT_PLANS
