"""The script that writes test files: repeated, interrupted, and without space."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support import HERE, PATIENT, descendants, small_disk, soon, soon_gone

MIB = 1048576
SCRIPT = HERE / "testfiles" / "gentestfiles.sh"
Generate = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def generate(tmp_path: Path) -> Iterator[Generate]:
    """Yield a function that runs a copy of gentestfiles.sh in a folder with 4 MiB of space."""
    if os.geteuid():
        pytest.skip("mounting needs root")
    folder = tmp_path / "small disk"

    def run(*sizes: str, path: str = "") -> subprocess.CompletedProcess[str]:
        argv = [str(folder / "gentestfiles.sh"), *sizes]
        environ = {**os.environ, "PATH": f"{path}:{os.environ['PATH']}"}
        return subprocess.run(
            argv, capture_output=True, text=True, check=False, timeout=60, env=environ, cwd="/"
        )

    with small_disk(folder, "size=4m"):
        shutil.copy(SCRIPT, folder)
        yield run


def files_in(tmp_path: Path) -> dict[str, int]:
    folder = tmp_path / "small disk"
    return {each.name: each.stat().st_size for each in folder.iterdir() if each.name != "gentestfiles.sh"}


def test_test_files_are_random_and_written_once(generate: Generate, tmp_path: Path) -> None:
    done = generate("1", "2")
    assert (done.returncode, done.stderr) == (0, "")
    assert files_in(tmp_path) == {"1MB.test": MIB, "2MB.test": 2 * MIB}
    file = tmp_path / "small disk" / "1MB.test"
    data = file.read_bytes()
    assert len(zlib.compress(data)) > len(data)
    assert file.stat().st_mode & 0o777 == 0o644
    before = file.stat()
    done = generate("1", "2")
    assert (done.returncode, done.stdout) == (0, "1MB.test is there.\n2MB.test is there.\n")
    assert (file.stat().st_ino, file.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_test_file_that_is_not_whole_is_written_anew(generate: Generate, tmp_path: Path) -> None:
    folder = tmp_path / "small disk"
    (folder / "1MB.test").write_bytes(b"half")
    (folder / ".1MB.test.4194305").write_bytes(b"left by a run that was killed")  # above any process id
    (folder / f".3MB.test.{os.getpid()}").write_bytes(b"of a run under way")
    assert generate("1").returncode == 0
    assert files_in(tmp_path) == {"1MB.test": MIB, f".3MB.test.{os.getpid()}": 18}


@pytest.mark.parametrize(("sizes", "lacking"), [((), 172), (("3", "2"), 2), (("99999",), 99996)])
def test_lacking_space_is_told_before_anything_is_written(
    generate: Generate, tmp_path: Path, sizes: tuple[str, ...], lacking: int
) -> None:
    done = generate(*sizes)
    assert done.returncode == 1
    needed = sum(map(int, sizes or ("25", "50", "100")))
    assert f"{lacking} MB" in done.stderr
    assert "are lacking in" in done.stderr
    assert f"need {needed} MB" in done.stderr
    assert files_in(tmp_path) == {}


def test_disk_that_fills_up_in_the_middle_leaves_nothing_behind(generate: Generate, tmp_path: Path) -> None:
    fake = tmp_path / "bin"
    fake.mkdir()
    (fake / "df").write_text("#!/bin/sh\nprintf 'a\\na b c 999999 e f\\n'\n")  # as if others took the space
    (fake / "df").chmod(0o755)
    done = generate("1", "9", path=str(fake))
    assert done.returncode == 1
    assert "9MB.test cannot be written" in done.stderr
    assert files_in(tmp_path) == {"1MB.test": MIB}


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT, signal.SIGTERM])
def test_interrupted_script_ends_at_once_and_leaves_nothing_behind(
    tmp_path: Path, number: signal.Signals
) -> None:
    folder = tmp_path / "testfiles"
    folder.mkdir()
    shutil.copy(SCRIPT, folder)
    (tmp_path / "head").write_text("#!/bin/sh\necho begun\nexec sleep 1000\n")  # a slow disk
    (tmp_path / "head").chmod(0o755)
    environ = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    default = f"--default-signal={number}"  # a shell's "&" has some ignored
    script = ["env", default, str(folder / "gentestfiles.sh"), "1"]
    process = subprocess.Popen(script, env=environ)
    assert soon(lambda: [each for each in folder.glob(".1MB.test.*") if each.stat().st_size])
    writers = descendants(process.pid)
    assert writers
    process.send_signal(number)
    assert process.wait(PATIENT) == 128 + number
    assert soon_gone(*writers)
    assert [each.name for each in folder.iterdir()] == ["gentestfiles.sh"]


@pytest.mark.parametrize("size", ["0", "-1", "1.5", "1M", "", "012", "1000000", "$(id)"])
def test_wrong_size_is_refused(size: str) -> None:
    argv = [str(SCRIPT), "1", size]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert done.stderr.startswith("Usage: gentestfiles.sh [MB]...")
    assert not (HERE / "testfiles" / "1MB.test").exists()


def test_script_explains_itself_and_is_clean() -> None:
    done = subprocess.run([SCRIPT, "--help"], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.startswith("Usage: gentestfiles.sh [MB]...")
    subprocess.run(["shellcheck", SCRIPT], check=True, timeout=60)
