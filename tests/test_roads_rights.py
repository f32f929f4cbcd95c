"""What needs which right: every row of the table in examples/deploy/README.md, as an ordinary user."""

from __future__ import annotations

import grp
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.proxies import DEPLOY
from tests.support import soon

USER = 65534  # nobody; vtysh wants a user that has a name
HERE_4 = "127.0.0.1"
# Rights are None, the capability, or the sysctl that names the groups that may ping.
NONE, NET_RAW, SYSCTL = "nothing", "CAP_NET_RAW", "net.ipv4.ping_group_range"


class Row(NamedTuple):
    argv: tuple[str, ...]
    printed: str  # when it works
    enough: tuple[str, ...]  # each alone


ROWS = {
    "ping": Row(("ping", "-c", "1", HERE_4), " 0% packet loss", (NET_RAW, SYSCTL)),
    "mtr": Row(("mtr", "--report", "-n", "-c", "1", HERE_4), " 0.0%     1 ", (NET_RAW, SYSCTL)),
    "traceroute -I": Row(("traceroute", "-I", "-n", HERE_4), f" 1  {HERE_4}  ", (NET_RAW, SYSCTL)),
    "traceroute -T": Row(("traceroute", "-T", "-n", HERE_4), f" 1  {HERE_4}  ", (NET_RAW,)),
    "traceroute": Row(("traceroute", "-n", HERE_4), f" 1  {HERE_4}  ", (NONE, NET_RAW, SYSCTL)),
    "ip route": Row(("ip", "route", "get", HERE_4), "dev lo", (NONE, NET_RAW, SYSCTL)),
}


def as_user(argv: tuple[str, ...], right: str = NONE, groups: str = "") -> subprocess.CompletedProcess[str]:
    """Run a program as our unit does, as a user who gets no right by files: in a network of its own."""
    capability = ",+net_raw" if right == NET_RAW else ""
    sets = [f"--{each}=-all{capability}" for each in ("bounding-set", "inh-caps", "ambient-caps")]
    members = f"--groups={groups}" if groups else "--clear-groups"
    user = ["setpriv", f"--reuid={USER}", f"--regid={USER}", members, "--no-new-privs", *sets]
    span = f"{USER} {USER}" if right == SYSCTL else "1 0"
    # Files help nobody on a mount without set-user-ID; elsewhere kernels differ in whether they do.
    script = f"""
        mount --make-rprivate / && mount --bind /usr /usr && mount -o remount,bind,nosuid /usr
        ip link set lo up
        echo "{span}" > /proc/sys/net/ipv4/ping_group_range
        exec "$@"
    """
    return subprocess.run(
        ["unshare", "--net", "--mount", "sh", "-ec", script, "sh", *user, *argv],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd="/",
    )


@pytest.mark.lab
@pytest.mark.parametrize("right", [NONE, NET_RAW, SYSCTL])
@pytest.mark.parametrize("name", ROWS)
def test_command_needs_the_right_that_the_table_says(name: str, right: str) -> None:
    row = ROWS[name]
    done = as_user(row.argv, right)
    assert (row.printed in done.stdout) == (right in row.enough), f"{done.stdout}{done.stderr}"


@pytest.fixture
def folder() -> Iterator[Path]:
    """Yield a folder that any user may enter."""
    with tempfile.TemporaryDirectory(prefix="rights-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


DAEMONS = {
    "birdc": (
        "bird",
        "bird",
        ("bird", "-f", "-c", "{folder}/conf", "-s", "{folder}/socket", "-u", "bird", "-g", "bird"),
        ("birdc", "-r", "-s", "{folder}/socket", "show", "status"),
        "Daemon is up and running",
    ),
    "vtysh": (
        "frr",
        "frrvty",
        (
            *("zebra", "-f", "/dev/null", "-z", "{folder}/zserv", "--vty_socket", "{folder}"),
            *("-i", "{folder}/pid", "-P", "0"),
        ),
        ("vtysh", "-u", "--vty_socket", "{folder}", "--config_dir", "{folder}", "-c", "show version"),
        "FRRouting",
    ),
}


@pytest.mark.lab
@pytest.mark.parametrize("name", DAEMONS)
def test_daemon_is_asked_by_members_of_its_group_only(folder: Path, name: str) -> None:
    owner, group, daemon, question, printed = DAEMONS[name]
    shutil.chown(folder, owner)
    (folder / "conf").write_text("router id 192.0.2.1;\nprotocol device { }\n")

    def filled(argv: tuple[str, ...]) -> tuple[str, ...]:
        path = f"{os.environ['PATH']}:/usr/sbin:/usr/lib/frr"
        found = shutil.which(argv[0], path=path)
        assert found
        return (found, *(each.format(folder=folder) for each in argv[1:]))

    member = str(grp.getgrnam(group).gr_gid)
    with subprocess.Popen(
        ["unshare", "--net", *filled(daemon)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            assert soon(lambda: printed in as_user(filled(question), groups=member).stdout)
            assert printed not in as_user(filled(question), NET_RAW).stdout
        finally:
            process.terminate()


def test_table_says_what_is_tested() -> None:
    text = (DEPLOY / "README.md").read_text()
    rows = re.findall(r"^\| (`.+`) \| (.+) \|$", text, re.MULTILINE)
    table = {name: needs for names, needs in rows for name in re.findall(r"`([^`]+)`", names)}
    for name, row in ROWS.items():
        said = {right for right in (NONE, NET_RAW, SYSCTL) if right in table[name]}
        assert said == ({NONE} if NONE in row.enough else set(row.enough)), name
    for name, (_, group, *_rest) in DAEMONS.items():
        assert f"`SupplementaryGroups={group}`" in table[name]
