"""The lab itself: what a person expects to see in it, and that nothing of it is left afterwards."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from examples.lab import lab as program
from examples.lab.lab import CHAIN, WIRES, Lab, LabError
from tests.support import lab_prefix

pytestmark = pytest.mark.lab
NAMES = ["ge0-0.r1.lg.example", "xe-0-1-0.r2.transit.example", "ae3.r3.transit.example", "be10.r4.dc.example"]
FAMILIES = pytest.mark.parametrize("family", ["-4", "-6"])


def leftovers(lab: Lab) -> list[str]:
    """Return what there is of a lab, by name."""
    argv = ["ip", "netns", "list"]
    namespaces = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.split()
    places = [Path("/etc/netns"), Path("/sys/class/net"), Path("/run/netns")]
    files = [each for place in places if place.exists() for each in place.iterdir()]
    return [
        *(name for name in namespaces if name.startswith(lab.prefix)),
        *(str(each) for each in files if each.name.startswith(lab.prefix)),
        *([str(lab.state)] if lab.state.exists() else []),
    ]


def processes(lab: Lab) -> list[int]:
    """Return the processes in a lab's namespaces."""
    found: list[int] = []
    for host in (*CHAIN, WIRES):
        argv = ["ip", "netns", "pids", lab.namespace(host)]
        listed = subprocess.run(argv, capture_output=True, text=True, check=False).stdout
        found += map(int, listed.split())
    return found


def alive(pids: list[int]) -> list[int]:
    return [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def command(lab: Lab, *argv: str) -> list[str]:
    """Return a command line of lab.py for a lab."""
    return [sys.executable, program.__file__, "--prefix", lab.prefix, *argv]


@pytest.fixture
def spare() -> Iterator[Lab]:
    """Yield a lab that is not up, beside the one that the tests share; afterwards it is down."""
    lab = Lab(lab_prefix())
    yield lab
    lab.down()
    assert leftovers(lab) == []


@FAMILIES
def test_ping_takes_as_long_as_the_cables(lab: Lab, family: str) -> None:
    done = lab.exec("lg", ["ping", family, "-c", "5", "-i", "0.2", "-W", "2", "target.example"])
    assert done.returncode == 0, done
    times = sorted(map(float, re.findall(r"time=([\d.]+)", done.stdout)))
    assert len(times) == 5
    assert 16.8 <= times[0] <= 200  # ms: twice 0.4 + 1 + 2.5 + 4 + 0.5; the rest is this machine's


@FAMILIES
def test_traceroute_shows_the_chain_by_name(lab: Lab, family: str) -> None:
    argv = ["traceroute", family, "-q", "8", "-N", "8", "-w", "2", "target.example"]
    lines = lab.exec("lg", argv).stdout.splitlines()[1:]
    assert len(lines) == 5
    for line, name in zip(lines, [*NAMES, "target.example"], strict=True):
        assert name in line


@FAMILIES
def test_mtr_shows_loss_on_the_third_hop_only(lab: Lab, family: str) -> None:
    argv = ["mtr", family, "--report-wide", "-n", "-c", "40", "-i", "0.05", "-G", "1", "target.example"]
    lines = lab.exec("lg", argv).stdout.splitlines()[2:]
    losses = [float(line.split()[2].rstrip("%")) for line in lines]
    assert len(losses) == 5
    assert 5 <= losses.pop(2) <= 80
    assert max(losses) <= 25


@FAMILIES
def test_lossy_target_loses_some(lab: Lab, family: str) -> None:
    done = lab.exec("lg", ["ping", family, "-c", "80", "-i", "0.02", "-W", "1", "lossy.example"])
    received = re.search(r"(\d+) received", done.stdout)
    assert received
    assert 25 <= int(received[1]) <= 76


@pytest.mark.parametrize(
    ("name", "said4", "said6"),
    [
        ("unreachable", "Destination Host Unreachable", "No route"),
        ("prohibited", "Packet filtered", "Administratively prohibited"),
        ("nobody", "Destination Host Unreachable", "Address unreachable"),
    ],
)
def test_refused_target_says_why(lab: Lab, name: str, said4: str, said6: str) -> None:
    for family, said in (("-4", said4), ("-6", said6)):
        done = lab.exec("lg", ["ping", family, "-c", "2", "-i", "1.2", "-W", "3", f"{name}.example"])
        assert done.returncode == 1
        assert f"From {NAMES[3]}" in done.stdout
        assert said in done.stdout


@FAMILIES
def test_silent_target_says_nothing(lab: Lab, family: str) -> None:
    done = lab.exec("lg", ["ping", family, "-c", "2", "-i", "0.2", "-W", "1", "silent.example"])
    assert done.returncode == 1
    assert "From" not in done.stdout
    assert "100% packet loss" in done.stdout


def test_what_no_router_knows_is_unreachable_at_the_first(lab: Lab) -> None:
    done = lab.exec("lg", ["ping", "-n", "-c", "1", "-W", "2", "192.0.2.200"])
    assert "From 198.51.100.2 icmp_seq=1 Destination Net Unreachable" in done.stdout


@pytest.mark.parametrize("host", ["lg", "r4"])
def test_names_are_known_both_ways_on_every_host(lab: Lab, host: str) -> None:
    for name, address in [
        (NAMES[2], "198.51.100.10"),
        (NAMES[2], "2001:db8:3::2"),
        ("target.example", "203.0.113.10"),
        ("v6only.example", "2001:db8:203::40"),
        ("private.example", "10.0.0.1"),
    ]:
        assert name in lab.exec(host, ["getent", "hosts", address]).stdout.split()
        assert f"{address} " in lab.exec(host, ["getent", "ahosts", name]).stdout


@pytest.mark.parametrize("name", ["nosuch.example", "www.example.net"])
def test_other_names_are_unknown(lab: Lab, name: str) -> None:
    assert lab.exec("lg", ["getent", "ahosts", name]).returncode == 2


def test_tcp_passes_whole_through_the_cables(lab: Lab) -> None:
    send = "import socket; s = socket.create_server(('', 7000)); s.accept()[0].sendall(bytes(1_000_000))"
    sender = subprocess.Popen([*lab.enter("targets"), sys.executable, "-c", send])
    read = (
        "import socket, time\n"
        "for _ in range(100):\n"
        "    try: s = socket.create_connection(('203.0.113.10', 7000)); break\n"
        "    except OSError: time.sleep(0.1)\n"
        "print(sum(map(len, iter(lambda: s.recv(65536), b''))))"
    )
    received = lab.exec("lg", [sys.executable, "-c", read], timeout=60).stdout
    sender.kill()
    sender.wait()
    assert received == "1000000\n"


def test_two_labs_do_not_see_each_other(lab: Lab, spare: Lab) -> None:
    spare.up()
    for each in (lab, spare):
        assert each.exec("lg", ["ping", "-c", "1", "-W", "2", "target.example"]).returncode == 0
    spare.down()
    assert lab.exec("lg", ["ping", "-c", "1", "-W", "2", "target.example"]).returncode == 0


def test_up_twice_and_down_twice_are_well(spare: Lab) -> None:
    for action in ("up", "up", "down", "down"):
        before = processes(spare)
        assert subprocess.run(command(spare, action), stdout=subprocess.DEVNULL, check=False).returncode == 0
        assert not before or processes(spare) == (before if action == "up" else [])


def test_down_leaves_nothing(spare: Lab) -> None:
    spare.up()
    guest = subprocess.Popen([*spare.enter("r2"), "sleep", "1000"])
    wait_until(lambda: guest.pid in processes(spare))
    pids = processes(spare)
    assert len(pids) >= 3
    assert leftovers(spare)
    spare.down()
    guest.wait()
    assert (alive(pids), leftovers(spare)) == ([], [])


def test_down_after_everything_was_killed(spare: Lab) -> None:
    subprocess.run(command(spare, "up"), stdout=subprocess.DEVNULL, check=True)
    for pid in processes(spare):
        os.kill(pid, signal.SIGKILL)
    assert not spare.is_up()
    spare.down()
    assert leftovers(spare) == []


def test_up_repairs_a_lab_without_cables(spare: Lab) -> None:
    subprocess.run(command(spare, "up"), stdout=subprocess.DEVNULL, check=True)
    for pid in processes(spare):
        os.kill(pid, signal.SIGKILL)
    spare.up()
    assert spare.exec("lg", ["ping", "-c", "1", "-W", "2", "target.example"]).returncode == 0


def wait_until(holds: object, seconds: float = 60) -> None:
    assert callable(holds)
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.005)


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_interrupted_up_can_be_cleaned(spare: Lab, kind: signal.Signals) -> None:
    building = subprocess.Popen(command(spare, "up"), stdout=subprocess.DEVNULL)
    wait_until(lambda: Path("/etc/netns", spare.namespace("r2")).exists())
    building.send_signal(kind)
    assert building.wait(timeout=60) != 0
    if kind == signal.SIGKILL:
        assert leftovers(spare)
        spare.down()
    assert leftovers(spare) == []


def test_failed_up_cleans_and_says_why(spare: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "PATIENCE", 0.5)
    monkeypatch.setattr(program, "NAMESERVER", "198.51.100.250")  # nobody's, so no name server comes up
    with pytest.raises(LabError, match="no answer after"):
        spare.up()
    assert leftovers(spare) == []


def test_run_serves_this_machine_until_it_is_told_to_end(spare: Lab, tmp_path: Path) -> None:
    links = {each.name for each in Path("/sys/class/net").iterdir()}
    argv = command(spare, "run", "--visitors", "10.213.7.248/30", "--port", "8947")
    with (tmp_path / "log").open("wb") as log:
        glass = subprocess.Popen(argv, stdout=log, stderr=log)
    # Before it listens, its address is not here, and who asks would ask the world.
    wait_until(lambda: b"Listening on" in (tmp_path / "log").read_bytes(), 120)
    for home in ("10.213.7.250", "127.0.0.1"):
        url = f"http://{home}:8947/healthz"
        ask = ["curl", "-s", "--max-time", "5", "--noproxy", "*", url]
        wait_until(lambda ask=ask: subprocess.run(ask, capture_output=True, check=False).stdout == b"ok", 120)
    glass.terminate()
    assert glass.wait(timeout=60) == 128 + signal.SIGTERM
    assert leftovers(spare) == []
    assert {each.name for each in Path("/sys/class/net").iterdir()} >= links
    assert b"Traceback" not in (tmp_path / "log").read_bytes()


def test_run_refuses_a_network_that_this_machine_uses(spare: Lab) -> None:
    done = subprocess.run(
        command(spare, "run", "--visitors", "127.0.0.0/30"), capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "overlaps 127.0.0.0/8" in done.stderr
    assert leftovers(spare) == []


@pytest.fixture(scope="module")
def bgp() -> Iterator[Lab]:
    """Yield a lab with routing daemons."""
    missing = [
        name for name in program.BGP_PROGRAMS if not shutil.which(name, path=program.ENVIRONMENT["PATH"])
    ]
    if missing:
        pytest.skip(f"not installed: {missing}")
    with Lab(lab_prefix(), bgp=True) as lab:
        yield lab
    assert leftovers(lab) == []


@FAMILIES
def test_routes_to_the_targets_come_by_bgp(bgp: Lab, family: str) -> None:
    routes = [bgp.exec(host, ["ip", family, "route", "show"]).stdout for host in ("r1", "r2", "r3")]
    for each, protocol in zip(routes, ("proto bird", "proto bird", "proto bgp"), strict=True):
        prefix = {"-4": "203.0.113.0/24", "-6": "2001:db8:203::/48"}[family]
        assert any(line.startswith(prefix) and protocol in line for line in each.splitlines())
    done = bgp.exec("lg", ["ping", family, "-c", "1", "-W", "2", "target.example"])
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("host", "question", "answers"),
    [
        ("r1", "show route 203.0.113.128/25 all", ["64501 64510 64511 4200000001", "64510 64510 64510"]),
        ("r1", "show route 192.0.2.192/26 all", ["(64511,2) ", "(64511, 2, 4200000001)", "(64501, 7, 42)"]),
        ("r1", "show route for 2001:db8:203::10 all", ["64511 64511 64511", "transit_v6", "backup_v6"]),
        ("r1", "show protocols", ["peer_down", "Active", "peer_disabled"]),
        ("r2", "show route 192.0.2.0/26 all", ["(64500,1)", "(64501,1000)", "BGP.local_pref: 200"]),
        ("r3", "show bgp summary", ["64501", "64511", "Idle (Admin)"]),
        ("r3", "show bgp ipv4 unicast 192.0.2.0/26", ["metric 50", "localpref 80", "64500:1 ", "best"]),
        ("r4", "show bgp ipv6 unicast 2001:db8:1000::/36", ["64510 64501 64500", "Community: 64500:1:1"]),
    ],
)  # fmt: skip
def test_daemons_tell_what_they_know(bgp: Lab, host: str, question: str, answers: list[str]) -> None:
    done = bgp.exec("lg", bgp.ask_daemon(host, question))
    assert done.returncode == 0, done
    assert [answer for answer in answers if answer not in done.stdout] == [], done.stdout


def test_daemons_obey_no_visitor(bgp: Lab) -> None:
    assert "Access denied" in bgp.exec("lg", bgp.ask_daemon("r1", "configure")).stdout
    done = bgp.exec("lg", bgp.ask_daemon("r3", "configure terminal"))
    assert "Unknown command" in done.stdout + done.stderr


def test_up_in_the_other_form_is_refused(bgp: Lab) -> None:
    with pytest.raises(LabError, match="other form"):
        Lab(bgp.prefix).up()
    assert bgp.is_up()
