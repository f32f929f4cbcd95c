"""A starting configuration: what this machine has, what it says, and that nothing is overwritten."""

from __future__ import annotations

import json
import os
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from examples.lab.lab import Lab
from lookingglass import configuration, machine, starting
from tests.support import HERE, SCHEMA, V1, Server, free_port

PROGRAM = [sys.executable, "-W", "ignore", str(HERE / "tinytracer.py")]


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environ = {name: value for name, value in os.environ.items() if name != "TINYTRACER_CONFIG"}
    return subprocess.run(
        [*PROGRAM, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=environ,
    )


def test_written_configuration_is_valid_and_serves(tmp_path: Path) -> None:
    done = run(tmp_path, "init")
    assert done.returncode == 0, done.stderr
    assert "Written: config.json, config.schema.json" in done.stdout
    document = json.loads((tmp_path / "config.json").read_text())
    SCHEMA.validate(document)
    assert document["routers"][0]["name"] == socket.gethostname()
    schema = json.loads((tmp_path / document["$schema"]).read_text())
    jsonschema.Draft202012Validator(schema).validate(document)
    port = free_port()
    server = Server([*PROGRAM, "serve", "--listen", f"127.0.0.1:{port}"], port, cwd=tmp_path)
    try:
        server.wait_until_ready()
        listed = server.json(f"{V1}/cmd")["data"]["commands"]
        assert [each["command"] for each in listed] == ["ping", "traceroute", "mtr", "show route"]
        assert server.json(f"{V1}/show/route/192.0.2.1")["status"] in {"success", "fail"}
    finally:
        server.stop()


def test_file_is_written_where_it_is_named_with_the_schema_beside_it(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    file = tmp_path / "etc" / "lg.json"
    done = run(tmp_path, "init", "--config", str(file))
    assert done.returncode == 0
    assert sorted(os.listdir(tmp_path / "etc")) == ["config.schema.json", "lg.json"]
    assert f"Then: {shlex.join(PROGRAM)} check --config {file}" in done.stdout


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("precious")
    (tmp_path / "config.schema.json").write_text("precious as well")
    done = run(tmp_path, "init")
    assert done.returncode == 1
    assert "config.json is there already, and nothing was written" in done.stderr
    assert run(tmp_path, "init", "--config", "other.json").returncode == 0
    assert (tmp_path / "config.json").read_text() == "precious"
    assert (tmp_path / "config.schema.json").read_text() == "precious as well"


def test_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    done = run(tmp_path, "init", "--config", "no/such/config.json")
    assert done.returncode == 1
    assert "no/such/config.json cannot be written: No such file or directory" in done.stderr
    cure = done.stderr.splitlines()[-1].strip()
    subprocess.run(["sh", "-ec", cure], cwd=tmp_path, check=True)
    assert run(tmp_path, "init", "--config", "no/such/config.json").returncode == 0


# --- what a machine lacks


class Fake:
    """A machine whose programs, routes and daemons are as said."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self.folder = folder / "bin"
        self.folder.mkdir()
        self.sources: dict[int, str | None] = {4: "192.0.2.7", 6: "2001:db8::7"}
        self.sockets: list[socket.socket] = []
        self._monkeypatch = monkeypatch
        monkeypatch.setattr(machine, "PATH", str(self.folder))
        monkeypatch.setattr(machine, "source", lambda family: self.sources[family])
        self._daemons(lambda daemon: daemon._replace(where=(str(folder / daemon.command_set),)))

    def _daemons(self, change: Any) -> None:
        self._monkeypatch.setattr(machine, "DAEMONS", tuple(map(change, machine.DAEMONS)))

    def has(self, *programs: str) -> None:
        for name in programs:
            (self.folder / name).write_text("#!/bin/sh\n")
            (self.folder / name).chmod(0o755)

    def runs(self, command_set: str) -> None:
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(next(each.where[0] for each in machine.DAEMONS if each.command_set == command_set))
        listening.listen()
        self.sockets.append(listening)

    def init(self) -> tuple[dict[str, Any], str]:
        notes: list[str] = []
        document = starting.starting(notes)
        configuration.read(document, self.folder)
        return document, "\n".join(notes)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Fake]:
    fake = Fake(monkeypatch, tmp_path)
    yield fake
    for each in fake.sockets:
        each.close()


def commands(document: dict[str, Any]) -> Any:
    return document["routers"][0]["commands"]


def test_program_that_is_missing_is_left_out_with_its_package(fake: Fake) -> None:
    fake.has("ping", "ip")
    document, said = fake.init()
    assert list(commands(document)) == ["ping", "show route"]
    assert "traceroute is left out: there is no traceroute here: apt install traceroute" in said
    assert "mtr is left out: there is no mtr here: apt install mtr-tiny" in said


def test_machine_without_any_program_gets_no_file(fake: Fake, tmp_path: Path, capfd: Any) -> None:
    assert starting.init(str(tmp_path / "new.json")) == 1
    assert not (tmp_path / "new.json").exists()
    told = capfd.readouterr().err
    assert "apt install iputils-ping" in told
    assert "expected an object with at least one command" in told


@pytest.mark.parametrize("family", [4, 6])
def test_family_without_a_route_is_switched_off(fake: Fake, family: int) -> None:
    fake.has("ping", "ip", "traceroute", "mtr", "vtysh")
    fake.sources[family] = None
    fake.runs("frr")
    document, said = fake.init()
    assert document["capabilities"] == {f"ipv{family}": False}
    assert f"IPv{family} is switched off: this machine has no route for it." in said
    router = configuration.read(document, "").routers[0]
    assert list(router.sources) == [10 - family]
    assert commands(document) == "frr"


def test_routing_daemon_that_answers_brings_its_command_set(fake: Fake) -> None:
    fake.has("ping", "traceroute", "vtysh", "ip", "birdc")
    fake.runs("frr")
    document, said = fake.init()
    assert commands(document) == "frr"
    assert document["routers"][0]["source4"] == "192.0.2.7"
    assert document["routers"][0]["source6"] == "2001:db8::7"
    assert "BIRD is left out: its program is here, and nothing answers at " in said


def test_set_without_one_of_its_programs_is_written_out(fake: Fake) -> None:
    fake.has("ping", "traceroute", "birdc")
    fake.runs("bird")
    document, said = fake.init()
    assert "show route" in commands(document)
    assert "show bgp community" not in commands(document)
    assert "show bgp community is left out: there is no birdlg here: install -m 755 " in said
    script = said.partition("install -m 755 ")[2].split(" ")[0]
    assert Path(script).read_text().startswith("#!")


def test_daemon_without_its_program_and_a_second_one_are_named(fake: Fake) -> None:
    fake.has("ping", "traceroute", "vtysh", "bgpctl")
    for each in ("bird", "frr", "openbgpd"):
        fake.runs(each)
    document, said = fake.init()
    assert commands(document) == "frr"
    assert "BIRD is left out: it runs, and there is no birdc: apt install bird2" in said
    assert (
        'OpenBGPD is left out: FRR is here as well; for both, add a router with "commands": "openbgpd"'
        in said
    )


@pytest.mark.parametrize("name", ["a b", "", "x" * 300, "ä"])
def test_host_name_that_nobody_could_ask_for_becomes_another(
    fake: Fake, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    fake.has("ping")
    monkeypatch.setattr(socket, "gethostname", lambda: name)
    assert fake.init()[0]["routers"][0]["name"] == "lg"


@pytest.mark.slow
def test_one_file_writes_checks_and_migrates(pyz: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-I", "-S", str(pyz), *arguments]
        return subprocess.run(
            argv, cwd=tmp_path / "empty", capture_output=True, text=True, check=False, timeout=60
        )

    assert run("init").returncode == 0
    assert run("migrate", "config.json", "--config", "new.json").returncode == 2  # it has routers
    assert "commands: these send packets" in run("check").stdout
    router = {"name": "r", "source4": "192.0.2.1", "source6": "2001:db8::1", "commands": "bird"}
    (tmp_path / "empty" / "bird.json").write_text(json.dumps({"routers": [router]}))
    told = run("check", "--config", "bird.json").stderr
    cure = told.partition("there is no program 'birdlg'")[2].splitlines()[1].strip()
    assert cure.endswith(" /usr/local/bin/")
    cure = cure.replace("/usr/local/bin/", str(tmp_path))
    subprocess.run(["sh", "-ec", cure], cwd=tmp_path, check=True, timeout=60)
    assert os.access(tmp_path / "birdlg", os.X_OK)


@pytest.mark.lab
def test_configuration_of_a_looking_glass_in_the_lab_is_well(lab: Lab, tmp_path: Path) -> None:
    done = lab.exec("lg", [*PROGRAM, "init", "--config", str(tmp_path / "config.json")])
    assert done.returncode == 0, done.stderr
    done = lab.exec("lg", [*PROGRAM, "check", "--config", str(tmp_path / "config.json")])
    assert (done.returncode, done.stderr) == (0, "")
