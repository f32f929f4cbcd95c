"""Scripts beside the program: their options."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import HERE


def files() -> dict[Path, int]:
    """Return what stands beside the program and when it was written, but not what measures the tests."""
    found = (path for folder in (HERE, HERE / "docs") for path in folder.iterdir() if path.is_file())
    return {path: path.stat().st_mtime_ns for path in found if not path.name.startswith(".coverage")}


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
    before = files()
    for option, status in (("--help", 0), ("--nothing", 2)):
        argv = [sys.executable, "-B", "-W", "ignore", *script, option]
        done = subprocess.run(argv, cwd=HERE, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == status, done.stderr
        assert "usage: " in done.stdout + done.stderr
    assert files() == before
