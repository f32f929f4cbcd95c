"""The benchmark measures what it says, and counts what is wrong."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench import report
from tests.bench.__main__ import GROUPS, PEERS
from tests.bench.peers import Peer, beside
from tests.bench.table import Goal, Pair, Row, machine, percentile, summary
from tests.bench.viewers import PIPE, Line, judge, lines_of

HERE = Path(__file__).parent.parent
ROWS = {
    "run": ["fork, exec and wait | a run, ms", "runs for 8 clients: a second"],
    "guard": ["guard of a run, memory | SQLite: median, µs", "guard of a run, memory | SQLite: p99, µs"],
    "idle": ["start to first answer, s", "idle: memory (PSS), MiB"],
}


@pytest.mark.slow
def test_short_round_has_all_rows_with_numbers(tmp_path: Path) -> None:
    told = tmp_path / "figures.json"
    short = ["--rounds=1", "--seconds=0.3", f"--json={told}"]
    argv = [sys.executable, "-m", "tests.bench", ",".join(ROWS), *short]
    shown = subprocess.run(argv, cwd=HERE, capture_output=True, text=True, timeout=120, check=True).stdout
    rows = {(row["group"], row["name"]): row for row in json.loads(told.read_text())["rows"]}
    for group, names in ROWS.items():
        for name in names:
            row = rows[group, name]
            assert row["bare"] > 0
            assert row["ours"] > 0
            assert f"\n{name} " in shown


def test_goal_without_a_figure_is_missed() -> None:
    row = summary(Row("nothing", Goal("ratio", "≥", 0.85)), [Pair(math.nan, math.nan)])
    assert row["holds"] is False
    assert row["ratio"] is None


def test_one_bad_round_does_not_miss_a_goal_but_one_lost_line_does() -> None:
    rounds = [Pair(math.nan, ours) for ours in (0, 0, 1)]
    assert Goal("ours", "≤", 0).is_reached(rounds)
    assert not Goal("ours", "≤", 0, max).is_reached(rounds)


def test_percentile_of_a_hundred_values_leaves_one_out() -> None:
    assert percentile(range(1, 101), 99) == 99
    assert math.isnan(percentile([], 99))


def test_line_that_comes_in_two_pieces_has_come_with_the_second() -> None:
    pieces = [(1.5, 0, b"#7 1.000"), (3.0, PIPE, b"#1 2.000000;\n"), (2.5, 0, b"000;\n#8 2.000000;\n")]
    assert lines_of(pieces, 1) == {0: [Line(7, 1.0, 2.5), Line(8, 2.0, 2.5)], PIPE: [Line(1, 2.0, 3.0)]}


@pytest.mark.parametrize(
    ("seen", "wrong"), [([1, 2, 3], 0), ([1, 3], 1), ([1, 2, 2, 3], 1), ([], 3)], ids=str
)
def test_line_that_does_not_come_exactly_once_is_wrong(seen: list[int], wrong: int) -> None:
    lines = {0: [1, 2, 3], 1: seen, PIPE: [1]}
    found = judge(
        {viewer: [Line(each, 1.0, 1.25) for each in numbers] for viewer, numbers in lines.items()},
        ["/a", "/a"],
        lambda line: True,
    )
    assert found["wrong"] == wrong
    assert found["viewers"] == [250.0] * 3


def test_page_shows_all_rows_under_the_titles_of_their_groups() -> None:
    rows = [
        {"group": name, **summary(Row(f"one | two of {name}", Goal("ours", "≤", 2)), [Pair(1, 3)])}
        for name in GROUPS | PEERS
    ]
    shown = report.page(machine(), rows)
    assert [line[3:] for line in shown.splitlines() if line.startswith("## ")] == list(report.GROUPS.values())
    for name in GROUPS:
        assert rf"| one \| two of {name} | 1.00 | 3.00 | 3.00 | 3.00 .. 3.00 | ours ≤ 2 | **no** |" in shown
    assert str(HERE) not in shown


def test_peer_that_does_not_start_is_left_out_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(beside(Peer("nobody", "false", ()), 0.1)) == []
    assert capsys.readouterr().err.startswith("nobody is left out: ")


def test_peer_is_measured_beside_us() -> None:
    peer = Peer("files", sys.executable, ("-m", "http.server", "--bind=127.0.0.1", "PORT"))
    rounds = beside(peer, 0.1)
    names = [
        row.name.partition(": ")[2] for row, pair in next(rounds).items() if pair.bare > 0 and pair.ours > 0
    ]
    rounds.close()
    assert names == ["start to first answer, s", "page, a second", "memory (PSS), MiB"]
