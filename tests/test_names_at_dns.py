"""Look-ups at a real DNS server, which is partly silent, alone with us in a network namespace."""

from __future__ import annotations

import http.client
import ipaddress
import json
import re
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from lookingglass import names
from lookingglass.loop import Loop
from lookingglass.names import Resolver
from lookingglass.problems import Problem
from lookingglass.targets import DenyTable
from tests.support import HERE, PRINTING, V1, soon

BUILT_IN = DenyTable.built_in()
PORT = 8080
ZONE = {
    (b"good", 1): ["192.0.2.1", "192.0.2.2", "192.0.2.1"],
    (b"good", 28): ["2001:db8::1"],
    (b"late", 1): ["192.0.2.3"],
    (b"four", 1): ["192.0.2.4"],
    (b"six", 28): ["2001:db8::6"],
    (b"inside", 1): ["127.0.0.1"],
    (b"mapped", 28): ["::ffff:127.0.0.1", "::ffff:192.0.2.5"],
    (b"compatible", 28): ["::8.8.8.8"],
    (b"_dmarc", 1): ["192.0.2.6"],
    (b"ae-1_2", 1): ["192.0.2.7"],
    (b"end_", 1): ["192.0.2.8"],
}
BELOW = {b"intranet", b"printer", b"good"}  # what there is below the search domain
NXDOMAIN, SERVFAIL = 3, 2
CODES = {b"broken": SERVFAIL, **dict.fromkeys((b"nosuch", b"intranet", b"printer", b"unheard-of"), NXDOMAIN)}


def zone_of(label: bytes, kind: int) -> list[str]:
    """Return the addresses of a name; good1, good2 and so on have those of good."""
    return ZONE.get((b"good" if label.startswith(b"good") else label, kind), [])


class DNS:
    """A DNS server on 127.0.0.1 that is good, late, broken or silent by the first label of the name.

    Below corp.test, which is the search domain, there are names that no visitor may find.
    """

    def __init__(self) -> None:
        self.asked: list[tuple[bytes, int]] = []
        self.below: list[bytes] = []  # names asked for below the search domain
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 53))
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            query, client = self._socket.recvfrom(512)
            label = query[13 : 13 + query[12]].lower()
            end = query.index(b"\0", 12) + 5
            kind = struct.unpack("!H", query[end - 4 : end - 2])[0]
            self.asked.append((label, kind))
            if label.startswith(b"silent"):
                continue
            is_below = query[13 + query[12] : end - 5] == b"\4corp\4test"
            self.below += [label] if is_below else []
            # RFC 1035 section 4.1: a response with the question and, by a pointer to its name, the records.
            texts = ["10.0.0.1"] if is_below and kind == 1 and label in BELOW else zone_of(label, kind)
            records = [socket.inet_pton({1: 2, 28: 10}[kind], each) for each in texts]
            code = 0 if is_below and label in BELOW else CODES.get(label, 0)
            answer = query[:2] + struct.pack("!5H", 0x8180 | code, 1, len(records), 0, 0) + query[12:end]
            for data in records:
                answer += struct.pack("!HHHIH", 0xC00C, kind, 1, 0, len(data)) + data
            threading.Timer(0.6 if label == b"late" else 0, self._socket.sendto, (answer, client)).start()


def look_up(resolver: Resolver, name: str) -> dict[str, Any]:
    began = time.monotonic()
    try:
        it = resolver.ask(name, "192.0.2.1", "192.0.2.0/24")
        while (found := it.addresses()) is None:
            time.sleep(0.005)
    except Problem as error:
        outcome = type(error).__name__
        return {"outcome": outcome, "message": str(error), "seconds": time.monotonic() - began}
    return {"outcome": [str(each) for each in found], "seconds": time.monotonic() - began}


def ask_all() -> dict[str, Any]:
    """Run inside the namespaces: every kind of name, and what was asked."""
    server, resolver = DNS(), Resolver(Loop(), 100, 0.25, 400)
    kinds = ("good", "four", "six", "inside", "nosuch", "broken", "empty", "late")
    seen: dict[str, Any] = {name: look_up(resolver, f"{name}.test") for name in kinds}
    seen["asked"] = [[label.decode(), kind] for label, kind in server.asked]
    for name in ("mapped.test", "compatible.test", "_dmarc.test", "ae-1_2.r3.test", "end_.test"):
        seen[name] = look_up(resolver, name)
    for name in ("intranet", "printer", "unheard-of"):
        seen[name] = look_up(resolver, name)
    asked = len(server.asked)
    for name in ("localhost", "lg", "lg.example", "dotted.example", "six.example"):
        seen[name] = look_up(resolver, name)
    seen["asked for names of the hosts file"] = len(server.asked) - asked
    seen["below"] = len(server.below)
    # what the C library would have made of it, so that the search domain is known to work
    seen["searched"] = socket.getaddrinfo("intranet", None, type=socket.SOCK_STREAM)[0][4][0]
    names.DEADLINE = 0.2
    seen["impatient"] = look_up(Resolver(Loop(), 1, 0.25), "late.test")
    return seen


class Said(NamedTuple):
    """What the program has said, and when."""

    status: int
    seconds: float
    message: str


def ask(client: str, path: str) -> Said:
    began = time.monotonic()
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=60)
    try:
        connection.request("GET", path, headers={"X-Forwarded-For": client})
        response = connection.getresponse()
        body = response.read()
    finally:
        connection.close()
    message = json.loads(body).get("message", "") if path.startswith(V1) else ""
    return Said(response.status, time.monotonic() - began, message)


def ask_name(client: str, name: str) -> Said:
    return ask(client, f"{V1}/echo/{name}.test")


def attack() -> dict[str, Any]:
    """Run inside the namespaces: the real program, 32 hanging names, and others who ask meanwhile."""
    server = DNS()
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "config.json")
        config.write_text(
            json.dumps(
                {
                    "commands": PRINTING,
                    "trustproxy": True,
                    "targets": {"deny": []},
                    "limits": {"concurrent": 100},
                }
            )
        )
        program = [sys.executable, str(HERE / "tinytracer.py"), "--config", str(config)]
        process = subprocess.Popen([*program, "--listen", f"127.0.0.1:{PORT}"], stderr=subprocess.DEVNULL)
        try:
            assert soon(lambda: not socket.socket().connect_ex(("127.0.0.1", PORT)))
            with ThreadPoolExecutor(100) as pool:
                return {**fill(server, pool), **crowd(server, pool, process.pid)}
        finally:
            process.terminate()
            process.wait(60)


def silent(server: DNS) -> int:
    return len({label for label, _ in server.asked if label.startswith(b"silent")})


def fill(server: DNS, pool: ThreadPoolExecutor) -> dict[str, Any]:
    """Have 16 clients of four networks ask for 32 names that hang."""
    attackers = [f"198.51.{network}.{client}" for network in range(4) for client in range(4)]
    asked = [
        pool.submit(ask_name, client, f"silent{turn}-{client.replace('.', '-')}")
        for turn in range(2)
        for client in attackers
    ]
    time.sleep(1)
    others = []
    for start in (0, 10):  # at once, which the places that are left have room for
        ten = [pool.submit(ask_name, f"203.{n}.113.1", f"good{n}") for n in range(start, start + 10)]
        others += [each.result() for each in ten]
    same = [ask_name("198.51.0.99", "good-too")]  # of a network that has its share
    seen = {
        "others": others,
        "neighbour": same,
        "health": [ask("", "/healthz") for _ in range(20)],
        "attackers": [each.result() for each in asked],
        "hanging": silent(server),
        "again": ask_name("203.0.113.1", f"silent0-{attackers[0].replace('.', '-')}"),
    }
    began = time.monotonic()
    while ask_name("198.51.0.98", "good-again").status == 429 and time.monotonic() - began < 30:
        time.sleep(0.2)
    seen["free after"] = names.DEADLINE + time.monotonic() - began
    return seen


def crowd(server: DNS, pool: ThreadPoolExecutor, pid: int) -> dict[str, Any]:
    """Have 60 clients ask for one name that hangs."""
    before = silent(server)
    asked = [pool.submit(ask_name, f"203.{number}.100.1", "silent-for-all") for number in range(60)]
    time.sleep(0.5)
    threads = re.search(r"Threads:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    assert threads
    return {
        "threads": int(threads[1]),
        "health of a crowd": [ask("", "/healthz") for _ in range(50)],
        "crowd": [each.result() for each in asked],
        "names of a crowd": silent(server) - before,
    }


def inside(function: str) -> dict[str, Any]:
    """Run a function of this module in namespaces of its own, and return what it has seen."""
    with tempfile.TemporaryDirectory() as folder:
        files = {
            "resolv.conf": "nameserver 127.0.0.1\nsearch corp.test\noptions ndots:3\n",
            "nsswitch.conf": "hosts: files dns\n",
            "hosts": "127.0.0.1 localhost\n192.0.2.9 LG.example lg\n"
            "192.0.2.10 dotted.example.\n::1 six.example\n",
        }
        for name, text in files.items():
            Path(folder, name).write_text(text)
        mounts = " && ".join(f'mount --bind "$0/{name}" /etc/{name}' for name in files)
        python = f"import json; from tests import test_names_at_dns as t; print(json.dumps(t.{function}()))"
        script = f'{mounts} && ip link set lo up && exec "$1" -c "$2"'
        run = subprocess.run(
            ["unshare", "--mount", "--net", "sh", "-c", script, folder, sys.executable, python],
            cwd=HERE, capture_output=True, text=True, timeout=100, check=False,
        )  # fmt: skip
    assert run.returncode == 0, run.stderr
    seen: dict[str, Any] = json.loads(run.stdout)
    return seen


@pytest.fixture(scope="module")
def look_ups() -> dict[str, Any]:
    return inside("ask_all")


@pytest.fixture(scope="module")
def attacked() -> dict[str, Any]:
    seen = inside("attack")
    return {
        name: [Said(*each) for each in what] if isinstance(what, list) and name != "again" else what
        for name, what in seen.items()
    }


@pytest.mark.lab
def test_all_addresses_of_a_name_are_found_by_one_look_up(look_ups: dict[str, Any]) -> None:
    assert sorted(look_ups["good"]["outcome"]) == ["192.0.2.1", "192.0.2.2", "2001:db8::1"]
    assert look_ups["four"]["outcome"] == ["192.0.2.4"]
    assert look_ups["six"]["outcome"] == ["2001:db8::6"]
    assert look_ups["inside"]["outcome"] == ["127.0.0.1"]
    for name in ("good", "four", "six", "inside"):
        assert sorted(kind for label, kind in look_ups["asked"] if label == name) == [1, 28]


@pytest.mark.lab
def test_no_such_name_and_a_broken_server_are_told_apart(look_ups: dict[str, Any]) -> None:
    assert look_ups["nosuch"]["outcome"] == "NoAddress"
    assert look_ups["empty"]["outcome"] == "NoAddress"
    assert look_ups["broken"]["outcome"] == "ResolutionFailure"


@pytest.mark.lab
def test_search_domain_does_not_apply_and_does_not_show(look_ups: dict[str, Any]) -> None:
    assert look_ups["searched"] == "10.0.0.1"
    assert look_ups["below"] == 0
    for name in ("intranet", "printer"):
        assert look_ups[name]["outcome"] == "NoAddress"
        assert look_ups[name]["message"] == look_ups["unheard-of"]["message"] == look_ups["nosuch"]["message"]


@pytest.mark.lab
def test_names_of_the_hosts_file_are_found_without_asking_anybody(look_ups: dict[str, Any]) -> None:
    assert look_ups["localhost"]["outcome"] == ["127.0.0.1"]
    assert look_ups["lg"]["outcome"] == look_ups["lg.example"]["outcome"] == ["192.0.2.9"]
    assert look_ups["dotted.example"]["outcome"] == ["192.0.2.10"]
    assert look_ups["six.example"]["outcome"] == ["::1"]
    assert look_ups["asked for names of the hosts file"] == 0


@pytest.mark.lab
def test_names_with_underscores_are_found(look_ups: dict[str, Any]) -> None:
    assert look_ups["_dmarc.test"]["outcome"] == ["192.0.2.6"]
    assert look_ups["ae-1_2.r3.test"]["outcome"] == ["192.0.2.7"]
    assert look_ups["end_.test"]["outcome"] == ["192.0.2.8"]


@pytest.mark.lab
def test_ipv4_addresses_in_ipv6_answers_are_seen_through_or_denied(look_ups: dict[str, Any]) -> None:
    assert sorted(look_ups["mapped.test"]["outcome"]) == ["127.0.0.1", "192.0.2.5"]
    assert look_ups["compatible.test"]["outcome"] == ["::808:808"]
    assert BUILT_IN.denies(ipaddress.ip_address("::808:808"))


@pytest.mark.lab
def test_late_answer_counts_within_the_deadline_only(look_ups: dict[str, Any]) -> None:
    assert look_ups["late"]["outcome"] == ["192.0.2.3"]
    assert look_ups["impatient"]["outcome"] == "ResolutionTimeout"


# ---- the real program


@pytest.mark.lab
def test_hanging_names_refuse_names_only_to_those_who_caused_it(attacked: dict[str, Any]) -> None:
    assert {each.status for each in attacked["attackers"]} == {429, 504}
    assert 16 <= attacked["hanging"] < 32
    assert [each.status for each in attacked["others"]] == [200] * 20
    assert max(each.seconds for each in attacked["others"]) < names.DEADLINE
    assert [each.status for each in attacked["neighbour"]] == [429]
    assert [each.status for each in attacked["health"]] == [200] * 20


@pytest.mark.lab
def test_name_that_hung_is_refused_at_once_to_everybody(attacked: dict[str, Any]) -> None:
    again = Said(*attacked["again"])
    assert again.status == 504
    assert again.seconds < names.DEADLINE
    assert "Try again in" in again.message


@pytest.mark.lab
def test_places_of_silent_servers_are_soon_free_again(
    attacked: dict[str, Any],
) -> None:
    assert attacked["free after"] < 3 * names.DEADLINE  # and not ten seconds, as the C library has it


@pytest.mark.lab
def test_crowd_that_waits_for_a_name_holds_one_thread(attacked: dict[str, Any]) -> None:
    assert [each.status for each in attacked["crowd"]] == [504] * 60
    assert attacked["names of a crowd"] == 1
    assert attacked["threads"] < 15
    assert [each.status for each in attacked["health of a crowd"]] == [200] * 50
    assert statistics.median(each.seconds for each in attacked["health of a crowd"]) < 1
