"""A Redis of our own, for the tests of what is kept there."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import redis

from tests.support import soon


class RedisServer:
    """A redis-server of our own, at a unix socket."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = f"unix://{folder}/redis.sock"
        self.start()

    def start(self) -> None:
        argv = ["redis-server", "--port", "0", "--unixsocket", f"{self.folder}/redis.sock"]
        options = ["--save", "", "--appendonly", "no", "--dir", str(self.folder)]
        self.process = subprocess.Popen([*argv, *options], stdout=subprocess.DEVNULL)
        self.client = redis.Redis.from_url(self.url, decode_responses=True)
        assert soon(self.answers)

    def answers(self) -> bool:
        try:
            return bool(self.client.ping())
        except redis.RedisError:
            return False

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        self.client.close()
        self.process.send_signal(signal.SIGCONT)
        self.process.kill()
        self.process.wait(60)
