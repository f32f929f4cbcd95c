"""Check routers behind ssh: what keeps this machine from reaching one, and what one lacks."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

from commands import Router
from lookingglass import cures, machine
from lookingglass.findings import Finding, Situation, argvs, user

SECONDS = 20.0  # for each router
REACHED_AT_ONCE = 8
ARRIVED = "tinytracer-check"  # what a router prints first when its account has a shell
# For each program: whether it is on the PATH, else where it lies.
LOOK = """echo {marker}; for p in {programs}; do command -v "$p" >/dev/null 2>&1 && continue; w=
for d in /bin /sbin /usr/bin /usr/sbin /usr/local/bin /usr/local/sbin; do [ -x "$d/$p" ] && w="$d"; done
echo "lacks $p $w"; done"""
# What ssh says, with cause and cure; {said} is ssh's line, {…} what `ssh -G` tells.
CURES = (
    (re.compile("Connection refused"), "nothing listens at {hostname} port {port}",
     "systemctl start ssh  # on the router; or write its Port in ssh_config"),
    (re.compile("Could not resolve hostname"), "the name {hostname} is not known here",
     "write HostName with its address in ssh_config"),
    (re.compile("timed out|No route to host|unreachable"), "{hostname} does not answer",
     "ping {hostname}  # then look at firewalls, and at HostName in ssh_config"),
    (re.compile("Can't open user config file"), "{said}",
     "write this file: a Host for each router, with HostName, User, IdentityFile and UserKnownHostsFile"),
    (re.compile("Bad configuration option|terminating, "), "{said}",
     "correct this line; man ssh_config has the options"),
    (re.compile("cannot bind to path|ControlPath"), "the folder of ControlPath is not there, or not writable",
     "install -d -m 700 -o {me} {folder}"),
)  # fmt: skip


def routers(situation: Situation) -> Iterator[Finding]:
    """Reach every router, as many at once as a small machine stands."""
    remote = [
        router for router in situation.configuration.routers if router.via and machine.found(router.via[0])
    ]
    if remote:
        with ThreadPoolExecutor(REACHED_AT_ONCE) as pool:
            for findings in pool.map(lambda router: list(_reach(router)), remote):
                yield from findings


def _reach(router: Router) -> Iterator[Finding]:
    path = f"routers.{router.name}"
    programs = sorted({template.argv[0] for _, template in argvs(router)})
    is_shell = router.remote == "shell"
    script = LOOK.format(marker=ARRIVED, programs=shlex.join(programs)) if is_shell else "true"
    told = machine.attempt([*router.via, script], SECONDS)
    settings = _settings(router)
    lines = told.output.replace("\r", "").splitlines()
    if is_shell and ARRIVED in lines:
        for line in lines:
            if line.startswith("lacks "):
                yield Finding(path, *_lack(line.split(" "), settings))
    elif told.status is None:
        yield Finding(path, f"there is no answer within {SECONDS:g} s", shlex.join([*router.via, "true"]))
    elif problem := _problem(told, settings):
        yield Finding(path, *problem)
    elif is_shell and told.status != 0:
        account = settings.get("user", "the account")
        words = " ".join(lines)[:200] or f"exit status {told.status}"
        yield Finding(
            path, f"{account} has no shell there: {words}", f"usermod -s /bin/sh {account}  # on the router"
        )


def _settings(router: Router) -> dict[str, str]:
    """Return what ssh reads in its configuration for a router; nothing where another program leads there."""
    if os.path.basename(router.via[0]) != "ssh":
        return {}
    lines = machine.attempt([router.via[0], "-G", *router.via[1:]], SECONDS).output.splitlines()
    pairs = [line.partition(" ") for line in lines]
    keys = [value for name, _, value in pairs if name == "identityfile"]
    found = {name: value for name, _, value in pairs}
    folder = os.path.dirname(os.path.expanduser(found.get("controlpath", "")))
    return {**found, "keys": "\n".join(map(os.path.expanduser, keys)), "me": user(), "folder": folder}


def _problem(told: machine.Told, settings: Mapping[str, str]) -> tuple[str, str] | None:
    """Return cause and cure of what ssh complains of."""
    explain = next((explain for pattern, explain in SAYINGS if pattern.search(told.text)), None)
    if explain and settings:
        return explain(settings)
    for pattern, cause, cure in CURES:
        said = next(filter(pattern.search, told.errors.splitlines()), "")
        if settings and said:
            values = {**settings, "said": said.strip()[:200]}
            return cause.format_map(values), cure.format_map(values)
    if told.status in {0, 1} and not told.errors:
        return None
    words = next(iter(reversed(told.errors.strip().splitlines())), "")
    return (
        (f"it cannot be reached: {words[:200]}", "run by hand what via says") if told.status == 255 else None
    )


def _known_hosts(settings: Mapping[str, str]) -> str:
    return os.path.expanduser(settings.get("userknownhostsfile", "~/.ssh/known_hosts").split(" ")[0])


def _scan(settings: Mapping[str, str]) -> str:
    where = f"-p {settings.get('port', '22')} {settings.get('hostname', '')}"
    file = _known_hosts(settings)
    scan = f"ssh-keyscan {where} >> {shlex.quote(file)}  # compare with what the router shows"
    return f"{_how_to_make_folder(file)}{scan}"


def _how_to_make_folder(file: str) -> str:
    """Return how to begin a command that writes a file, where its folder is not there."""
    folder = os.path.dirname(file)
    return "" if os.path.isdir(folder) else f"mkdir -m 700 -p {shlex.quote(folder)} && "


def _unknown(settings: Mapping[str, str]) -> tuple[str, str]:
    return f"its host key is not in {_known_hosts(settings)}", _scan(settings)


def _changed(settings: Mapping[str, str]) -> tuple[str, str]:
    host, port = settings.get("hostname", ""), settings.get("port", "22")
    name = host if port == "22" else f"[{host}]:{port}"
    forget = f"ssh-keygen -R '{name}' -f {shlex.quote(_known_hosts(settings))}"
    told = (
        f"its host key is another one than in {_known_hosts(settings)}: a new router, or somebody in between"
    )
    return told, f"{forget} && {_scan(settings)}"


def _open_key(settings: Mapping[str, str]) -> tuple[str, str]:
    keys = [key for key in settings["keys"].split("\n") if os.path.exists(key)]
    return "others may read the private key, so ssh does not use it", f"chmod 600 {shlex.join(keys)}"


def _denied(settings: Mapping[str, str]) -> tuple[str, str]:
    where = f"{settings.get('user', '')}@{settings.get('hostname', '')}"
    keys = settings["keys"].split("\n")
    there = [key for key in keys if os.path.exists(key)]
    if not there:
        make = f'ssh-keygen -t ed25519 -N "" -f {shlex.quote(keys[0])}'
        return f"there is no private key {keys[0]}", f"{_how_to_make_folder(keys[0])}{make}"
    unreadable = [key for key in there if not os.access(key, os.R_OK)]
    if unreadable:
        return f"{user()} may not read the private key", f"chown {user()} {shlex.quote(unreadable[0])}"
    told = f"{where} does not accept the key {there[0]}"
    return told, f"add the line in {there[0]}.pub to .ssh/authorized_keys of {where}"


# What ssh says where the cure has to be found out; the first that is found counts, and before CURES.
SAYINGS = (
    (re.compile("REMOTE HOST IDENTIFICATION HAS CHANGED"), _changed),
    (re.compile("Host key verification failed|host key is known"), _unknown),
    (re.compile("UNPROTECTED PRIVATE KEY|bad permissions"), _open_key),
    (re.compile("Permission denied"), _denied),
)


def _lack(words: list[str], settings: Mapping[str, str]) -> tuple[str, str]:
    """Return cause and cure of a program that a router's shell does not find."""
    _, program, where = words
    account = settings.get("user", "the account")
    if where:
        told = f"{program} is not on the PATH of {account} there, but in {where}"
        path = f"/usr/local/bin:/usr/bin:/bin:{where}"
        return told, f"in sshd_config there, below `Match User {account}`, write: SetEnv PATH={path}"
    return f"there is no {program} there", cures.how_to_get(program) or f"install {program} there"
