"""nginx and HAProxy, started by tests before servers of ours."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from tests.support import HERE, Server

DEPLOY = HERE / "examples" / "deploy"
SBIN = f"{os.environ['PATH']}:/usr/sbin:/sbin"
# As in Debian's nginx.conf, and with nothing outside of a folder.
NGINX = """
daemon off;
pid {folder}/pid;
error_log {folder}/error.log;
{user}
events {{ worker_connections 768; }}
http {{
    sendfile on;
    tcp_nopush on;
    gzip on;
    types {{ text/html html; text/plain txt; }}
    default_type application/octet-stream;
    access_log off;
    client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
    uwsgi_temp_path {folder}; scgi_temp_path {folder};
    include {folder}/site.conf;
}}
"""
# A connection to a server serves many clients, and whoever leaves has left (abortonclose).
HAPROXY = """
defaults
    mode http
    timeout connect 2s
    timeout client 30s
    timeout server 70s
    timeout check 5s
    option redispatch
    retries 3
    http-reuse always
    option abortonclose
frontend clients
    bind 127.0.0.1:{port}
    {headers}
    default_backend glasses
backend glasses
    balance roundrobin
    option httpchk
    http-check send meth GET uri /healthz ver HTTP/1.1 hdr Host lg
    default-server check inter 100ms fall 1 rise 1
    {servers}
"""
HALF = "option forwardfor"  # which appends, and lets Forwarded through as the visitor has written it
APPENDING = f"{HALF}\n    http-request del-header Forwarded"


def program(name: str) -> str:
    found = shutil.which(name, path=SBIN)
    assert found, f"{name} is not installed"
    return found


def replace_once(text: str, old: str, new: str) -> str:
    assert text.count(old) == 1, old
    return text.replace(old, new)


def site_of(name: str, port: int, behind: int) -> str:
    """Return one of our files for nginx, which listens at ``port`` before a server."""
    site = (DEPLOY / name).read_text()
    site = replace_once(site, "127.0.0.1:8080", f"127.0.0.1:{behind}")
    site = replace_once(site, "listen 80;", f"listen 127.0.0.1:{port};")
    return replace_once(site, "listen [::]:80;", "")


def lay_out_nginx(folder: Path, site: str, user: str) -> list[str]:
    """Write what nginx reads, and return its argv; where root starts it, it becomes ``user``."""
    (folder / "site.conf").write_text(site)
    line = "" if os.geteuid() else f"user {user};"
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder, user=line))
    return [program("nginx"), "-p", str(folder), "-c", str(folder / "nginx.conf")]


def start_nginx(folder: Path, site: str, port: int) -> Server:
    """Start nginx with a site in a folder of its own; the caller stops it."""
    return Server(lay_out_nginx(folder, site, "root"), port)  # pytest's folders are root's own


def start_haproxy(folder: Path, port: int, behind: list[int], headers: str = APPENDING) -> Server:
    """Start HAProxy before servers at some ports; the caller stops it."""
    servers = "\n    ".join(f"server glass{each} 127.0.0.1:{each}" for each in behind)
    file = folder / "haproxy.cfg"
    file.write_text(HAPROXY.format(port=port, headers=headers, servers=servers))
    return Server([program("haproxy"), "-db", "-f", str(file)], port)
