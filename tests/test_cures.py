"""Cures: packages for programs and for Python, and the program itself, as commands."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from lookingglass import cures
from tests.support import HERE


def test_package_for_python_comes_from_where_this_python_takes_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path))
    by_pip = f"{sys.executable} -m pip install prometheus_client"
    monkeypatch.setattr(sys, "prefix", "/venv")
    monkeypatch.setattr(sys, "base_prefix", "/usr")
    (tmp_path / "EXTERNALLY-MANAGED").touch()
    assert cures.how_to_import("prometheus_client") == by_pip
    monkeypatch.setattr(sys, "prefix", "/usr")
    assert cures.how_to_import("prometheus_client") == "apt install python3-prometheus-client"
    (tmp_path / "EXTERNALLY-MANAGED").unlink()
    assert cures.how_to_import("prometheus_client") == by_pip


def test_program_that_is_installed_under_several_names_is_told_once() -> None:
    assert cures.how_to_install(["ping", "mtr", "mtr-packet", "ping6"]) == "apt install iputils-ping mtr-tiny"
    assert cures.how_to_get("no-such-program") == ""


def test_within_a_server_of_somebody_else_the_program_has_the_name_of_an_installation(tmp_path: Path) -> None:
    host = tmp_path / "gunicorn"
    host.write_text("from lookingglass import cures\nprint(cures.program())\n")
    argv = [sys.executable, str(host), "tinytracer:application"]
    environ = {"PYTHONPATH": str(HERE), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(argv, env=environ, capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout == "tinytracer\n"
