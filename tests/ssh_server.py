"""An sshd of our own with an account of its own, for the tests of routers behind ssh."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from lookingglass import machine
from tests.support import lab_prefix, soon

CONFIGURATION = """
Port {port}
ListenAddress {address}
HostKey {folder}/host
AuthorizedKeysFile {folder}/authorized
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
AllowUsers {user}
LogLevel VERBOSE
"""


class SshServer:
    """An sshd, its account and its keys, in a folder that the account may read.

    ``enter`` is what runs it elsewhere, ``ssh`` what clients are told, with places for what is known here.
    """

    def __init__(
        self, folder: Path, address: str, port: int, ssh: str, keys: Sequence[str], enter: Sequence[str] = ()
    ) -> None:
        self.folder = folder
        self.user = lab_prefix().strip("-")
        self.log = folder / "sshd.log"
        self._enter = enter
        folder.chmod(0o755)
        account = ["--home-dir", "/", "--shell", "/bin/sh", "--password", "*", self.user]
        subprocess.run(["useradd", *account], check=True)
        for name in ("host", *keys):
            argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
            subprocess.run(argv, check=True)
        values = {"address": address, "port": port, "folder": folder, "user": self.user}
        (folder / "sshd.conf").write_text(CONFIGURATION.format(**values))
        (folder / "ssh.conf").write_text(ssh.format(**values))
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)

    def public(self, key: str) -> str:
        return (self.folder / f"{key}.pub").read_text()

    def start(self) -> None:
        program = shutil.which("sshd", path=machine.PATH)
        assert program
        self.log.write_text("")
        argv = [program, "-D", "-f", str(self.folder / "sshd.conf"), "-E", str(self.log)]
        self.process = subprocess.Popen([*self._enter, *argv])
        assert soon(lambda: "Server listening" in self.log.read_text()), self.log.read_text()

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()

    def remove(self) -> None:
        """Stop, and remove the account as soon as nothing runs for it."""
        self.stop()
        argv = ["userdel", self.user]
        assert soon(lambda: subprocess.run(argv, capture_output=True, check=False).returncode == 0)
