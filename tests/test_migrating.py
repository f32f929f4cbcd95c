"""Configurations of the original program and of intrace: translated, or named with the reason."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from lookingglass import configuration
from lookingglass.configuration import ConfigurationError
from tests.support import HERE, SCHEMA, V1, Server, free_port, soon

# As the original program's template and intrace's example have them: their keys and their command lines.
ORIGINAL: dict[str, Any] = {
    "commands": {
        "mtr": {
            "cmd4": "mtr -4zboLDRSNBAWVGJMXI -rwc10 -i 0.2 -m 50 {{TARGET}} 2> /dev/null | tail -n+2",
            "cmd6": "mtr -6zboLDRSNBAWVGJMXI -rwc10 -i 0.2 -m 50 {{TARGET}} 2> /dev/null | tail -n+2",
            "description": "Trace with mtr",
        },
        "traceroute": {
            "cmd4": "traceroute -A -q5 -w 2 -4 -m 50 {{TARGET}} 2> /dev/null",
            "cmd6": "traceroute -A -q5 -w 2 -6 -m 50 {{TARGET}} 2> /dev/null",
            "description": "Trace",
        },
        "ping": {
            "cmd4": "ping -c 10 -i 0.2 -t 255 {{TARGET}} 2>&1",
            "cmd6": "ping6 -c 10 -i 0.2 -t 255 {{TARGET}} 2>&1",
            "description": "Ping",
        },
    },
    "capabilities": {"ipv4": True, "ipv6": True},
    "info": {"title": "Company Name Looking Glass", "asn": "AS000000"},
    "host": "https://lg.example.com/",
    "debug": False,
}
BLANKED = """perl -pe 's/^(HOST: ([^ ]+))/" " x (length($1) + 2)/gei'"""
HIDDEN = r"sed -r 's/BGP.next_hop: [0-9\.]+$/BGP.next_hop: 0.0.0.0/;s/ from [0-9\.]+\]/ from 0.0.0.0]/'"
CAPS: dict[str, Any] = {
    "bgp": {
        "name": "BGP Route Table Dump",
        "highlight": "BGP.as_path: ",
        "cmd4": f"birdc -r 'show route all for {{{{TARGET}}}} primary' 2> /dev/null | tail -n+3 | {HIDDEN}",
        "cmd6": f"birdc6 -r 'show route all for {{{{TARGET}}}} primary' 2> /dev/null | tail -n+3 | {HIDDEN}",
    },
    "route": {
        "name": "Route",
        "cmd4": "birdc -r 'show route for {{TARGET}}' 2> /dev/null | tail -n+3",
        "cmd6": "birdc6 -r 'show route for {{TARGET}}' 2> /dev/null | tail -n+3",
    },
    "mtr": {
        "name": "MTR",
        "highlight": 1,
        "cmd4": f"mtr -4boLDRSNBAWVGJMXI -rwc10 -i 0.2 '{{{{TARGET}}}}' 2> /dev/null | tail -n+2 | {BLANKED}",
        "cmd6": f"mtr -6boLDRSNBAWVGJMXI -rwc10 -i 0.2 '{{{{TARGET}}}}' 2> /dev/null | tail -n+2 | {BLANKED}",
    },
    "ping": {
        "name": "Ping",
        "highlight": 2,
        "cmd4": "ping -c 2 -i 0.2 -t 255 '{{TARGET}}' 2>&1",
        "cmd6": "ping6 -c 2 -i 0.2 -t 255 '{{TARGET}}' 2>&1",
    },
    "dnst": {
        "name": "DNS +trace",
        "highlight": ";; Received",
        "cmd4": "dig @198.41.0.4 +trace A '{{TARGET}}' 2>&1; dig @198.41.0.4 +trace AAAA '{{TARGET}}' 2>&1",
    },
    "dnsr": {
        "name": "DNS Resolver Test",
        "cmd4": "rnd=$RANDOM; dig '@{{TARGET}}' A $(cat /proc/sys/kernel/random/uuid).test.example 2>&1",
    },
}


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-W", "ignore", str(HERE / "tinytracer.py"), *arguments]
    environ = {name: value for name, value in os.environ.items() if name != "TINYTRACER_CONFIG"}
    return subprocess.run(
        argv, cwd=folder, capture_output=True, text=True, timeout=60, check=False, env=environ
    )


def migrated(folder: Path, old: object, status: int) -> tuple[dict[str, Any], str]:
    """Return what a document becomes, and what is said of it."""
    (folder / "old.json").write_text(json.dumps(old))
    done = run(folder, "migrate", "old.json")
    assert done.returncode == status, done.stderr
    assert json.loads((folder / "old.json").read_text()) == old
    text = (folder / "config.json").read_text()
    SCHEMA.validate(json.loads(text))
    return json.loads(text), done.stdout


def line(said: str, name: str) -> str:
    (found,) = [each for each in said.splitlines() if each.startswith(f"{name}: ")]
    return found


def test_original_template_is_translated_as_a_whole(tmp_path: Path) -> None:
    new, said = migrated(tmp_path, ORIGINAL, 0)
    for key in ("capabilities", "info", "host", "debug"):
        assert new[key] == ORIGINAL[key]
    commands = configuration.load(tmp_path / "config.json").routers[0].commands
    before = configuration.read(ORIGINAL, tmp_path).routers[0].commands
    assert list(commands) == ["mtr", "traceroute", "ping"]
    for name, command in commands.items():
        assert [command.template(family) for family in (4, 6)] == [
            before[name].template(family) for family in (4, 6)
        ]
        assert command.parser == name
        assert line(said, name).startswith(f"{name}: translated")
    assert "trustproxy is true" in said


@pytest.mark.slow
def test_original_comes_up_in_its_own_service_behind_its_own_proxy(tmp_path: Path) -> None:
    old = {**ORIGINAL, "targets": {"deny": []}}
    migrated(tmp_path, old, 0)
    gunicorn = shutil.which("gunicorn", path=str(Path(sys.executable).parent))
    assert gunicorn
    path = tmp_path / "tinytracer.sock"
    options = ["--workers", "2", "--bind", f"unix:{path}", "-m", "007"]  # as its unit has them
    environ = {**os.environ, "TINYTRACER_CONFIG": str(tmp_path / "config.json"), "PYTHONPATH": str(HERE)}
    process = subprocess.Popen(
        [gunicorn, *options, "tinytracer:application"], cwd=tmp_path, env=environ, stderr=subprocess.PIPE
    )

    def get(target: str) -> bytes:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(60)
            connection.connect(str(path))
            # what Debian's proxy_params add
            head = "Host: lg.example.com\r\nX-Real-IP: 203.0.113.9\r\nX-Forwarded-For: 203.0.113.9\r\n"
            connection.sendall(f"GET {target} HTTP/1.0\r\n{head}X-Forwarded-Proto: https\r\n\r\n".encode())
            return b"".join(iter(lambda: connection.recv(65536), b""))

    try:
        assert soon(path.exists)
        time.sleep(0.2)
        page = get("/")
        assert b"Company Name Looking Glass" in page
        assert b"203.0.113.9" in page
        assert b"https://lg.example.com/.well-known/looking-glass/v1/ping" in get(f"{V1}/cmd")
        envelope = json.loads(get(f"{V1}/ping/127.0.0.1").partition(b"\r\n\r\n")[2])
        assert (envelope["status"], envelope["data"]["rate"]) == ("success", 100)
    finally:
        process.terminate()
        process.communicate(timeout=60)


def test_first_versions_called_commands_tasks(tmp_path: Path) -> None:
    tasks = {
        "mtr6": f"mtr -6 -rwc10 -m 50 {{{{TARGET}}}} 2> /dev/null | tail -n+2 | {BLANKED}",
        "ping4": "ping -4 -c 10 {{TARGET}} 2>&1",
        "ping6": "ping6 -c 10 {{TARGET}} 2>&1",
        "ping": {"cmd4": "ping -c 3 {{TARGET}}"},
    }
    del tasks["ping"]
    new, _ = migrated(tmp_path, {"tasks": tasks}, 0)
    assert set(new["commands"]) == {"mtr", "ping"}
    assert set(new["commands"]["ping"]) >= {"cmd4", "cmd6"}
    assert "cmd4" not in new["commands"]["mtr"]


def test_key_of_the_original_that_there_is_not_is_named(tmp_path: Path) -> None:
    new, said = migrated(tmp_path, {**ORIGINAL, "secret_key": "x", "debug": "yes"}, 1)
    assert "left out: secret_key: there is no such key" in said
    assert "left out: debug: expected true or false" in said
    assert not {"secret_key", "debug"} & set(new)


def test_caps_are_translated_or_named_one_by_one(tmp_path: Path) -> None:
    new, said = migrated(tmp_path, CAPS, 1)
    assert list(new["commands"]) == ["route", "mtr", "ping"]
    assert new["commands"]["ping"]["description"] == "Ping"
    assert new["commands"]["route"]["argument"] == "addr"
    assert line(said, "bgp").startswith("bgp: left out")
    assert "sed behind a pipe needs a shell, and hides something from visitors" in line(said, "bgp")
    assert "highlight is left out" in line(said, "mtr")
    assert "a perl filter is left out" in line(said, "mtr")
    assert "birdc6 is birdc now" in line(said, "route")
    assert "';' needs a shell" in line(said, "dnst")
    assert "'rnd=' needs a shell" in line(said, "dnsr")
    assert "highlight" not in line(said, "ping").partition("highlight is left out")[2]
    template = configuration.load(tmp_path / "config.json").routers[0].commands["mtr"].template(4)
    assert (template.stderr, template.skip, template.argv[-1]) == (False, 1, "{{TARGET}}")
    route = configuration.load(tmp_path / "config.json").routers[0].commands["route"].template(6)
    assert (route.argv[0], route.stderr, route.skip) == ("birdc", False, 2)


def test_what_is_told_to_add_works_when_it_is_added(tmp_path: Path) -> None:
    new, said = migrated(tmp_path, CAPS, 1)
    told = re.findall(r'add ("cmd[46]": ".*?")(?:;|$)', line(said, "bgp"))
    assert len(told) == 2
    new["commands"]["bgp"] = json.loads(f'{{{", ".join(told)}, "argument": "addr"}}')
    (tmp_path / "config.json").write_text(json.dumps(new))
    command = configuration.load(tmp_path / "config.json").routers[0].commands["bgp"]
    assert command.template(4).argv == ("birdc", "-r", "show route all for {{TARGET}} primary")
    assert command.template(4).skip == 2


def test_caps_come_up_and_answer(tmp_path: Path) -> None:
    migrated(tmp_path, CAPS, 1)
    port = free_port()
    program = [sys.executable, "-W", "ignore", str(HERE / "tinytracer.py"), "serve"]
    server = Server([*program, "--listen", f"127.0.0.1:{port}"], port, cwd=tmp_path)
    try:
        server.wait_until_ready()
        assert server.json(f"{V1}/ping/127.0.0.1")["code"] == 400  # which the deny table refuses
        listed = server.json(f"{V1}/cmd")["data"]["commands"]
        assert [each["command"] for each in listed] == ["route", "mtr", "ping"]
    finally:
        server.stop()


def test_caps_as_configuration_say_what_they_are_and_what_to_run(tmp_path: Path) -> None:
    path = tmp_path / "my caps.json"
    path.write_text(json.dumps(CAPS))
    for action, status in (("serve", 1), ("check", 2)):
        done = run(tmp_path, action, "--config", str(path))
        assert done.returncode == status
        assert "this is a caps.json of intrace" in done.stderr
    cure = done.stderr.splitlines()[-1]
    assert cure.endswith(f" migrate '{path}' --config config.json")
    done = subprocess.run(
        cure, shell=True, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1  # of what it had to leave out
    assert run(tmp_path, "serve", "--listen", "no").stderr.startswith("--listen no")  # it was loaded


def test_one_command_is_not_taken_for_caps(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"commands": {"cmd4": {"cmd": ["true"]}}}')
    configuration.load(tmp_path / "config.json")
    (tmp_path / "config.json").write_text('{"ping": {"description": "x"}}')
    with pytest.raises(ConfigurationError, match="there is no such key"):
        configuration.load(tmp_path / "config.json")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{", "old.json: line 1 column 2"),
        ("[]", "expected the original's config.json"),
        ('{"routers": []}', "expected the original's config.json"),
        ('{"commands": {"x": {"cmd4": "a; b"}}}', "x: left out"),
        ('{"commands": {"x": 5}}', "x: left out; expected an object"),
        ('{"commands": {"a/b": {"cmd4": "ping {{TARGET}}"}}}', "a/b: left out"),
    ],
)
def test_what_cannot_be_migrated_writes_nothing(tmp_path: Path, content: str, told: str) -> None:
    (tmp_path / "old.json").write_text(content)
    done = run(tmp_path, "migrate", "old.json")
    assert done.returncode == 2
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(os.listdir(tmp_path)) == ["old.json"]


def test_nothing_that_is_there_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(ORIGINAL))
    done = run(tmp_path, "migrate", "config.json")
    assert done.returncode == 2
    assert "config.json is there already, and nothing was written" in done.stderr
    assert json.loads((tmp_path / "config.json").read_text()) == ORIGINAL
    assert run(tmp_path, "migrate", "config.json", "--config", "new.json").returncode == 0
    assert configuration.load(tmp_path / "new.json").title == "Company Name Looking Glass"
