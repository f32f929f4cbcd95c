"""SECURITY.md: every test that it names is there, and every attack of its table takes less than it did."""

from __future__ import annotations

import functools
import re

import pytest

from tests.prices import AFTER, ATTACKS, BEFORE, Harm, measure
from tests.support import HERE

TEXT = (HERE / "SECURITY.md").read_text()
TESTS = "\n".join(path.read_text() for path in (HERE / "test_tinytracer.py", *HERE.glob("tests/test_*.py")))
MINUTES = 3.0
BY_NAME = {attack.name: attack for attack in ATTACKS}
# What an attack took before, and the same with ten times as many networks or addresses.
TENFOLD = {
    "one /48 (24 of its /64s), mtr": "ten /48s, mtr",
    "one /48 (24 of its /64s), ping of 30 s": "ten /48s, ping of 30 s",
    "32 addresses of 4 networks, viewing one ping of 30 s": (
        "320 addresses of 40 networks, viewing one ping of 30 s"
    ),
    "11 addresses, silent name servers": "110 addresses of 110 networks, silent name servers",
    "two addresses, for one target /24": "20 addresses, for one target /24",
}


@functools.cache
def before(name: str) -> Harm:
    return measure(BEFORE, BY_NAME[name], MINUTES)


@functools.cache
def after(name: str) -> Harm:
    return measure(AFTER, BY_NAME[name], MINUTES)


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`(test_\w+)`", TEXT))))
def test_test_that_the_page_names_is_there(name: str) -> None:
    assert re.search(rf"^def {name}\(", TESTS, re.MULTILINE)


def test_page_has_every_attack_that_is_measured() -> None:
    rows = re.findall(r"^\| ([^|]+) \| [0-9]+% ", TEXT, re.MULTILINE)
    assert rows == list(BY_NAME)


@pytest.mark.slow
@pytest.mark.parametrize("name", BY_NAME)
def test_attack_takes_no_more_from_others_than_it_did(name: str) -> None:
    assert after(name).refused <= before(name).refused + 0.01
    assert after(name).lasting <= 5


@pytest.mark.parametrize(("name", "tenfold"), TENFOLD.items())
def test_ten_times_as_much_takes_less_than_it_did(name: str, tenfold: str) -> None:
    assert after(tenfold).refused < max(0.1, before(name).refused)


def test_all_was_taken_from_others_and_now_hardly_anything_is() -> None:
    """The figures of the page mean something: the old limits lose what the new ones keep."""
    assert before("one /48 (24 of its /64s), ping of 30 s").refused > 0.9
    assert after("one /48 (24 of its /64s), ping of 30 s").refused < 0.01
    assert before("ten /48s, mtr").refused > 0.5
    assert before("20 addresses, for one target /24").refused > 0.4
    assert after("20 addresses, for one target /24").refused < 0.1
