"""Verdicts: the sentence that a network engineer would say, by the facts and not by the exit status."""

from __future__ import annotations

from typing import Any

import pytest

from lookingglass.facts import facts
from lookingglass.pictures import draw, verdicts
from lookingglass.pictures.board import Row, board
from lookingglass.pictures.verdicts import VERDICTS, of_outcome, running, waiting
from tests import pictures
from tests.pictures import mtr, ping, text_of, tree
from tests.samples import read


def of(found: Any, status: str = "success", **data: Any) -> tuple[str, str]:
    verdict = of_outcome(200, {"status": status, "data": {"output": [], **data, **found}})
    assert verdict.mark == VERDICTS[verdict.kind]
    return verdict.kind, verdict.words


def test_answer_with_loss_is_lossy_whatever_its_exit_status_is() -> None:
    assert of(ping(30, pictures.LOST)) == ("lossy", "37 % lost")
    assert of(ping(30, pictures.LOST), "fail") == ("lossy", "37 % lost")
    spoken = of_outcome(200, {"data": {"output": [], **ping(30, pictures.LOST), "avg": 18.3}}).spoken
    assert spoken == "37 percent lost, average 18.3 milliseconds"


@pytest.mark.parametrize(
    ("name", "target", "kind", "words"),
    [
        ("ping4-ok.out", "203.0.113.10", "good", "all answered"),
        ("ping4-quiet.out", "203.0.113.10", "good", "all answered"),
        ("ping4-100loss.out", "192.0.2.66", "bad", "no answer"),
        ("ping4-no-such-host-on-lan.out", "", "bad", "no answer: host unreachable, says 198.51.100.14"),
        ("ping6-unreachable-route.out", "", "bad", "no answer: no route, says 2001:db8:4::2"),
        ("traceroute4.out", "203.0.113.10", "good", "reached in 5 hops, 19.0 ms"),
        ("traceroute4-unreachable-H.out", "203.0.113.66", "bad", "host unreachable (!H), says hop 19"),
        ("traceroute6-unreachable.out", "", "bad", "network unreachable (!N), says hop 4"),
        ("traceroute4-stars-blackhole.out", "192.0.2.66", "bad", "no answer after hop 2"),
        ("mtr4-raw.out", "203.0.113.10", "good", "reached in 5 hops, 18.4 ms"),
        ("mtr4-loss-report.out", "203.0.113.20", "lossy", "50 % lost at the target"),
        ("mtr4-blackhole-raw.out", "192.0.2.66", "bad", "no answer after hop 2"),
        ("mtr4-unreachable-report.out", "", "lossy", "60 % lost at the last hop"),
        ("frr-r3-prefix4.out", "", "good", "2 paths, best via 198.51.100.9"),
        ("birdc-r1-show-route-all.out", "", "good", "25 paths to 19 prefixes"),
        ("frr-r3-local4.out", "", "good", "1 path, best via 0.0.0.0"),
        ("frr-r3-summary.out", "", "lossy", "1 of 7 down"),
        ("birdc-r1-show-protocols-all.out", "", "lossy", "2 of 5 down"),
        ("birdc-show-protocol-one-all.out", "", "good", "up"),
    ],
)
def test_verdicts_on_what_real_tools_printed(name: str, target: str, kind: str, words: str) -> None:
    assert of(read(name), target=target) == (kind, words)


@pytest.mark.parametrize(
    ("status", "text", "verdict"),
    [
        ("success", "% Network not in table", ("bad", "Network not in table")),
        ("success", "% No such neighbor in this view/vrf\n\n", ("bad", "No such neighbor in this view/vrf")),
        ("success", "BIRD 2.0.12 ready.\nAccess restricted\n", ("good", "empty answer")),
        ("success", "BIRD 2.0.12 ready.\nTable master4:\nNetwork not found\n", ("good", "done")),
        ("success", "% one\n% two\n", ("good", "done")),
        ("success", "% " + "x" * 500, ("bad", "x" * 117 + "…")),
        ("fail", "There is no BGP neighbor 192.0.2.1.\n", ("bad", "There is no BGP neighbor 192.0.2.1")),
        ("fail", "BIRD 2.0.12 ready.\nNetwork not found\n", ("bad", "Network not found")),
        ("fail", "many\nlines\n", ("bad", "failed")),
    ],
)
def test_text_that_is_only_a_complaint_is_the_verdict(status: str, text: str, verdict: Any) -> None:
    assert of({}, status, output=text.split("\n")) == verdict


def test_error_of_an_unknown_sender_is_told_without_one() -> None:
    text = "From face.b00c icmp_seq=1 Destination Host Unreachable\n1 packets transmitted, 0 received\n"
    found = facts("ping", text)
    assert found["errors"][0]["address"] is None
    assert of(found) == ("bad", "no answer: host unreachable")
    assert "lost, Destination Host Unreachable<" in draw(found, is_over=True).picture


def test_target_is_compared_as_an_address() -> None:
    found = mtr((0, 1.0), (0, 9.0))
    found["hops"][-1]["address"] = "2001:db8::0:10"
    assert of(found, target="lossy.example", address="2001:db8::10") == ("good", "reached in 2 hops, 9.1 ms")
    assert of(found, target="192.0.2.1") == ("bad", "target not reached, last answer from hop 2")
    assert of(found, target="lossy.example") == ("good", "2 hops, 9.1 ms")


@pytest.mark.parametrize(
    ("status", "envelope", "kind", "words"),
    [
        (504, {"message": "The time is up after 30.0 s; …", "data": {"output": []}}, "late", "time is up"),
        (504, {"message": "", "data": {"output": [], **ping(4, [2])}}, "late", "time is up, 25 % lost"),
        (503, {"message": "The command was stopped.", "data": {"output": []}}, "stopped", "stopped"),
        (
            500,
            {
                "message": "The output is longer than 256 KiB and was cut.",
                "data": {"output": [], "truncated": True},
            },
            "cut",
            "cut after 256 KiB",
        ),
        (429, {"message": "Too many. Try again in 5 s."}, "refused", "Too many. Try again in 5 s"),
        (503, {"message": "No room. Try again in 5 s."}, "refused", "No room. Try again in 5 s"),
        (400, {"message": "This is no address."}, "bad", "This is no address"),
        (502, {"message": "The router could not be reached."}, "bad", "The router could not be reached"),
        (200, {"status": "success", "data": {"output": ["x"]}}, "good", "done"),
        (200, {"status": "success", "data": {"output": []}}, "good", "empty answer"),
        (200, {"status": "success", "data": {"output": [{"dst": "default"}]}}, "good", "done"),
        (200, {"status": "fail", "data": {"output": []}}, "bad", "failed"),
    ],
)
def test_verdict_on_how_an_answer_ended(status: int, envelope: Any, kind: str, words: str) -> None:
    assert of_outcome(status, envelope)[1:3] == (kind, words)


def test_waiting_and_running_say_how_long() -> None:
    assert [waiting(place).words for place in (1, 2, 3, 4, 11, 22)] == [
        f"waits, {place} in the queue" for place in ("1st", "2nd", "3rd", "4th", "11th", "22nd")
    ]
    found = running({}, 5.12, 30)
    assert (found.mark, found.words, found.spoken) == ("●", "running, 5.1 of 30 s", "running")


# --- the board


def test_board_has_a_row_for_each_router_on_one_axis() -> None:
    near, far = ping(5), ping(5, slow=dict.fromkeys(range(1, 6), 168.0))
    verdict = verdicts.verdict("good", "all answered")
    drawn = board(
        [
            Row("r1", "Berlin DE", verdict, near, True),
            Row("r8", "Sydney AU", verdict, far, True),
            Row("r9", "Zürich CH", waiting(2), {}, False),
        ]
    )
    root = tree(drawn)
    cells = [[text_of(cell) for cell in row] for row in root.iter("tr")]
    assert cells[0][:5] == ["Router", "State", "Lost", "Avg", "Max"]
    assert cells[1][:5] == ["r1 Berlin DE", "✓ done", "0 %", "18.0", "18.2"]
    assert cells[2][:5] == ["r8 Sydney AU", "✓ done", "0 %", "168.0", "168.0"]
    assert cells[3] == ["r9 Zürich CH", "… waits, 2nd in the queue", "", "", "", ""]
    dots = [pictures.percent(dot, "cx") for dot in pictures.of_class(root, "dot")]
    assert dots == pytest.approx([9.0, 84.0], abs=0.01)


def test_board_of_routes_has_no_axis() -> None:
    verdict = verdicts.verdict("good", "2 paths, best via 198.51.100.6")
    cells = [
        [text_of(cell) for cell in row]
        for row in tree(board([Row("r1", "", verdict, pictures.TWO_PATHS, True)])).iter("tr")
    ]
    assert cells == [["Router", "State"], ["r1", "✓ 2 paths, best via 198.51.100.6"]]
