"""The README works as it stands, from top to end, in a fresh clone; links in all pages lead somewhere."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lookingglass import configuration as conf
from tests.support import HERE, descendants, soon_gone

README = (HERE / "README.md").read_text()
# What a reader copies: commands that run, and a configuration that is to be written.
BLOCKS = re.findall(r"^```(sh|json)\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
SERVER = "make run\n"
PAGES = [
    HERE / name
    for name in subprocess.run(
        ["git", "ls-files", "*.md"], cwd=HERE, capture_output=True, text=True, check=True
    ).stdout.split()
]
LINK = re.compile(r"\]\(([^()\s]*)\)")
# A machine on the Internet, as far as the examples see: addresses, routes, and names in its hosts file.
INTERNET = """
mount --bind "$1" /etc/hosts
ip link set lo up
ip address add 93.184.215.14/32 dev lo
ip link add eth0 type veth peer name far
ip link set eth0 up
ip link set far up
ip address add 198.51.100.7/24 dev eth0
ip route add default via 198.51.100.1
ip address add 2001:db8::7/64 dev eth0 nodad
ip -6 route add default via 2001:db8::1
"""
HOSTS = "127.0.0.1 localhost\n93.184.215.14 www.example.net a.root-servers.net.\n"


class Reader:
    """Do what the README says, in a clone, on a machine of its own."""

    def __init__(self, clone: Path, enter: list[str]) -> None:
        self.clone = clone
        self._enter = enter
        self._server: subprocess.Popen[str] | None = None

    def run(self, text: str) -> subprocess.CompletedProcess[str]:
        argv = [*self._enter, "bash", "-euc", text]
        return subprocess.run(
            argv,
            cwd=self.clone,
            capture_output=True,
            text=True,
            timeout=60,
            stdin=subprocess.DEVNULL,
            check=False,
        )

    def serve(self) -> None:
        """Start the server, in place of one that was started before."""
        self.stop()
        argv = [*self._enter, "make", "run"]
        environ = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
        self._server = subprocess.Popen(
            argv, cwd=self.clone, env=environ, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        lines = []
        for line in self._server.stderr or ():
            if "Listening on http://127.0.0.1:8080/" in line:
                return
            lines.append(line)
        raise AssertionError("".join(lines))

    def stop(self) -> None:
        """Press Ctrl-C."""
        if self._server:
            below = descendants(self._server.pid)
            os.killpg(self._server.pid, signal.SIGINT)
            self._server.communicate(timeout=60)
            assert soon_gone(*below)
            self._server = None


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    """Yield who reads the README, with the packages at hand that `make run` would install."""
    clone = tmp_path / "tinytracer"
    subprocess.run(["git", "clone", "--quiet", HERE, clone], check=True)
    programs = clone / ".venv" / "bin"
    programs.mkdir(parents=True)
    for name, module in (("python", ""), ("tinytracer", " -m tinytracer")):
        (programs / name).write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)}{module} "$@"\n')
        (programs / name).chmod(0o755)
    (clone / ".venv" / "run.stamp").touch()
    (tmp_path / "hosts").write_text(HOSTS)
    kinds = ["--net", "--mount"]
    holder = subprocess.Popen(["unshare", *kinds, "sleep", "600"])
    enter = ["nsenter", f"--target={holder.pid}", *kinds, f"--wd={clone}"]
    reader = Reader(clone, enter)
    try:
        until = time.monotonic() + 10
        while os.readlink(f"/proc/{holder.pid}/ns/net") == os.readlink("/proc/self/ns/net"):
            assert time.monotonic() < until
            time.sleep(0.01)
        subprocess.run([*enter, "sh", "-euc", INTERNET, "sh", str(tmp_path / "hosts")], check=True)
        yield reader
    finally:
        holder.kill()
        holder.wait()
        reader.stop()


@pytest.mark.lab
def test_reader_who_does_all_that_the_readme_says_gets_answers(reader: Reader) -> None:
    asked = 0
    for kind, text in BLOCKS:
        if kind == "json":
            (reader.clone / "config.json").write_text(text)
        elif text == SERVER:
            reader.serve()
        else:
            done = reader.run(text)
            is_check = "check" in text  # which finds that the example's second router cannot be reached
            assert done.returncode == is_check, done.stdout + done.stderr
            assert ("fra1" in done.stderr) == is_check
            asked += text.count("curl ")
            assert '"status": "error"' not in done.stdout, text
            assert done.stdout
    assert asked >= 8


@pytest.mark.lab
def test_address_that_the_readme_says_is_refused_is_refused(reader: Reader) -> None:
    assert "`ping/192.0.2.1` is refused" in README
    reader.serve()
    done = reader.run("curl -s http://127.0.0.1:8080/.well-known/looking-glass/v1/ping/192.0.2.1")
    assert json.loads(done.stdout)["code"] == 400


def test_configuration_in_the_readme_is_valid() -> None:
    (text,) = [text for kind, text in BLOCKS if kind == "json"]
    routers = conf.read(json.loads(text), HERE).routers
    assert [router.name for router in routers] == ["lg.example.net", "fra1.example.net"]


def test_readme_lists_its_parts() -> None:
    parts = re.findall(r"^## (.+)$", README, re.MULTILINE)
    contents = re.findall(r"\[([A-Z][\w ]+)\]\(#", README)
    assert contents == [part for part in parts if part != "License"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(HERE)))
def test_links_lead_somewhere(page: Path) -> None:
    for link in LINK.findall(page.read_text()):
        path, _, part = link.partition("#")
        if not path.startswith("https://"):
            target = (page.parent / path).resolve() if path else page
            assert target.exists(), link
            assert not part or part in anchors(target), link


def anchors(page: Path) -> set[str]:
    """Return what links to parts of a page may say, as GitHub makes them of its headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
