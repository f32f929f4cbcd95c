"""RFC 8522 over real routing daemons in the lab: BIRD 2 on r1 and r2, FRR on r3 and r4, eBGP between them.

Behind r4, GoBGP and OpenBGPD learn what it knows.
"""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from examples.lab import lab as lab_module
from examples.lab.lab import Lab
from tests.support import Glass, configuration, lab_prefix

pytestmark = pytest.mark.lab
SETS = Path(__file__).parent.parent / "examples" / "routers"
DAEMONS = {name: daemon for name, (daemon, _) in lab_module.DAEMONS.items()}
OWN_OF_R1 = ("192.0.2.0/26", "2001:DB8:1000::/36")
BOTH = pytest.mark.parametrize("router", DAEMONS)


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab(lab_prefix(), bgp=True) as lab:
        yield lab


@pytest.fixture(scope="module")
def glass(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Glass]:
    routers = [lab.router(name) for name in DAEMONS]
    routers[-1]["commands"]["show version"] = {"cmd": lab.ask_daemon("r4", "show version")}
    glass = Glass(lab, configuration(tmp_path_factory.mktemp("bgp"), routers=routers))
    yield glass
    glass.stop()


def ask(glass: Glass, router: str, path: str) -> dict[str, Any]:
    """Ask one router and return the data of a success."""
    mark = "&" if "?" in path else "?"
    status, data = glass.ask(f"{path}{mark}routerindex={list(DAEMONS).index(router)}")
    assert status == "success", data
    assert data["router"] == f"{router}.lg.example"
    return data


def direct(lab: Lab, router: str, question: str) -> str:
    done = subprocess.run(lab.ask_daemon(router, question), capture_output=True, text=True, check=False)
    return done.stdout


def as_paths(lab: Lab, router: str, target: str) -> list[list[int]]:
    """Return the AS paths that a daemon tells for a target, asked directly and read by other means."""
    if DAEMONS[router] == "bird":
        text = direct(lab, router, f"show route for {target} all")
        found = re.findall(r"^\tBGP\.as_path:(.*)$", text, re.MULTILINE)
        return [[int(number) for number in path.split()] for path in found]
    family = "ipv6" if ":" in target else "ipv4"
    document = json.loads(direct(lab, router, f"show bgp {family} unicast {target} json"))
    return [
        [int(number) for number in path["aspath"]["string"].split() if number.isdigit()]
        for path in document["paths"]
    ]


@BOTH
@pytest.mark.parametrize(
    "target", ["203.0.113.200", "192.0.2.0/26", "2001:DB8:203::10", "2001:DB8:1000::/36"]
)
def test_show_bgp_agrees_with_the_daemon(glass: Glass, lab: Lab, router: str, target: str) -> None:
    expected = as_paths(lab, router, target)
    data = ask(glass, router, f"show/bgp/{target}")
    paths = data.get("paths", [])
    assert expected or (router == "r1" and target in OWN_OF_R1)  # not by BGP, there
    assert [path["as_path"] for path in paths] == expected
    assert sum(path["best"] for path in paths) == (1 if expected else 0)
    for path in paths:
        assert {"prefix", "origin", "next_hop"} <= set(path)
        assert path["origin"] in {"IGP", "EGP", "Incomplete", "incomplete"}


@BOTH
@pytest.mark.parametrize("target", ["203.0.113.10", "192.0.2.0/26", "2001:db8:203::10"])
def test_show_route_answers_from_every_daemon(glass: Glass, router: str, target: str) -> None:
    network = target.rpartition(".")[0] or "2001:db8"
    assert any(network in line for line in ask(glass, router, f"show/route/{target}")["output"])


@BOTH
@pytest.mark.parametrize("protocol", ["1", "2,1"])
def test_show_bgp_summary_lists_the_neighbors(glass: Glass, lab: Lab, router: str, protocol: str) -> None:
    neighbors = ask(glass, router, f"show/bgp/summary?protocol={protocol}")["neighbors"]
    states = [each["state"] for each in neighbors]
    if DAEMONS[router] == "bird":
        text = direct(lab, router, "show protocols")
        assert len(neighbors) == len(re.findall(r"^\S+ +BGP ", text, re.MULTILINE))
        assert states.count("Established") == len(re.findall(r"Established", text))
    else:
        family = {"1": "ipv4", "2,1": "ipv6"}[protocol]
        peers = json.loads(direct(lab, router, f"show bgp {family} unicast summary json"))["peers"]
        expected = {address: (peer["remoteAs"], peer["state"]) for address, peer in peers.items()}
        assert {each["address"]: (each["asn"], each["state"]) for each in neighbors} == expected
    assert "Established" in states
    facts = ask(glass, router, f"show/bgp/summary?protocol={protocol}&format=application/json")["neighbors"]
    up = [each for each in facts if each["state"] == "Established"]
    assert up
    assert all({"address", "asn", "since", "received"} <= set(each) for each in up)


NEIGHBORS = [
    ("r1", "198.51.100.6", 64501),
    ("r1", "2001:DB8:2::2", 64501),
    ("r2", "198.51.100.10", 64510),
    ("r3", "198.51.100.9", 64501),
    ("r3", "2001:db8:4::2", 64511),
    ("r4", "198.51.100.13", 64510),
]


@pytest.mark.parametrize(("router", "address", "asn"), NEIGHBORS)
def test_show_bgp_neighbors_takes_an_address(glass: Glass, router: str, address: str, asn: int) -> None:
    data = ask(glass, router, f"show/bgp/neighbors/{address}?format=application/json")
    (neighbor,) = data["neighbors"]
    assert (neighbor["address"], neighbor["asn"], neighbor["state"]) == (address.lower(), asn, "Established")
    text = "\n".join(ask(glass, router, f"show/bgp/neighbors/{address}")["output"])
    assert address.lower() in text
    assert str(asn) in text


@pytest.mark.parametrize("router", ["r1", "r2"])
def test_neighbor_that_bird_does_not_have_is_fail(glass: Glass, router: str) -> None:
    index = list(DAEMONS).index(router)
    status, data = glass.ask(f"show/bgp/neighbors/192.0.2.226?routerindex={index}")
    assert (status, data["output"]) == ("fail", ["There is no BGP neighbor 192.0.2.226."])


@BOTH
@pytest.mark.parametrize("protocol", ["1,1", "2,1"])
def test_routes_are_found_by_as_and_by_community(glass: Glass, router: str, protocol: str) -> None:
    query = f"?protocol={protocol}&format=application/json"
    by_as = ask(glass, router, f"show/bgp/as-path/AS4200000001{query}")["paths"]
    assert by_as
    assert all(4200000001 in path["as_path"] for path in by_as)
    mark = "." if protocol == "1,1" else ":"
    assert all(mark in path["prefix"] for path in by_as)
    by_community = ask(glass, router, f"show/bgp/community/64500:1{query}").get("paths", [])
    assert by_community or router == "r1"  # where it is added, it is not yet there
    assert all("64500:1" in path.get("communities", ["64500:1"]) for path in by_community)


def test_large_communities_are_found_on_both_daemons(glass: Glass) -> None:
    bird = ask(glass, "r2", "show/bgp/community/64500:1:1")["paths"]
    assert bird
    assert all("64500:1:1" in path["large_communities"] for path in bird)
    frr = ask(glass, "r4", "show/bgp/community/64500:1:1?format=application/json")["paths"]
    assert {path["prefix"] for path in frr} <= {path["prefix"] for path in bird} | {"192.0.2.0/26"}
    assert frr


@BOTH
@pytest.mark.parametrize("target", ["203.0.113.10", "2001:db8:203::10"])
def test_ping_and_traceroute_leave_from_the_router(glass: Glass, lab: Lab, router: str, target: str) -> None:
    data = ask(glass, router, f"ping/{target}")
    assert data["rate"] >= 60
    assert lab.router(router)["source6" if ":" in target else "source4"] in data["output"][0]
    hops = ask(glass, router, f"traceroute/{target}")["hops"]
    assert len(hops) == 5 - list(DAEMONS).index(router) - 1


def test_command_that_one_router_lacks_is_404_there(glass: Glass) -> None:
    ask(glass, "r4", "show/version")
    status, data = glass.ask("show/version?routerindex=0")
    assert (status, data["code"]) == ("error", 404)
    listed = json.loads(glass.get("cmd?routerindex=0"))["data"]["commands"]
    assert "show version" not in [each["command"] for each in listed]
    everywhere = json.loads(glass.get("cmd"))["data"]["commands"]
    assert "show version" in [each["command"] for each in everywhere]


def test_details_tell_what_the_operator_added(glass: Glass) -> None:
    details = json.loads(glass.get("routers/2"))["data"]
    assert (details["autonomous_system"], details["vendor"]) == (64510, "frr")
    assert details["format"] == "text/plain,application/json"


@pytest.mark.parametrize(
    "arguments",
    [
        "neighbors -s",
        "neighbors fe80::1%eth0",
        "community 4 1:2)||(1,1",
        "community 4 65536:1",
        "community 4 1:2:4294967296",
        "community 5 1:2",
        "x",
        "",
    ],
)
def test_birdlg_refuses_what_it_does_not_know(lab: Lab, arguments: str) -> None:
    argv = [str(SETS / "birdlg"), "-s", str(lab.state / "r1" / "bird.ctl"), *arguments.split()]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("usage: birdlg")


@pytest.mark.parametrize("name", ["no-export", "blackhole", "64501:1000"])
def test_birdlg_knows_communities_by_name(lab: Lab, name: str) -> None:
    argv = [str(SETS / "birdlg"), "-s", str(lab.state / "r1" / "bird.ctl"), "community", "4", name]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert "syntax error" not in done.stdout
    assert done.returncode == 0


def test_birdlg_tells_of_no_neighbor(lab: Lab) -> None:
    argv = [str(SETS / "birdlg"), "-s", str(lab.state / "r1" / "bird.ctl"), "neighbors", "203.0.113.250"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "There is no BGP neighbor 203.0.113.250.\n")


def test_birdlg_without_birdc_is_127(tmp_path: Path) -> None:
    argv = [sys.executable, str(SETS / "birdlg"), "neighbors", "192.0.2.1"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env={"PATH": str(tmp_path)})
    assert (done.returncode, done.stderr) == (127, "birdlg: there is no birdc\n")


COLLECTORS = {"gobgp": ("203.0.113.10", "2001:db8:203::10"), "openbgpd": ("203.0.113.50", "2001:db8:203::50")}
R4 = ("203.0.113.1", "2001:db8:203::1")
NEIGHBOR_OF_R4 = """
router bgp 64511
neighbor {address} remote-as 64520
neighbor {address} timers connect 1
address-family {family} unicast
neighbor {address} activate
neighbor {address} route-map ANY in
neighbor {address} route-map ANY out
"""
GOBGP = """
[global.config]
as = 64520
router-id = "203.0.113.10"
local-address-list = ["203.0.113.10", "2001:db8:203::10"]
"""
GOBGP_NEIGHBOR = """
[[neighbors]]
[neighbors.config]
neighbor-address = "{r4}"
peer-as = 64511
[neighbors.transport.config]
local-address = "{address}"
[[neighbors.afi-safis]]
[neighbors.afi-safis.config]
afi-safi-name = "{family}-unicast"
"""
OPENBGPD = """
AS 64520
router-id 203.0.113.50
socket "{state}/openbgpd.sock"
fib-update no
allow from any
deny to any
"""
OPENBGPD_NEIGHBOR = """
listen on {address}
neighbor {r4} {{
    remote-as 64511
    local-address {address}
    announce IPv4 none
    announce {family} unicast
}}
"""


def collector_commands(lab: Lab, daemon: str) -> dict[str, Any]:
    text = json.dumps(lab.command_set("targets", daemon))
    text = text.replace('"gobgplg"', f'"{SETS / "gobgplg"}"')
    commands: dict[str, Any] = json.loads(
        text.replace('"bgpctl"', f'"bgpctl", "-s", "{lab.state}/openbgpd.sock"')
    )
    return commands


@pytest.fixture(scope="module")
def collectors(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Glass]:
    """Yield a looking glass over GoBGP and OpenBGPD, which have all routes."""
    lines = ["configure terminal"]
    gobgp, openbgpd = GOBGP, OPENBGPD.format(state=lab.state)
    for family, r4, own, other in zip(("ipv4", "ipv6"), R4, *COLLECTORS.values(), strict=True):
        for address in (own, other):
            lines += NEIGHBOR_OF_R4.format(address=address, family=family).strip().splitlines()
        gobgp += GOBGP_NEIGHBOR.format(r4=r4, address=own, family=family)
        openbgpd += OPENBGPD_NEIGHBOR.format(r4=r4, address=other, family=family.replace("ip", "IP"))
    vtysh = [word for word in lab.ask_daemon("r4", lines.pop(0)) if word != "-u"]
    subprocess.run([*vtysh, *(word for line in lines for word in ("-c", line))], check=True)
    for name, text in (("gobgpd.toml", gobgp), ("openbgpd.conf", openbgpd)):
        (lab.state / name).write_text(text)
        (lab.state / name).chmod(0o600)
    Path("/run/openbgpd").mkdir(mode=0o755, exist_ok=True)  # where OpenBGPD shuts itself in
    lab.start("targets", ["gobgpd", "-f", str(lab.state / "gobgpd.toml")], "gobgpd.log")
    lab.start("targets", ["/usr/sbin/bgpd", "-d", "-f", str(lab.state / "openbgpd.conf")], "openbgpd.log")
    routers = [
        {
            "name": name,
            "source4": address4,
            "source6": address6,
            "commands": collector_commands(lab, name),
        }
        for name, (address4, address6) in COLLECTORS.items()
    ]
    config = configuration(tmp_path_factory.mktemp("collectors"), routers=routers)
    glass = Glass(lab, config, port=8084)
    end = time.monotonic() + 60
    for name, protocol in itertools.product(COLLECTORS, "12"):
        path = f"show/bgp/as-path/64500?protocol={protocol}&router={name}"
        while not re.search(r"192\.0\.2\.0/26|2001:db8:1000::/36", glass.get(path)):
            assert time.monotonic() < end, glass.get(f"show/bgp/summary?router={name}")
            time.sleep(0.2)
    yield glass
    glass.stop()


def lines_of(glass: Glass, name: str, path: str) -> list[str]:
    """Ask a collector and return the lines with routes, or all of them when there is none."""
    mark = "&" if "?" in path else "?"
    status, data = glass.ask(f"{path}{mark}router={name}")
    assert status == "success", data
    return [line for line in data["output"] if re.match(r"\*>", line)] or data["output"]


@pytest.mark.parametrize("name", COLLECTORS)
@pytest.mark.parametrize(
    ("path", "prefixes"),
    [
        ("show/route/203.0.113.10", ["203.0.113.0/26"]),
        ("show/route/2001:DB8:203::/64", ["2001:db8:203::/64"]),
        ("show/bgp/as-path/AS4200000001", ["203.0.113.128/25"]),
        ("show/bgp/as-path/4200000001?protocol=2", ["2001:db8:8000::/33"]),
        ("show/bgp/community/64511:666", ["203.0.113.0/26"]),
        ("show/bgp/community/64511:666?protocol=2,1", ["2001:db8:203::/64"]),
        ("show/bgp/community/64500:1:1", ["192.0.2.0/26"]),
        ("show/bgp/community/64511:2:4200000001?protocol=2", ["2001:db8:4000::/36"]),
    ],
)
def test_collector_finds_exactly_these_routes(
    collectors: Glass, name: str, path: str, prefixes: list[str]
) -> None:
    found = [re.findall(r"[0-9a-f.:]+/[0-9]+", line)[0] for line in lines_of(collectors, name, path)]
    assert found == prefixes


@pytest.mark.parametrize("name", COLLECTORS)
def test_collector_tells_of_its_neighbors(collectors: Glass, name: str) -> None:
    summary = "\n".join(lines_of(collectors, name, "show/bgp/summary"))
    assert all(address in summary for address in R4)
    detail = "\n".join(lines_of(collectors, name, "show/bgp/neighbors/203.0.113.1"))
    assert "BGP neighbor is 203.0.113.1, remote AS 64511" in detail
    assert re.search("BGP state = established", detail, re.IGNORECASE)


@pytest.mark.parametrize("name", COLLECTORS)
def test_collector_answers_in_json(collectors: Glass, name: str) -> None:
    for path in ("show/bgp/203.0.113.0%2F26", "show/bgp/summary", "show/bgp/neighbors/203.0.113.1"):
        _, data = collectors.ask(f"{path}?format=application/json&router={name}")
        assert data["format"] == "application/json"
        assert "203.0.113" in json.dumps(data["output"])


@pytest.mark.parametrize(
    "arguments", ["as-path 4 x", "as-path 5 1", "community 4 1:2)", "community 4 -j", "neighbors 1", ""]
)
def test_gobgplg_refuses_what_it_does_not_know(lab: Lab, arguments: str) -> None:
    argv = [str(SETS / "gobgplg"), *arguments.split()]
    done = lab.exec("targets", argv)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("usage: gobgplg")


def test_gobgplg_knows_names_of_communities(collectors: Glass, lab: Lab) -> None:
    add = ["gobgp", "global", "rib", "add", "198.18.0.0/24", "aspath", "64502 {64503,64504}"]
    names = ("65535:0", "65535:65281", "65535:65283", "65535:65284", "65535:8", "65535:9", "65535:666")
    assert lab.exec("targets", [*add, "community", ",".join(names)]).returncode == 0
    words = (
        "graceful-shutdown",
        "no-export",
        "local-as",
        "nopeer",
        "accept-own-nexthop",
        "standby-pe",
        "blackhole",
    )
    for community in (*names, *words):
        (line,) = lines_of(collectors, "gobgp", f"show/bgp/community/{community}")
        assert "198.18.0.0/24" in line
    (line,) = lines_of(collectors, "gobgp", "show/bgp/as-path/64504")
    assert "198.18.0.0/24" in line
    assert lines_of(collectors, "gobgp", "show/bgp/community/no-advertise")[0].split()[0] == "Network"


def test_gobgplg_without_gobgp_is_127(tmp_path: Path) -> None:
    argv = [sys.executable, str(SETS / "gobgplg"), "as-path", "4", "64500"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env={"PATH": str(tmp_path)})
    assert (done.returncode, done.stderr) == (127, "gobgplg: there is no gobgp\n")
