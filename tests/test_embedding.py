"""TinyTracer inside another WSGI application, as examples/embed.py and its neighbours show it."""

from __future__ import annotations

import os
import random
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from webob import Request, Response

import tinytracer
from tests.support import HERE, PATIENT, V1, Server, configuration, free_port, soon_gone

EMBED = (HERE / "examples" / "embed.py").read_text()
ONE_THREAD = EMBED.replace("class Server(ThreadingMixIn, WSGIServer)", "class Server(WSGIServer)")
BUSY = {"one thread": ["tick"], "threads": ["tick", "sleep", "stubborn", "orphan"]}


def embedding(folder: Path, text: str) -> Server:
    config = configuration(folder)
    file = folder / "embed.py"
    file.write_text(text)
    port = free_port()
    argv = [sys.executable, str(file), str(config), str(port)]
    server = Server(argv, port, {"PYTHONPATH": str(HERE)}, "/lg")
    server.wait_until_ready()
    return server


@pytest.mark.parametrize("text", [EMBED, ONE_THREAD], ids=list(BUSY)[::-1])
def test_embedded_looking_glass_answers_beside_the_site(tmp_path: Path, text: str) -> None:
    server = embedding(tmp_path, text)
    try:
        assert "<form" in server.get("/")[2].decode()
        href = server.json(f"{V1}/cmd")["data"]["commands"][0]["href"]
        assert href == f"http://127.0.0.1:{server.port}/lg{V1}/ping"
        assert server.json(f"{V1}/true")["status"] == "success"
        server.prefix = ""
        assert b'href="/lg/"' in server.get("/")[2]
        assert b'href="/lg/"' in server.get("/elsewhere")[2]
    finally:
        server.stop()
    assert server.process.returncode == 0


@pytest.mark.parametrize("framework", ["embed", "embed_flask", "embed_pyramid"])
def test_looking_glass_in_a_site_is_found_below_lg_and_by_the_name_of_the_host(
    tmp_path: Path, framework: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = str(configuration(tmp_path))
    monkeypatch.setenv("TINYTRACER_CONFIG", config)
    monkeypatch.setattr(sys, "argv", ["embed.py", config, "8081"])
    monkeypatch.setattr(tinytracer, "application", tinytracer.LazyApplication())
    names = runpy.run_path(str(HERE / "examples" / f"{framework}.py"))
    site = names.get("app") or names["site"]

    def ask(path: str) -> Response:
        return Request.blank(path).get_response(site)

    assert 'href="/lg/"' in ask("/").text
    assert "<form" in ask("/lg/").text
    assert ask("/lg/style.css").status_code == 200
    assert (ask("/lg").status_code, ask("/lg").location) == (308, "http://localhost/lg/")
    for prefix in ("/lg", ""):
        listed = ask(f"{prefix}{V1}/cmd").json["data"]["commands"]
        assert listed[0]["href"] == f"http://localhost/lg{V1}/ping"
        assert ask(f"{prefix}{V1}/true").json["status"] == "success"
        assert ask(f"{prefix}{V1}/ping/127.0.0.0%2F8").json["code"] == 400
    assert ask("/.well-known/looking-glass").json["status"] == "success"
    assert "<form" not in ask("/lgx").text


@pytest.mark.parametrize(
    ("name", "arguments", "told"),
    [
        ("embed", [], "usage: python3 examples/embed.py CONFIG PORT\n"),
        ("embed", ["config.json", "eighty"], "usage: python3 examples/embed.py CONFIG PORT\n"),
        ("embed", ["nowhere.json", "8081"], "nowhere.json: cannot be read: No such file or directory"),
        ("embed_flask", [], "usage: TINYTRACER_CONFIG=config.json gunicorn "),
        ("embed_pyramid", [], "usage: TINYTRACER_CONFIG=config.json gunicorn "),
    ],
)
def test_example_that_is_run_wrongly_says_how(name: str, arguments: list[str], told: str) -> None:
    argv = [sys.executable, "-W", "ignore", str(HERE / "examples" / f"{name}.py"), *arguments]
    environ = {**os.environ, "PYTHONPATH": str(HERE)}
    done = subprocess.run(argv, capture_output=True, text=True, env=environ, timeout=PATIENT, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(told)


@pytest.mark.slow
@pytest.mark.parametrize("busy", BUSY)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_busy_embedding_host_ends_at_a_signal(tmp_path: Path, busy: str, number: signal.Signals) -> None:
    for _ in range(10 if busy == "one thread" else 4):  # with both signals 20 hosts of one thread
        server = embedding(tmp_path, ONE_THREAD if busy == "one thread" else EMBED)
        connections = [server.begin(f"{V1}/{name}", "text/plain") for name in BUSY[busy]]
        children = server.wait_for_children(more_than=len(BUSY[busy]) - 1)
        assert len(children) >= len(BUSY[busy])
        time.sleep(random.uniform(0, 0.3))
        children |= server.children()
        started = time.monotonic()
        server.process.send_signal(number)
        error = server.process.communicate(timeout=PATIENT)[1]
        assert time.monotonic() - started < 10
        assert soon_gone(*children)
        assert server.process.returncode == 0
        assert "Traceback" not in error
        for connection in connections:
            connection.close()
