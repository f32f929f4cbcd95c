"""gunicorn as examples/gunicorn.conf.py has it run: what it refuses, and how it ends."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import HERE, PATIENT, V1, Server, configuration, free_port, soon_gone

RECOMMENDED = ["--config", "examples/gunicorn.conf.py", "tinytracer:application"]
GUNICORN = [sys.executable, "-m", "gunicorn", *RECOMMENDED]


def test_gunicorn_does_not_start_with_a_wrong_configuration(tmp_path: Path) -> None:
    environ = {**os.environ, "TINYTRACER_CONFIG": str(configuration(tmp_path, nonsense=1))}
    argv = [*GUNICORN, "--bind", "127.0.0.1:0"]
    done = subprocess.run(
        argv, cwd=HERE, env=environ, capture_output=True, text=True, timeout=60, check=False
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
    server.process.terminate()
    server.process.communicate(timeout=PATIENT)  # its workers may take 30 s to end
    assert soon_gone(*children)
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
    lines = server.process.communicate(timeout=60)[1].splitlines()
    found = [line for line in lines if "Each process counts limits for itself" in line]
    assert told <= len(found) <= told * workers  # a worker that nobody has asked says nothing
