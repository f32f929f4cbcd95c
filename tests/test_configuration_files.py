"""The files that a configuration is read from: its own, those it names, and the template."""

from __future__ import annotations

import json
import os
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lookingglass import configuration, documents, resources, spawning
from lookingglass.configuration import ConfigurationError
from tests.support import HERE, PING, SCHEMA, errors_of


def tinytracer(*arguments: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-W", "ignore", str(HERE / "tinytracer.py"), *arguments]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False, cwd=HERE)


def test_router_commands_come_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "set.json").write_text(json.dumps({"ping": PING}))
    (tmp_path / "bad.json").write_text('{"ping": {"cmd4": "a; b"}, "x": }')
    read = configuration.read({"routers": [{"name": "a", "commands": "set.json"}]}, tmp_path)
    assert list(read.routers[0].commands) == ["ping"]
    (error,) = errors_of({"routers": [{"name": "a", "commands": "bad.json"}]}, tmp_path)
    assert error.startswith("routers[0].commands: bad.json: line 1 column ")


def test_commands_at_the_top_come_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "set.json").write_text(json.dumps({"ping": PING}))
    (tmp_path / "bad.json").write_text('{"ping": {"cmd4": ["ping"], "cmd5": 5}}')
    for routers in ({}, {"routers": [{"name": "a"}]}):
        document = {"commands": "set.json", **routers}
        SCHEMA.validate(document)
        assert list(configuration.read(document, tmp_path).routers[0].commands) == ["ping"]
    errors = errors_of({"commands": "bad.json"}, tmp_path)
    assert [error.partition(": ")[0] for error in errors] == ["commands.ping.cmd5"]
    (tmp_path / "list.json").write_text("[]")
    for name in ("none.json", "list.json", "a\0b", "."):
        (error,) = errors_of({"commands": name}, tmp_path)
        assert error.startswith("commands: ")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"commands": {', "line 1 column 15"),
        (b'{"commands": {"x": {"cmd": ["a"], "cmd": ["b"]}}, "y": 1}', "commands.x.cmd: this key"),
        (b'{"commands": {"x": {"cmd": ["a"], "cmd": ["b"]}}, "y": 1}', "\ny: there is no such key"),
        ('{"debug": true}'.encode("utf-16"), "UTF-8"),
        (b"\xef\xbb\xbf{}", "BOM"),
        (b'{"a": [1, 2,\n ]}', "line 1 column 12: the comma before a closing bracket"),
        (b'{"a": {"b": 1,},\n "c": 2}', "line 1 column 14: the comma before a closing bracket"),
        (b'{\n // why\n "a": 1}', "line 2 column 2: JSON has no comments"),
        (b'{"a": 1, # why\n "b": 2}', "line 1 column 10: JSON has no comments"),
        (b'{"a": 1 /* why */}', "line 1 column 9: JSON has no comments"),
        (b"{'a': 1}", "double quotes"),
        ("{\u201ca\u201d: 1}".encode(), "typographic quotes"),
        (b"{a: 1}", "double quotes"),
        (b'{"a": True}', "write true, false or null"),
        (b'{"a": 1\n "b": 2}', "line 2 column 2: a comma is missing"),
        (b'{"a" 1}', "a colon is missing"),
        (b'{"a": "b\nc"}', "a string cannot go on"),
        (b'{"a": "\\d"}', "a backslash"),
        (b'{"a": 1}}', "the document has ended before this"),
        (b'{"a": 1', "the file ends too early"),
        (b'{"a": "b', "is not closed"),
        (b" \n", "the file is empty"),
        (b'{"limits": {"runtime": NaN}}', "NaN"),
        (b"\xff", "JSON"),
        (b"[" * 100_000, "JSON"),
        (b"", "line 1"),
    ],
)
def test_broken_file_is_refused_with_its_name(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "c.json"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError) as caught:
        configuration.load(path)
    assert message in str(caught.value)
    assert "c.json" in str(caught.value) or b"commands" in content


@pytest.mark.parametrize("name", resources.SETS)
def test_command_set_is_named_without_a_file(tmp_path: Path, name: str) -> None:
    router = {"name": "r", "source4": "192.0.2.1", "source6": "2001:db8::1", "commands": name}
    document = {"routers": [router]}
    SCHEMA.validate(document)
    copied = {"routers": [{**router, "commands": str(HERE / "examples" / "routers" / f"{name}.json")}]}
    assert configuration.read(document, tmp_path).routers == configuration.read(copied, tmp_path).routers


def test_command_set_that_there_is_not_is_told_with_those_that_there_are(tmp_path: Path) -> None:
    (error,) = errors_of({"commands": "fr"}, tmp_path)
    assert "did you mean frr?" in error
    assert all(name in error for name in resources.SETS)
    (tmp_path / "fr").write_text(json.dumps({"ping": PING}))
    assert list(configuration.read({"commands": "fr"}, tmp_path).routers[0].commands) == ["ping"]


def test_every_shipped_command_set_has_a_name() -> None:
    found = {path.stem for path in (HERE / "examples" / "routers").glob("*.json")}
    assert found == set(resources.SETS)
    assert all((HERE / "examples" / "routers" / name).is_file() for name in resources.SCRIPTS)


def test_missing_file_is_refused_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"none\.json: cannot be read"):
        configuration.load(tmp_path / "none.json")


# --- what may never end


@pytest.fixture(params=["a named pipe", "a folder", "a socket", "a device"])
def other(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """Yield what is no regular file, and what it is."""
    path = tmp_path / "other"
    with socket.socket(socket.AF_UNIX) as listening:
        if request.param == "a named pipe":
            os.mkfifo(path)
        elif request.param == "a folder":
            path.mkdir()
        elif request.param == "a socket":
            listening.bind(str(path))
        else:
            path.symlink_to("/dev/zero")
        yield path, request.param


def test_what_is_no_regular_file_is_refused_at_once(other: tuple[Path, str], tmp_path: Path) -> None:
    path, kind = other
    told = f"cannot be read: it is {kind}; expected a regular file"
    for action in (["check"], ["serve", "--listen", f"unix:{tmp_path}/lg"]):
        done = tinytracer(*action, "--config", str(path))
        assert (done.returncode, done.stderr.splitlines()[0].removeprefix("ERROR: ")) == (
            2 if action == ["check"] else 1,
            f"{path}: {told}",
        )
    done = tinytracer("migrate", str(path), "--config", str(tmp_path / "new.json"))
    assert (done.returncode, done.stderr) == (2, f"{path}: {told}\n")
    router = {"name": "a", "commands": "other"}
    assert errors_of({"commands": "other"}, tmp_path) == (f"commands: other: {told}",)
    assert errors_of({"routers": [router]}, tmp_path) == (f"routers[0].commands: other: {told}",)


def test_named_pipe_is_not_opened(tmp_path: Path) -> None:
    path = tmp_path / "other"
    os.mkfifo(path)
    with subprocess.Popen(["sh", "-c", f"echo {{}} > {shlex.quote(str(path))}"]) as writer:
        with pytest.raises(ConfigurationError, match="named pipe"):
            configuration.load(path)
        assert writer.poll() is None  # nobody has woken it up
        writer.kill()


def test_file_that_becomes_a_pipe_while_it_is_opened_holds_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, regular = tmp_path / "other", os.stat(__file__)
    os.mkfifo(path)
    with monkeypatch.context() as patched:
        patched.setattr("lookingglass.documents.os.stat", lambda path: regular)
        with pytest.raises(OSError, match="named pipe"):
            documents.contents_of(path)


@pytest.mark.parametrize(
    "way", ["cat {} | {} /dev/stdin", "{1} /dev/stdin < {0}", "{1} <(sleep 0.2; cat {0})"]
)
def test_pipe_of_a_shell_is_read_at_the_start(tmp_path: Path, way: str) -> None:
    path = tmp_path / "c.json"
    path.write_text(json.dumps({"commands": {"one": {"cmd": ["true"]}}}))
    program = shlex.join([sys.executable, str(HERE / "tinytracer.py"), "check", "--config"])
    argv = ["bash", "-c", way.format(shlex.quote(str(path)), program)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert "commands: these only read tables: one\n" in done.stdout
    assert "ERROR" not in done.stderr


# --- the template


def test_template_is_valid_and_has_what_a_looking_glass_needs() -> None:
    path = HERE / "config.json.template"
    read = configuration.load(path)
    SCHEMA.validate(json.loads(path.read_text()))
    assert list(read.routers[0].commands) == ["ping", "traceroute", "mtr", "show route"]
    assert all(command.families() == (4, 6) for command in read.routers[0].commands.values())


def test_default_offers_what_the_machine_has(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "show route" in configuration.default().routers[0].commands
    monkeypatch.setitem(spawning.ENVIRONMENT, "PATH", "/nowhere")
    with pytest.raises(ConfigurationError, match="none of ping, traceroute, mtr, ip"):
        configuration.default()
