"""The key reuse: a finished success answers the same question again, for a while and within bounds."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from commands import Invocation
from lookingglass import finished as finished_module
from lookingglass import journal as journal_module
from lookingglass.finished import Reuse
from lookingglass.journal import Outcome, Record
from lookingglass.registry import Runs
from lookingglass.runs import Viewer
from tests.support import GENEROUS, V1, Ask, Reply, Serve, Slots, asker, build, error, sh, soon, to_the_end

PID = [sys.executable, "-c", "import os; print(os.getpid())", "{{TARGET}}"]
COMMANDS: dict[str, Any] = {
    "fresh": {"cmd": PID, "argument": "address", "reuse": 60},
    "brief": {"cmd": PID, "argument": "address", "reuse": 1},
    "never": {"cmd": PID, "argument": "address", "description": "The same argv as fresh"},
    "fail": {"cmd": ["sh", "-c", "echo $$; exit 1"], "reuse": 60},
    "slow": {"cmd": ["sh", "-c", "echo $$; exec sleep 1000"], "runtime": 0.3, "reuse": 60},
    "endless": {"cmd": ["sh", "-c", "echo $$; exec yes"], "reuse": 60},
    "pieces": {"cmd": ["sh", "-c", "for i in 1 2 3; do echo $i; sleep 0.05; done"], "reuse": 60},
}
TARGET = "192.0.2.1"
ALWAYS = Reuse(60.0, lambda status, text: status == 0)


@pytest.fixture
def ask() -> Ask:
    return asker(build({"commands": COMMANDS}))


def pid_of(reply: Reply) -> str:
    line: str = reply.json["data"]["output"][0]
    return line


def without_result(reply: Reply) -> dict[str, Any]:
    return {name: value for name, value in reply.json["data"].items() if name != "result"}


def test_success_answers_again_with_its_age_and_its_own_time(ask: Ask) -> None:
    first = ask(f"{V1}/fresh/{TARGET}")
    time.sleep(1.1)
    again = ask(f"{V1}/fresh/{TARGET}")
    assert without_result(again) == without_result(first)  # performed_at and runtime included
    assert "Age" not in first.headers
    assert 1 <= int(again.headers["Age"]) < 60


def test_another_question_or_a_command_without_the_key_runs_anew(ask: Ask) -> None:
    paths = (f"fresh/{TARGET}", "fresh/192.0.2.2", f"fresh/{TARGET}", f"never/{TARGET}", f"never/{TARGET}")
    replies = [ask(f"{V1}/{path}") for path in paths]
    assert pid_of(replies[0]) == pid_of(replies[2])
    assert len({pid_of(reply) for reply in replies}) == 4
    assert all("Age" not in reply.headers for reply in (*replies[:2], *replies[3:]))


def test_being_asked_for_does_not_make_it_last_longer(ask: Ask) -> None:
    began = time.monotonic()
    pids = [pid_of(ask(f"{V1}/brief/{TARGET}"))]
    while pids[-1] == pids[0] and time.monotonic() - began < 10:
        time.sleep(0.1)
        pids.append(pid_of(ask(f"{V1}/brief/{TARGET}")))
    assert len(pids) > 2
    assert pids[-1] != pids[0]


@pytest.mark.parametrize("path", ["fail", "slow", "endless"])
def test_what_did_not_succeed_is_never_told_again(path: str, ask: Ask) -> None:
    replies = [ask(f"{V1}/{path}") for _ in range(2)]
    assert pid_of(replies[0]) != pid_of(replies[1])
    assert all("Age" not in reply.headers for reply in replies)


def test_run_that_was_left_is_never_told_again(serve: Serve) -> None:
    server = serve(commands={"wait": {"cmd": ["sh", "-c", "echo $$; sleep 1"], "reuse": 60}})
    with server.begin(f"{V1}/wait"):
        first = server.wait_for_children()
    assert soon(lambda: not server.children())
    status, headers, body = server.get(f"{V1}/wait")
    assert (status, "Age" in headers) == (200, False)
    assert {int(json.loads(body)["data"]["output"][0])}.isdisjoint(first)


def test_events_and_text_replay_all_of_it(ask: Ask) -> None:
    ask(f"{V1}/pieces")
    time.sleep(1.1)
    events = ask(f"{V1}/pieces", "text/event-stream")
    assert int(events.headers["Age"]) >= 1
    blocks = events.text.split("\n\n")
    assert json.loads(blocks[1].partition("data: ")[2]) == {"text": "1\n2\n3\n"}
    assert '"status": "success"' in blocks[-2]
    text = ask(f"{V1}/pieces", "text/plain")
    assert text.text == f"1\n2\n3\n\n--- This was run {text.headers['Age']} s ago.\n"
    page = ask("/?cmd=pieces&run=1")
    assert f"s, run {page.headers['Age']} s ago</span>" in page.text


def test_it_costs_a_token_but_no_slot_and_no_token_of_the_target(serve: Serve) -> None:
    commands = {**COMMANDS, "wait": {"cmd": ["sleep", "1000"]}}
    limits = {**GENEROUS, "concurrent": 1, "target_rate": "1/hour", "rate": "3/hour", "burst": 3}
    server = serve(commands=commands, limits=limits)
    assert server.get(f"{V1}/fresh/{TARGET}")[0] == 200
    assert server.get(f"{V1}/never/192.0.2.2")[0] == 429  # the target network has had its run; it is not paid
    with server.begin(f"{V1}/wait"):
        server.wait_for_children()
        status, headers, _ = server.get(f"{V1}/fresh/{TARGET}")
        assert (status, "Age" in headers) == (200, True)
    refused = Reply(*server.get(f"{V1}/fresh/{TARGET}"))
    assert "3 tokens" in error(refused, 429)


def test_log_line_tells_that_it_was_told_again(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    monkeypatch.setattr(journal_module.log, "isEnabledFor", lambda level: True)
    monkeypatch.setattr(journal_module.log, "info", seen.append)
    ask = asker(build({"commands": COMMANDS}))
    for _ in range(2):
        ask(f"{V1}/fresh/{TARGET}")
    assert "shared=1" in seen[0]
    assert "reused" not in seen[0]
    assert "shared=0 reused=0" in seen[1]


def test_figures_count_what_was_told_again() -> None:
    ask = asker(build({"commands": COMMANDS, "metrics": ["198.51.100.0/24"]}))
    for _ in range(3):
        ask(f"{V1}/fresh/{TARGET}")
    assert "tinytracer_reused_answers_total 2.0\n" in ask("/metrics").text
    assert "tinytracer_shared_answers_total 0.0\n" in ask("/metrics").text


def test_record_of_an_answer_that_did_not_begin_says_nothing_of_it() -> None:
    seen: list[tuple[Record, Outcome]] = []
    application = build({"commands": COMMANDS})
    application._glass.journal.add(lambda record, outcome: seen.append((record, outcome)))
    asker(application)(f"{V1}/fresh/-c1")
    assert [(record.reused, outcome.word) for record, outcome in seen] == [(None, "refused")]


# --- bounds


@pytest.fixture
def view() -> Iterator[Callable[..., Viewer]]:
    runs = Runs(output_limit=1 << 20)
    slots = Slots()

    def view(script: str) -> Viewer:
        return runs.view(Invocation(sh(script)), slots, 10, 10, ALWAYS)

    view.runs, view.slots = runs, slots  # type: ignore[attr-defined]
    yield view
    runs.close()


def test_oldest_ones_make_room_when_there_are_too_many(
    view: Callable[..., Viewer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finished_module, "ENTRIES", 3)
    texts = [to_the_end(view(f"echo $$ {number}"))[0] for number in range(5)]
    again = [to_the_end(view(f"echo $$ {number}"))[0] for number in (4, 3, 2)]
    assert again == texts[:1:-1]
    assert to_the_end(view("echo $$ 0"))[0] != texts[0]


def test_bytes_are_bounded_also_when_they_came_one_by_one(view: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finished_module, "BYTES", 40_000)
    kept = view.runs._finished
    for number in range(8):
        to_the_end(view(f"echo $$; head -c 9999 /dev/zero | tr '\\0' {number}"))
        assert kept._size <= 40_000
    assert 1 <= len(kept) <= 3
    to_the_end(view("head -c 50000 /dev/zero | tr '\\0' x"))  # more than all
    assert 1 <= len(kept) <= 3


def test_nothing_stays_behind_its_time(view: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = view.runs._finished
    to_the_end(view("echo 1"))
    assert len(kept) == 1
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 61)
    to_the_end(view("echo 2"))
    assert [invocation.argv[-1] for invocation in kept._kept] == ["echo 2"]


def test_visitors_at_once_share_one_run_and_later_ones_find_it(view: Any) -> None:
    first, second = view("echo $$; sleep 0.3"), view("echo $$; sleep 0.3")
    text = to_the_end(first)[0]
    assert to_the_end(second)[0] == text
    later = [view("echo $$; sleep 0.3") for _ in range(3)]
    assert [viewer.read() for viewer in later] == [text] * 3
    assert [to_the_end(viewer)[1].reason for viewer in later] == ["exit"] * 3
    assert (view.slots.taken, view.slots.returned) == (1, 1)
