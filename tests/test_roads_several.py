"""Several instances behind HAProxy with limits in Redis: the files work. test_proxies.py holds the limits."""

from __future__ import annotations

import collections
import contextlib
import sys
from pathlib import Path

from tests.proxies import DEPLOY, program, replace_once
from tests.redis_server import RedisServer
from tests.support import GENEROUS, V1, Server, configuration, free_port, soon


def start_proxy(folder: Path, instances: list[Server]) -> Server:
    """Start HAProxy with our file for several; without TLS, which test_roads.py has."""
    text, port = (DEPLOY / "haproxy-several.cfg").read_text(), free_port()
    for number, each in enumerate(instances, 1):
        text = replace_once(text, f"192.0.2.1{number}:8080", f"127.0.0.1:{each.port}")
    text = replace_once(text, "    bind :80\n", f"    bind 127.0.0.1:{port}\n")
    for line in (
        "    bind :443 ssl crt /etc/haproxy/certs/lg.example.net.pem alpn h2,http/1.1\n",
        "    http-request redirect scheme https code 308 unless { ssl_fc }\n",
        "    user haproxy\n    group haproxy\n",
    ):
        text = replace_once(text, line, "")
    (folder / "haproxy.cfg").write_text(text.replace("inter 2s", "inter 100ms"))
    return Server([program("haproxy"), "-db", "-f", str(folder / "haproxy.cfg")], port)


def test_instances_count_together_and_one_that_dies_is_left_out(tmp_path: Path) -> None:
    redis = RedisServer(tmp_path)
    with contextlib.ExitStack() as stack:
        stack.callback(redis.kill)
        limits = {**GENEROUS, "rate": "6/day", "burst": 6}
        config = configuration(tmp_path, store=redis.url, trustproxy=["127.0.0.1"], limits=limits)
        instances = []
        for _ in range(2):
            port = free_port()
            argv = [sys.executable, "tinytracer.py", "--config", str(config), "--listen", f"127.0.0.1:{port}"]
            instances.append(Server(argv, port))
            stack.callback(instances[-1].stop)
            instances[-1].wait_until_ready()
        proxy = start_proxy(tmp_path, instances)
        stack.callback(proxy.stop)
        proxy.wait_until_ready()
        statuses = collections.Counter(proxy.get(f"{V1}/true")[0] for _ in range(10))
        assert statuses == {200: 6, 429: 4}
        instances[0].stop()
        assert soon(lambda: {proxy.get("/")[0] for _ in range(6)} == {200})
