"""The same application under other WSGI servers, as one file and as an installed wheel: started and asked."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import HERE, MEDIA, V1, Server, configuration, free_port, gone_within, read_until

WSGIREF = """
import sys
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIServer, make_server
from tinytracer import application
class Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
prefix = sys.argv[2]
def mounted(environ, start_response):
    environ["SCRIPT_NAME"], environ["PATH_INFO"] = prefix, environ["PATH_INFO"].removeprefix(prefix)
    return application(environ, start_response)
make_server("127.0.0.1", int(sys.argv[1]), mounted, Server).serve_forever()
"""


RECOMMENDED = ["--config", "examples/gunicorn.conf.py", "tinytracer:application"]
GUNICORN = [sys.executable, "-m", "gunicorn", *RECOMMENDED]
BARE = [sys.executable, "-I", "-S"]  # a Python that sees nothing installed


@pytest.fixture(params=["tinytracer", "gunicorn", "gunicorn /lg", "wsgiref", "wsgiref /lg"])
def host(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    """Yield the application under a host program, at the root or under a prefix."""
    name, _, prefix = str(request.param).partition(" ")
    port = free_port()
    config = configuration(tmp_path)
    gunicorn = [
        "-m",
        "gunicorn",
        "--worker-class",
        "gthread",
        "--threads",
        "8",
        "--bind",
        f"127.0.0.1:{port}",
    ]
    argv = {
        "tinytracer": ["tinytracer.py", "--config", str(config), "--listen", f"127.0.0.1:{port}"],
        "gunicorn": [
            *gunicorn,
            "--graceful-timeout",
            "2",
            "--log-level",
            "warning",
            "tinytracer:application",
        ],
        "wsgiref": ["-c", WSGIREF, str(port), prefix],
    }[name]
    environ = {"TINYTRACER_CONFIG": str(config), "SCRIPT_NAME": prefix if name == "gunicorn" else ""}
    server = Server([sys.executable, *argv], port, environ, prefix)
    server.wait_until_ready()
    yield server
    children = server.children()
    server.stop()
    assert gone_within(2.0, *children)


def test_page_lists_and_runs_work(host: Server) -> None:
    assert "<form" in host.get("/")[2].decode()
    assert host.get("/style.css")[0] == 200
    listed = host.json(f"{V1}/cmd")["data"]["commands"]
    assert listed[0]["href"] == f"http://127.0.0.1:{host.port}{host.prefix}{V1}/ping"
    assert host.json(f"{V1}/ping/127.0.0.1")["data"]["rate"] == 100
    assert host.json(f"{V1}/ping/-c1")["status"] == "error"
    assert b"rtt min/avg/max" in host.get("/?cmd=ping&ip=127.0.0.1&run=1")[2]


@pytest.mark.parametrize("accept", MEDIA)
def test_client_that_leaves_ends_the_process(host: Server, accept: str) -> None:
    before = host.children()
    connection = host.begin(f"{V1}/sleep", accept)
    children = host.wait_for_children(more_than=len(before)) - before
    assert len(children) == 1
    connection.close()
    assert gone_within(1.5, *children)


def test_gunicorn_does_not_start_with_a_wrong_configuration(tmp_path: Path) -> None:
    environ = {**os.environ, "TINYTRACER_CONFIG": str(configuration(tmp_path, nonsense=1))}
    argv = [*GUNICORN, "--bind", "127.0.0.1:0"]
    done = subprocess.run(
        argv, cwd=HERE, env=environ, capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 1
    assert "nonsense: there is no such key" in done.stderr


def test_stopping_gunicorn_ends_what_runs_at_once(tmp_path: Path) -> None:
    port = free_port()
    environ = {"TINYTRACER_CONFIG": str(configuration(tmp_path))}
    server = Server([*GUNICORN, "--bind", f"127.0.0.1:{port}"], port, environ)
    server.wait_until_ready()
    workers = server.children()
    connections = [server.begin(f"{V1}/{name}") for name in ("sleep", "stubborn")]
    children = server.wait_for_children(more_than=len(workers) + 1)
    assert len(children - workers) >= 2
    started = time.monotonic()
    server.process.terminate()
    server.process.communicate(timeout=20)
    assert time.monotonic() - started < 5
    assert gone_within(0.5, *children)
    for connection in connections:
        connection.close()


@pytest.mark.parametrize(
    ("workers", "store", "told"), [(2, "memory", 1), (1, "memory", 0), (2, "sqlite:l", 0)]
)
def test_worker_that_counts_limits_for_itself_says_so_once(
    tmp_path: Path, workers: int, store: str, told: int
) -> None:
    port = free_port()
    environ = {"TINYTRACER_CONFIG": str(configuration(tmp_path, store=store))}
    server = Server([*GUNICORN, "--workers", f"{workers}", "--bind", f"127.0.0.1:{port}"], port, environ)
    server.wait_until_ready()
    for _ in range(20):
        assert server.get("/healthz")[0] == 200
    server.process.terminate()
    lines = server.process.communicate(timeout=20)[1].splitlines()
    found = [line for line in lines if "Each process counts limits for itself" in line]
    assert told <= len(found) <= told * workers  # a worker that nobody has asked says nothing


def test_output_is_live(host: Server) -> None:
    connection = host.begin(f"{V1}/pid", "text/plain")
    pid = int(read_until(connection, rb"(\d+)\n(?:\r\n)?$")[1])
    connection.close()
    assert gone_within(1.5, pid)
