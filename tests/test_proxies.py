"""Real proxies: who the client is, what is forged, requests as bytes, and limits over killed instances."""

from __future__ import annotations

import contextlib
import http.client
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.proxies import APPENDING, HALF, replace_once, site_of, start_haproxy, start_nginx
from tests.support import GENEROUS, MEDIA, V1, Server, configuration, free_port, soon_gone
from tests.test_http import FILES, STATUS, answers, bytes_of

OURS = ["127.0.0.1/32"]  # where our proxies are; visitors come from other addresses of this machine
ONE_ONLY = "http-request set-header X-Forwarded-For %[src]\n    http-request del-header Forwarded"
BY_THE_RFC = 'http-request del-header X-Forwarded-For\n    http-request set-header Forwarded "for=%[src]"'
APPENDING_BY_THE_RFC = BY_THE_RFC.replace("set-header", "add-header")
SET_BY_NGINX = "proxy_set_header X-Forwarded-For $remote_addr;"
APPENDED_BY_NGINX = "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;"
FORGED = "198.51.100.66"
UNREADABLE = {"Forwarded": f'for={FORGED};x="'}
FORGERIES: list[dict[str, str]] = [
    {},
    {"X-Forwarded-For": FORGED},
    {"X-Forwarded-For": f"{FORGED}, 127.0.0.1"},
    {"X-Forwarded-For": f'", {FORGED}'},
    {"Forwarded": f"for={FORGED}"},
    UNREADABLE,
    {"Forwarded": f"for={FORGED}, for=127.0.0.1", "X-Forwarded-For": f"{FORGED}, 127.0.0.1"},
    {"X-Real-IP": FORGED, "X-Client-IP": FORGED, "Via": "1.1 x"},
]
STRICTER = {  # good requests that a proxy does not let through
    ("nginx", "200_run_with_1.0_and_no_host"),  # our file passes the host on, as it is
    ("HAProxy", "200_run_with_a_query_and_a_mark"),
}
Start = Callable[..., Server]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Yield a function that starts one of our servers in a folder of its own; all end with the test."""
    with contextlib.ExitStack() as stack:

        def one(begin: Callable[[Path, int], Server]) -> Server:
            port = free_port()
            folder = tmp_path / str(port)
            folder.mkdir()
            server = begin(folder, port)
            stack.callback(server.stop)
            server.wait_until_ready()
            return server

        yield one


# On a busy machine a store answers late: what it has taken by then would be held and spent for nothing.
PATIENT_WITH_ITS_STORE = """
import sys, tinytracer
from tests.storing import be_patient
be_patient(setattr)
tinytracer.main(sys.argv[1:])
"""


def glass(**document: Any) -> Callable[[Path, int], Server]:
    def begin(folder: Path, port: int) -> Server:
        config = configuration(folder, **{"trustproxy": OURS, **document})
        argv = [sys.executable, "-c", PATIENT_WITH_ITS_STORE, "--config", str(config)]
        return Server([*argv, "--listen", f"127.0.0.1:{port}"], port)

    return begin


def nginx(behind: Server, change: tuple[str, str] = ("", "")) -> Callable[[Path, int], Server]:
    def begin(folder: Path, port: int) -> Server:
        site = site_of("nginx.conf", port, behind.port)
        return start_nginx(folder, replace_once(site, *change) if any(change) else site, port)

    return begin


def haproxy(*behind: Server, headers: str = APPENDING) -> Callable[[Path, int], Server]:
    return lambda folder, port: start_haproxy(folder, port, [each.port for each in behind], headers)


# --- who the client is


def shown_to(port: int, client: str, headers: dict[str, str]) -> str:
    """Return the address that the page shows to a client."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60, source_address=(client, 0))
    with contextlib.closing(connection):
        connection.request("GET", "/", headers=headers)
        page = connection.getresponse().read().decode()
    return page.partition('name="ip"')[2].partition('value="')[2].partition('"')[0]


CHAINS: dict[str, Callable[[Start, Server], Server]] = {
    "nginx": lambda start, behind: start(nginx(behind)),
    "HAProxy": lambda start, behind: start(haproxy(behind, headers=APPENDING)),
    "HAProxy, set": lambda start, behind: start(haproxy(behind, headers=ONE_ONLY)),
    "HAProxy by RFC 7239": lambda start, behind: start(haproxy(behind, headers=BY_THE_RFC)),
    "HAProxy, nginx": lambda start, behind: start(
        haproxy(start(nginx(behind, (SET_BY_NGINX, APPENDED_BY_NGINX))))
    ),
    "nginx, HAProxy": lambda start, behind: start(nginx(start(haproxy(behind)))),
}


@pytest.mark.parametrize("chain", CHAINS)
def test_true_client_is_found_and_nothing_forged_changes_that(start: Start, chain: str) -> None:
    behind = start(glass(showip=True))
    front = CHAINS[chain](start, behind)
    for number, headers in enumerate(FORGERIES, 2):
        shown = shown_to(front.port, f"127.0.1.{number}", headers)
        assert shown == f"127.0.1.{number}", headers


def test_proxy_that_lets_one_header_through_names_itself_and_nobody_forged(start: Start) -> None:
    front = start(haproxy(start(glass(showip=True)), headers=HALF))
    for headers in FORGERIES:
        honest = "127.0.0.1" if "Forwarded" in headers else "127.0.1.2"
        assert shown_to(front.port, "127.0.1.2", headers) == honest


def test_proxy_that_adds_to_what_cannot_be_read_names_itself_and_nobody_forged(start: Start) -> None:
    front = start(haproxy(start(glass(showip=True)), headers=APPENDING_BY_THE_RFC))
    for headers in FORGERIES:
        honest = "127.0.0.1" if headers == UNREADABLE else "127.0.1.2"
        assert shown_to(front.port, "127.0.1.2", headers) == honest


@pytest.mark.parametrize("chain", CHAINS)
def test_limits_count_the_true_client_whatever_it_forges(start: Start, chain: str) -> None:
    limits = {**GENEROUS, "rate": "2/day", "burst": 2}
    front = CHAINS[chain](start, start(glass(limits=limits)))

    def status(client: str, headers: dict[str, str]) -> int:
        connection = http.client.HTTPConnection(
            "127.0.0.1", front.port, timeout=60, source_address=(client, 0)
        )
        with contextlib.closing(connection):
            connection.request("GET", f"{V1}/true", headers=headers)
            return connection.getresponse().status

    greedy = [status("127.0.1.2", {**FORGERIES[number % len(FORGERIES)]}) for number in range(12)]
    assert greedy == [200] * 2 + [429] * 10
    assert status("127.0.1.3", {"X-Forwarded-For": "127.0.1.2"}) == 200


@pytest.mark.parametrize("accept", MEDIA)
def test_visitor_who_leaves_haproxy_ends_the_command(start: Start, accept: str) -> None:
    """Without abortonclose HAProxy tells nobody until there is something to write."""
    behind = start(glass())
    connection = start(haproxy(behind)).begin(f"{V1}/sleep", accept)
    children = behind.wait_for_children()
    connection.close()
    assert soon_gone(*children)


# --- requests as bytes


def by_line(text: bytes) -> list[bytes]:
    return re.findall(rb"[^\n]*\n|[^\n]+", text)


@pytest.fixture(scope="module")
def marks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[dict[str, Server], Path]]:
    """Yield nginx and HAProxy before a glass whose command leaves a mark, and the file of the marks."""
    with contextlib.ExitStack() as stack:

        def begin(begin: Callable[[Path, int], Server]) -> Server:
            port = free_port()
            server = begin(tmp_path_factory.mktemp("proxy"), port)
            stack.callback(server.stop)
            server.wait_until_ready()
            return server

        file = tmp_path_factory.mktemp("marks") / "marks"
        script = f"open({str(file)!r}, 'a').write('x')"
        behind = begin(glass(commands={"mark": {"cmd": [sys.executable, "-Sc", script]}}))
        yield {"nginx": begin(nginx(behind)), "HAProxy": begin(haproxy(behind))}, file


def told_in(received: bytes) -> int:
    return received.count(b'"command": "mark"')


@pytest.mark.slow
@pytest.mark.parametrize("proxy", ["nginx", "HAProxy"])
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_request_through_a_proxy_runs_nothing_unseen(
    marks: tuple[dict[str, Server], Path], proxy: str, file: Path
) -> None:
    """Whole, by line and by byte; and the next visitor's answer is that visitor's own.

    A proxy may make a good request of a bad one. Then it runs, once, and whoever has sent it is answered.
    """
    proxies, marked = marks
    text = bytes_of(file)
    runs = "_run" in file.stem and (proxy, file.stem) not in STRICTER
    for pieces in ([text], by_line(text), [text[at : at + 1] for at in range(len(text))][:1000]):
        marked.write_text("")
        received = answers(proxies[proxy], pieces, 1.0, lambda seen: told_in(seen) >= runs)
        told = told_in(received)
        assert marked.read_text() == told * "x", (
            received
        )  # nothing runs whose answer is not for who has asked
        if runs:
            assert told == 1
        assert told <= 1
        assert all(100 <= int(status) < 600 for status in STATUS.findall(received))
        for path, body in (("/healthz", b"ok"), ("/api/capabilities", b'{"ipv4": true, "ipv6": true}\n')):
            assert proxies[proxy].get(path)[::2] == (200, body)
