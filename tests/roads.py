"""Every road to a visitor: WSGI hosts, proxies before them, at the root and below a prefix.

A road is a row: its host and its proxy are looked up in HOSTS and PROXIES, and started with the files of
examples/, in which only names, numbers and folders are replaced.
"""

from __future__ import annotations

import contextlib
import http.client
import itertools
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from email.message import Message
from pathlib import Path
from typing import Any, NamedTuple

from tests.proxies import DEPLOY, lay_out_nginx, program, replace_once
from tests.support import (
    COMMANDS,
    HERE,
    V1,
    Server,
    configuration,
    free_port,
    gone_within,
    read_until,
    soon,
    soon_gone,
)
from tests.test_systemd import put_program_into

LG = "/lg"
NAMES = {"": "lg.example.net", LG: "www.example.net"}  # of the host in our files
VISITOR = "127.0.1.7"
READER = "" if os.geteuid() else "www-data"  # whom servers that are started by root become
# Each prints its process first; the target tells runs apart, for visitors who ask the same share one.
WAITING = {
    "hush": "echo $$; exec sleep 1000",
    "talk": 'echo $$; while sleep 0.2; do echo "and on"; done',
    "stay": "trap '' TERM; echo $$; while :; do sleep 0.1; done",
}
MODULES = (
    *(
        "mpm_event",
        "authz_core",
        "proxy",
        "proxy_http",
        "headers",
        "ssl",
        "socache_shmcb",
        "alias",
        "deflate",
    ),
    *("env", "filter", "mime", "dir", "wsgi"),
)
# As on Debian, and with nothing outside of a folder.
APACHE = """
ServerRoot {folder}
PidFile {folder}/apache.pid
ErrorLog {folder}/apache.log
DefaultRuntimeDir {folder}
Mutex file:{folder}
WSGISocketPrefix {folder}/wsgi
{modules}
{user}
Listen 127.0.0.1:{port}
Listen 127.0.0.1:{plain}
TypesConfig /etc/mime.types
AddOutputFilterByType DEFLATE text/html text/plain text/css application/json text/event-stream
Include {folder}/site.conf
"""
CADDY = """
{{
	admin off
	auto_https disable_redirects
	storage file_system {folder}
	default_sni {name}
}}
"""
WSGIREF = """
import sys
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIServer, make_server
from tinytracer import application
class Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
make_server("127.0.0.1", int(sys.argv[1]), application, Server).serve_forever()
"""


class Site(NamedTuple):
    """Say where programs, files and certificates are for a test, in the place of what our files name."""

    folder: Path  # which everybody may read
    opt: Path  # in the place of /opt/tinytracer, with an environment of the Python that Debian brings
    authority: Path

    def edited(self, name: str, *changes: tuple[str, str]) -> str:
        """Return one of our files, in which what stands once is replaced, and where things are."""
        text = (DEPLOY / name).read_text()
        for old, new in changes:
            text = replace_once(text, old, new)
        text = re.sub(r"/etc/letsencrypt/live/[a-z.]+", str(self.folder), text)
        return text.replace("/opt/tinytracer", str(self.opt)).replace(
            "/var/www/html", str(self.folder / "www")
        )


@contextlib.contextmanager
def made_site() -> Iterator[Site]:
    """Lay TinyTracer out as pip would, with test files and certificates, where any user may read."""
    with tempfile.TemporaryDirectory(prefix="roads-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        opt = folder / "opt"
        put_program_into(opt)
        shutil.rmtree(opt / ".venv")
        argv = ["/usr/bin/python3", "-m", "venv", "--without-pip", str(opt / ".venv")]
        subprocess.run(argv, check=True, timeout=60)
        (packages,) = (opt / ".venv").glob("lib/python3*/site-packages")
        (packages / "tinytracer.pth").write_text(f"{opt / 'lib'}\n")
        (opt / "testfiles").mkdir()
        (opt / "testfiles" / "1MB.test").write_bytes(bytes(1_000_000))
        (opt / "testfiles" / ".hidden").write_text("hidden")
        (folder / "www").mkdir()
        (folder / "www" / "index.html").write_text("<title>Example Networks</title>")
        for command, script in WAITING.items():
            (folder / command).write_text(f"#!/bin/sh\n{script}\n")
            (folder / command).chmod(0o755)
        _make_certificate(folder)
        subprocess.run(["chmod", "-R", "a+rX", str(folder)], check=True, timeout=60)
        yield Site(folder, opt, folder / "fullchain.pem")


def _make_certificate(folder: Path) -> None:
    key, certificate = folder / "privkey.pem", folder / "fullchain.pem"
    names = ",".join(f"DNS:{name}" for name in NAMES.values())
    argv = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    more = ["-subj", "/CN=lg.example.net", "-addext", f"subjectAltName={names}"]
    files = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*argv, *more, *files], check=True, capture_output=True, timeout=60)
    (folder / "both.pem").write_text(certificate.read_text() + key.read_text())


# --- WSGI hosts


class Started(NamedTuple):
    """Say how to start a host."""

    argv: list[str]
    environ: Mapping[str, str] = {}


class Place(NamedTuple):
    """Say where a program is to be started, and for what."""

    site: Site
    folder: Path
    port: int
    prefix: str
    config: Path


def _own(place: Place) -> Started:
    return Started([sys.executable, "tinytracer.py", "--listen", f"127.0.0.1:{place.port}"])


def _gunicorn(place: Place, *options: str) -> Started:
    argv = [sys.executable, "-m", "gunicorn", "--config", "examples/gunicorn.conf.py", *options]
    where = ["--bind", f"127.0.0.1:{place.port}", "tinytracer:application"]
    return Started([*argv, *where], {"SCRIPT_NAME": place.prefix})


def _gunicorn_sync(place: Place) -> Started:
    return _gunicorn(place, "--worker-class", "sync", "--threads", "1", "--workers", "4")


def _uwsgi(place: Place) -> Started:
    text = place.site.edited(
        "uwsgi.ini",
        ("127.0.0.1:8080", f"127.0.0.1:{place.port}"),
        ("/etc/tinytracer/config.json", str(place.config)),
    )
    if place.prefix:
        text = replace_once(text, "\nmodule =", "\n; module =")
        text = re.sub(r"^; (mount|manage)", r"\1", text, flags=re.MULTILINE)
    (place.folder / "uwsgi.ini").write_text(text)
    return Started([program("uwsgi"), "--ini", str(place.folder / "uwsgi.ini")])


def _mod_wsgi(place: Place) -> Started:
    text = place.site.edited("apache-wsgi.conf")
    if place.prefix:
        text = replace_once(text, "WSGIScriptAlias / ", f"WSGIScriptAlias {place.prefix} ")
        text = replace_once(text, "\n    Alias /", f"\n    Alias {place.prefix}/")
    argv = _apache(
        place, text.replace("user=www-data group=www-data ", READER and "user=www-data group=www-data ")
    )
    return Started(argv, {"TINYTRACER_CONFIG": str(place.config)})


def _apache(place: Place, site: str, tls: int = 0) -> list[str]:
    """Write what Apache reads; without ``tls`` the site for HTTPS speaks plain HTTP."""
    plain = free_port()
    site = site.replace("<VirtualHost *:80>", f"<VirtualHost 127.0.0.1:{plain}>")
    site = replace_once(site, "<VirtualHost *:443>", f"<VirtualHost 127.0.0.1:{place.port}>")
    if not tls:
        site = re.sub(r"^ *SSL.*\n", "", site, flags=re.MULTILINE)
    (place.folder / "site.conf").write_text(site)
    modules = "\n".join(
        f"LoadModule {each}_module /usr/lib/apache2/modules/mod_{each}.so" for each in MODULES
    )
    user = READER and f"User {READER}\nGroup {READER}"
    text = APACHE.format(folder=place.folder, modules=modules, user=user, port=place.port, plain=plain)
    (place.folder / "apache.conf").write_text(text)
    return [program("apache2"), "-DFOREGROUND", "-f", str(place.folder / "apache.conf")]


def _wsgiref(place: Place) -> Started:
    if place.prefix:
        return Started(
            [sys.executable, "examples/embed.py", str(place.config), str(place.port)],
            {"PYTHONPATH": str(HERE)},
        )
    return Started([sys.executable, "-c", WSGIREF, str(place.port)])


def _waitress_serve(place: Place) -> Started:
    program = [sys.executable, "-m", "waitress", "--threads=72", "--no-clear-untrusted-proxy-headers"]
    prefix = [f"--url-prefix={place.prefix}"] if place.prefix else []
    return Started([*program, *prefix, f"--listen=127.0.0.1:{place.port}", "tinytracer:application"])


HOSTS: dict[str, Callable[[Place], Started]] = {
    "tinytracer": _own,
    "gunicorn": _gunicorn,
    "gunicorn sync": _gunicorn_sync,
    "uWSGI": _uwsgi,
    "mod_wsgi": _mod_wsgi,
    "wsgiref": _wsgiref,
    "waitress-serve": _waitress_serve,
}


# --- proxies; each returns what to start


def _nginx(place: Place, behind: int) -> list[str]:
    name = NAMES[place.prefix]
    text = place.site.edited(
        "nginx-lg.conf" if place.prefix else "nginx-testfiles.conf",
        ("127.0.0.1:8080", f"127.0.0.1:{behind}"),
        ("    listen [::]:80;\n", ""),
        ("    listen 80;", f"    listen 127.0.0.1:{free_port()};"),
    )
    text = re.sub(r"^( *)# (.*[;}])$", r"\1\2", text, flags=re.MULTILINE)
    text = replace_once(text, "    listen [::]:443 ssl;\n", "")
    text = replace_once(text, "listen 443 ssl;", f"listen 127.0.0.1:{place.port} ssl;")
    assert f"server_name {name};" in text
    return lay_out_nginx(place.folder, text, READER)


def _caddy(place: Place, behind: int) -> list[str]:
    name = NAMES[place.prefix]
    tls = f"tls {place.site.folder}/fullchain.pem {place.site.folder}/privkey.pem"
    text = place.site.edited(
        "Caddyfile-lg" if place.prefix else "Caddyfile",
        ("127.0.0.1:8080", f"127.0.0.1:{behind}"),
        (f"\n{name} {{\n", f"\nhttps://{name}:{place.port} {{\n\tbind 127.0.0.1\n\t{tls}\n"),
    )
    (place.folder / "Caddyfile").write_text(CADDY.format(folder=place.folder, name=name) + text)
    return [program("caddy"), "run", "--config", str(place.folder / "Caddyfile"), "--adapter", "caddyfile"]


def _apache_proxy(place: Place, behind: int) -> list[str]:
    text = place.site.edited("apache-lg.conf" if place.prefix else "apache.conf")
    return _apache(place, text.replace("127.0.0.1:8080", f"127.0.0.1:{behind}"), place.port)


def _haproxy(place: Place, behind: int) -> list[str]:
    name = NAMES[place.prefix]
    text = place.site.edited(
        "haproxy-lg.cfg" if place.prefix else "haproxy.cfg",
        ("127.0.0.1:8080", f"127.0.0.1:{behind}"),
        ("bind :80\n", f"bind 127.0.0.1:{free_port()}\n"),
        ("bind :443 ", f"bind 127.0.0.1:{place.port} "),
        (f"/etc/haproxy/certs/{name}.pem", str(place.site.folder / "both.pem")),
        ("    user haproxy\n    group haproxy\n", ""),
    )
    (place.folder / "haproxy.cfg").write_text(text)
    return [program("haproxy"), "-db", "-f", str(place.folder / "haproxy.cfg")]


PROXIES: dict[str, Callable[[Place, int], list[str]]] = {
    "nginx": _nginx,
    "Caddy": _caddy,
    "Apache": _apache_proxy,
    "HAProxy": _haproxy,
}


# --- roads


class Road(NamedTuple):
    """Name a way to a visitor."""

    host: str
    proxy: str = ""
    prefix: str = ""


class Way:
    """A road that is open, and a visitor at VISITOR who goes it."""

    _numbers = itertools.count(1)

    def __init__(self, road: Road, port: int, authority: Path) -> None:
        self.road = road
        self.port = port
        self._name = NAMES[road.prefix] if road.proxy else f"127.0.0.1:{port}"
        self.base = f"{'https' if road.proxy else 'http'}://{self._name}{road.prefix}"
        self._context = ssl.create_default_context(cafile=authority) if road.proxy else None

    def is_open(self) -> bool:
        with contextlib.suppress(OSError, http.client.HTTPException):
            return self.get(f"{self.road.prefix}/healthz")[0] == 200
        time.sleep(0.05)
        return False

    def _connect(self) -> socket.socket:
        plain = socket.create_connection(("127.0.0.1", self.port), 60, (VISITOR, 0))
        return self._context.wrap_socket(plain, server_hostname=self._name) if self._context else plain

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> tuple[int, Message, bytes]:
        """Ask for a path of the host."""
        connection = http.client.HTTPConnection(self._name)
        with contextlib.closing(connection):
            connection.sock = self._connect()
            connection.request("GET", path, headers=headers or {})
            response = connection.getresponse()
            return response.status, response.headers, response.read()

    def ask(self, command: str, accept: str) -> socket.socket:
        """Ask for a run of its own of WAITING."""
        connection = self._connect()
        path = f"{self.road.prefix}{V1}/{command}/127.0.1.{next(self._numbers)}"
        lines = f"GET {path} HTTP/1.1\r\nHost: {self._name}\r\nAccept: {accept}\r\n\r\n"
        connection.sendall(lines.encode())
        return connection

    def begin(self, command: str, accept: str) -> tuple[int, socket.socket]:
        """Start a run of its own, and return what it prints first, its process."""
        connection = self.ask(command, accept)
        first = read_until(connection, rb"(?:\n|\"text\": \")(\d+)(?:\\n\"|\n(?:\r\n)?$)")
        return int(first[1]), connection

    def seconds_after_leaving(self, command: str, accept: str, most: float) -> float | None:
        """Return how long a process goes on whose visitor has left; None: longer than ``most``."""
        pid, connection = self.begin(command, accept)
        began = time.monotonic()
        connection.close()
        if gone_within(most, pid):
            return time.monotonic() - began
        os.kill(pid, signal.SIGKILL)
        return None


class Instance(NamedTuple):
    """Name a host that runs once, alone or behind every proxy."""

    host: str
    prefix: str = ""
    is_behind: bool = False

    def __str__(self) -> str:
        return " ".join(filter(None, (self.host, self.prefix, "behind proxies" if self.is_behind else "")))


@contextlib.contextmanager
def opened(instance: Instance, site: Site) -> Iterator[tuple[Server, list[Way]]]:
    """Start a host and what stands before it; at the end nothing is left of both."""
    folder = Path(tempfile.mkdtemp(dir=site.folder))
    folder.chmod(0o777)
    roads = [Road(instance.host, proxy, instance.prefix) for proxy in PROXIES if instance.is_behind]
    ways = [
        Way(road, free_port(), site.authority) for road in roads or [Road(instance.host, "", instance.prefix)]
    ]
    port = free_port() if instance.is_behind else ways[0].port
    config = folder / "config.json"
    place = Place(site, folder, port, "" if instance.is_behind else instance.prefix, config)
    configuration(folder, **_document(instance, place, ways[0].base)).chmod(0o644)
    with contextlib.ExitStack() as stack:
        argv, environ = HOSTS[instance.host](place)
        host = Server(argv, port, {"TINYTRACER_CONFIG": str(config), **environ})
        stack.callback(host.stop)
        assert soon(lambda: _listens(port)), _last_words(host)
        for way in ways:
            if way.road.proxy:
                before = place._replace(folder=folder / way.road.proxy, port=way.port, prefix=instance.prefix)
                before.folder.mkdir()
                before.folder.chmod(0o777)
                stack.callback(Server(PROXIES[way.road.proxy](before, port), way.port).stop)
        for way in ways:
            assert soon(way.is_open), (way.road, _last_words(host))
        yield host, ways
        children = host.children()
    assert soon_gone(*children)


def _document(instance: Instance, place: Place, base: str) -> dict[str, Any]:
    folder = place.site.folder
    waiting = {name: {"cmd": [str(folder / name), "{{TARGET}}"], "argument": "address"} for name in WAITING}
    commands = {
        **waiting,
        "true": COMMANDS["true"],
        "echo": {"cmd": ["echo", "{{TARGET}}"], "argument": "addr"},
    }
    document: dict[str, Any] = {"commands": commands, "testfiles": str(place.site.opt / "testfiles")}
    if instance.is_behind:
        document |= {"trustproxy": True, "host": f"{base}/"}
    if instance.host == "gunicorn sync":  # of several processes
        document |= {"store": f"sqlite:{place.folder}/limits.db"}
    return document


def _last_words(server: Server) -> str:
    server.process.terminate()
    return server.process.communicate(timeout=60)[1][-500:]


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    time.sleep(0.02)
    return False
