"""CONTRIBUTING: each of its four additions is applied to a clone as it stands, and works there."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import HERE
from tinytracer import __version__

DIFFS = re.findall(
    r"^## Add a (.*?)\n.*?```diff\n(.*?)```", (HERE / "CONTRIBUTING.md").read_text(), re.S | re.M
)
# What a program in the clone shows of each addition.
SHOWS = {
    "command": "print(sorted(glass(json.load(open('config.json.template'))).routers[0].commands))",
    "parser": "print(facts.facts('uptime', ' 1:16 up 4 min,  0 users,  load average: 0.78, 0.27, 0.85'))",
    "configuration key": "print(glass({'info': {'phone': '+49 30 1'}, 'commands': RUN}).info)",
    "WSGI route": "print(get(TinyTracer(glass({'commands': RUN})), '/api/version'))",
}
EXPECTED = {
    "command": "['mtr', 'ping', 'show route', 'tracepath', 'traceroute']",
    "parser": "{'load': [0.78, 0.27, 0.85]}",
    "configuration key": "{'phone': '+49 30 1'}",
    "WSGI route": json.dumps({"version": __version__}),
}
PROGRAM = """
import json
from webob import Request
from lookingglass import configuration, facts
from tinytracer import TinyTracer
RUN = {'true': {'cmd': ['true']}}
def glass(document):
    return configuration.read(document, '.')
def get(application, path):
    return Request.blank(path, environ={'REMOTE_ADDR': '198.51.100.7'}).get_response(application).text.strip()
"""


def test_four_additions_are_shown() -> None:
    assert [name for name, _ in DIFFS] == list(SHOWS)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "diff"), DIFFS, ids=[name for name, _ in DIFFS])
def test_addition_works_as_shown(name: str, diff: str, tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", HERE, clone], check=True)
    apply = ["git", "apply", "--whitespace=error", "-"]
    applied = subprocess.run(apply, cwd=clone, input=diff, text=True, capture_output=True, check=False)
    assert not applied.stderr
    program = [sys.executable, "-W", "ignore", "-c", PROGRAM + SHOWS[name]]
    shown = subprocess.run(program, cwd=clone, text=True, capture_output=True, check=True).stdout
    assert shown.strip() == EXPECTED[name]
    held = ["tests/test_house.py", "tests/test_schema.py", "-k", "not installation"]
    tests = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *held]
    assert subprocess.run(tests, cwd=clone, capture_output=True, check=False).returncode == 0
