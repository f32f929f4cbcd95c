"""TinyTracer in the lab: what the real tools print there, and what it makes of it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from examples.lab.lab import Lab
from lookingglass.facts import facts
from tests.support import HERE, Glass, configuration, lab_prefix

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab(lab_prefix()) as lab:
        yield lab


@pytest.fixture(scope="module")
def glass(lab: Lab) -> Iterator[Glass]:
    glass = Glass(lab, HERE / "examples" / "lab" / "config.json")
    yield glass
    glass.stop()


def text(data: dict[str, Any]) -> str:
    return "\n".join(data["output"])


@pytest.mark.parametrize("target", ["203.0.113.10", "2001:DB8:203::10", "target.example", "v6only.example"])
def test_ping_tells_the_round_trip_times_of_a_target(glass: Glass, target: str) -> None:
    status, data = glass.ask(f"ping/{target}")
    assert status == "success"
    assert 16 <= data["min"] <= data["avg"] <= data["max"]
    assert data["rate"] == 100


def test_name_is_resolved_to_the_family_that_is_asked_for(glass: Glass) -> None:
    for query, address in [
        ("", "203.0.113.10"),
        ("?protocol=1", "203.0.113.10"),
        ("?protocol=2,1", "2001:db8:203::10"),
    ]:
        _, data = glass.ask(f"ping/Target.Example.{query}")
        assert (data["target"], data["address"]) == ("target.example", address)
    _, data = glass.ask("ping/v6only.example")
    assert data["address"] == "2001:db8:203::40"
    status, data = glass.ask("ping/v4only.example?protocol=2")
    assert (status, data["code"]) == ("error", 400)
    status, data = glass.ask("ping/nosuch.example")
    assert (status, data["code"]) == ("error", 400)


def test_name_of_a_special_address_is_denied_by_default(lab: Lab, tmp_path: Path) -> None:
    config, witness = tmp_path / "config.json", tmp_path / "ran"
    config.write_text(json.dumps({"commands": {"ping": {"cmd": ["touch", str(witness), "{{TARGET}}"]}}}))
    glass = Glass(lab, config, port=8081)
    status, data = glass.ask("ping/target.example")
    glass.stop()
    assert (status, data["code"]) == ("error", 400)
    assert "allowed" in data["message"]
    assert not witness.exists()


def test_every_address_of_a_name_is_judged(lab: Lab, tmp_path: Path) -> None:
    config, witness = tmp_path / "config.json", tmp_path / "ran"
    command = {"cmd": ["touch", str(witness), "{{TARGET}}"]}
    config.write_text(json.dumps({"commands": {"ping": command}, "targets": {"deny": ["10.0.0.0/8"]}}))
    glass = Glass(lab, config, port=8085)
    for _ in range(4):  # whichever answer comes first
        status, data = glass.ask("ping/mixed.example")
        assert (status, data["code"]) == ("error", 400)
        assert not witness.exists()
    assert glass.ask("ping/target.example")[0] == "success"
    glass.stop()
    assert witness.exists()


def test_lossy_target_answers_in_part(lab: Lab) -> None:
    argv = ["ping", "-4", "-n", "-c", "60", "-i", "0.02", "-W", "1", "lossy.example"]
    output = lab.exec("lg", argv).stdout
    received = int(output.partition(" received")[0].rpartition(" ")[2])
    assert 20 <= received <= 58


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("203.0.113.66", "Destination Host Unreachable"),
        ("2001:db8:203::66", "No route"),
        ("203.0.113.67", "Packet filtered"),
        ("2001:db8:203::67", "Administratively prohibited"),
        ("203.0.113.77", "no answer yet"),
        ("203.0.113.99", "Destination Host Unreachable"),
    ],
)
def test_ping_without_an_answer_is_fail_and_says_why(glass: Glass, target: str, said: str) -> None:
    status, data = glass.ask(f"ping/{target}")
    assert status == "fail"
    assert data["rate"] == 0
    assert said in text(data)


@pytest.mark.parametrize("target", ["203.0.113.10", "2001:db8:203::10"])
def test_traceroute_shows_the_chain_by_name(glass: Glass, target: str) -> None:
    status, data = glass.ask(f"traceroute/{target}")
    assert status == "success"
    lines = data["output"][1:]
    assert len(lines) == 5
    for line, name in zip(lines, ("ge0-0.r1", "xe-0-1-0.r2", "r3", "be10.r4", "target"), strict=True):
        assert name in line or (name == "r3" and "*" in line)


def test_traceroute_to_a_prohibited_target_ends_in_a_note(glass: Glass) -> None:
    _, data = glass.ask("traceroute/prohibited.example")
    assert "!X" in data["output"][-1]


@pytest.mark.parametrize("target", ["203.0.113.10", "2001:db8:203::10"])
def test_mtr_shows_every_hop(glass: Glass, target: str) -> None:
    status, data = glass.ask(f"mtr/{target}")
    assert status == "success"
    for number, name in enumerate(
        ("ge0-0.r1.lg", "xe-0-1-0.r2.transit", "", "be10.r4.dc", "target"), start=1
    ):
        assert any(f"{number}.|-- {name}" in line for line in data["output"])


@pytest.mark.parametrize("target", ["203.0.113.10", "2001:db8:203::10", "203.0.113.77"])
def test_mtr_tells_the_facts_that_it_prints_itself(glass: Glass, target: str) -> None:
    _, data = glass.ask(f"mtr/{target}")
    argv = ["mtr", "--json", "--show-ips", "-c", "5", "-i", "0.2", "-G", "1", "-m", "30", target]
    own = facts("mtr", glass.lab.exec("lg", argv).stdout)["hops"]
    assert len(data["hops"]) == len(own) >= 3
    for ours, theirs in zip(data["hops"], own, strict=True):
        assert (ours["hop"], ours["sent"]) == (theirs["hop"], 5)
        if "avg" in ours and "avg" in theirs:  # the third router answers only some
            assert ours["address"] == theirs["address"]
            assert ours["name"] in {theirs["name"], None}  # which may come too late for a raw line
            assert 0 < ours["best"] <= ours["avg"] <= ours["worst"]  # ms, which another minute has others of
    assert data["hops"][-1]["loss"] == own[-1]["loss"]
    assert data["output"][1].startswith("HOST: ")
    assert facts("mtr", text(data))["hops"][0]["address"] == own[0]["address"]


def test_mtr_is_live_as_facts_and_prints_its_report_at_the_end(glass: Glass) -> None:
    body = glass.get("mtr/target.example", "-H", "Accept: text/event-stream")
    events = [re.findall(r"(event|data): (.*)", block) for block in body.split("\n\n")]
    named = [(lines[0][1], json.loads(lines[1][1])) for lines in events if len(lines) == 2]
    sent = [data["hops"][0]["sent"] for name, data in named if name == "facts"]
    assert set(sent) == {1, 2, 3, 4, 5}
    assert [name for name, _ in named if name != "facts"] == ["output", "result"]
    assert named[-1][1]["data"]["output"] == dict(named)["output"]["text"].splitlines()
    plain = glass.get("mtr/target.example", "-H", "Accept: text/plain")
    assert re.match(r"Start: .*\nHOST: .*\n  1\.\|-- ge0-0\.r1\.lg\.example \(198\.51\.100\.2\) ", plain)


def test_mtr_that_is_stopped_tells_what_it_knew(lab: Lab, tmp_path: Path) -> None:
    mtr = ["mtr", "-4", "--raw", "-c", "1000", "-i", "0.2", "-G", "1", "{{TARGET}}"]
    config = configuration(tmp_path, commands={"mtr": {"cmd4": mtr, "parser": "mtr"}})
    glass = Glass(lab, config, port=8086)
    envelope = json.loads(glass.get("mtr/target.example?runtime=3"))
    glass.stop()
    data = envelope["data"]
    assert envelope["code"] == 504
    assert "203.0.113.10" in text(data)
    assert 1 <= data["hops"][-1]["sent"] <= 20


def test_mtr_shows_loss_on_one_hop_only(lab: Lab) -> None:
    done = lab.exec("lg", ["mtr", "-4", "-rwbn", "-c", "40", "-i", "0.05", "-G", "1", "203.0.113.10"])
    loss = {line.split()[1]: float(line.split()[2].rstrip("%")) for line in done.stdout.splitlines()[2:]}
    assert 10 <= loss.pop("198.51.100.10") <= 75
    assert all(share <= 25 for share in loss.values()), done.stdout


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("203.0.113.10", "via 198.51.100.2 dev eth0"),
        ("203.0.113.0/24", "default via 198.51.100.2"),
        ("198.51.100.0/30", "198.51.100.0/30 dev eth0"),
        ("2001:db8:203::10", "via 2001:db8:1::2 dev eth0"),
        ("2001:DB8:203::/48", "default via 2001:db8:1::2"),
    ],
)
def test_show_route_asks_the_kernel(glass: Glass, target: str, said: str) -> None:
    status, data = glass.ask(f"show/route/{target}")
    assert status == "success"
    assert said in text(data)


def test_each_reply_comes_when_it_is_there(glass: Glass) -> None:
    arrivals = glass.arrivals("ping/203.0.113.10", "icmp_seq=")
    assert len(arrivals) == 5
    assert arrivals[-1] - arrivals[0] > 0.5
