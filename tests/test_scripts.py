"""Scripts beside the program: their options."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support import HERE


@pytest.mark.parametrize(
    "script",
    [
        ["examples/pack.py"],
        ["examples/lab/lab.py"],
        ["examples/screenshots/make.py"],
        *(
            ["-m", module]
            for module in (
                *("docs.reference", "tests.bench", "tests.fuzz", "tests.prices"),
                *("tests.soak", "tests.soak.shared"),
            )
        ),
    ],
    ids=lambda script: script[-1],
)
def test_script_that_is_asked_for_help_does_nothing_else(script: list[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in (HERE, HERE / "docs" / "configuration.md")}
    for option, status in (("--help", 0), ("--nothing", 2)):
        argv = [sys.executable, "-B", "-W", "ignore", *script, option]
        done = subprocess.run(argv, cwd=HERE, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == status, done.stderr
        assert "usage: " in done.stdout + done.stderr
    assert {path: path.stat().st_mtime_ns for path in before} == before
