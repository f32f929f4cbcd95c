"""What an operator has beside the program: bans, alerts, logs that are kept for a while, words."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from lookingglass import configuration
from tests.proxies import DEPLOY, program, replace_once
from tests.support import GENEROUS, HERE, V1, Serve, Server, asker, build, free_port, soon

FILTER = DEPLOY / "fail2ban-filter.conf"
FORGED = "198.51.100.66"
# What visitors write who want others to be banned; it is logged as what was asked.
FORGERIES = (
    f"{V1}/x%20client={FORGED}%20outcome=refused%20status=429%20",
    f"{V1}/x%22%20client={FORGED}%20outcome=refused%20status=429%20",
    f"{V1}/x%0Atime=2026-11-25T18:05:24Z%20client={FORGED}%20outcome=refused%20status=429%20",
    f"{V1}/x%22,%20%22client%22:%20%22{FORGED}%22,%20%22outcome%22:%20%22refused%22,%20%22status%22:%20429,%20",
)

SUFFIXES = {"counter": "_total", "histogram": "_bucket"}  # of OpenMetrics


def banned(log: Path, *options: str) -> list[str]:
    """Return the addresses that fail2ban finds, one for each line that matches."""
    argv = [program("fail2ban-regex"), *options, "--out", "ip", str(log), str(FILTER)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    return done.stdout.split()


def log_of(server: Server) -> str:
    server.process.terminate()
    return server.process.communicate(timeout=60)[1]


@pytest.mark.parametrize("form", ["logfmt", "json"])
def test_fail2ban_finds_who_was_refused_and_nobody_forged(serve: Serve, tmp_path: Path, form: str) -> None:
    limits = {**GENEROUS, "rate": "2/day", "burst": 2}
    server = serve(limits=limits, log=form, log_clients="full")
    asked = [f"{V1}/true", f"{V1}/true", f"{V1}/true", f"{V1}/ping/-c1", f"{V1}/no/such", *FORGERIES]
    statuses = [server.get(path)[0] for path in asked]
    assert statuses[:3] == [200, 200, 429]
    text = log_of(server)
    assert text.count(FORGED) == len(FORGERIES)
    log = tmp_path / "log"
    log.write_text(text)
    refused = sum(status in {400, 429} for status in statuses)
    assert refused >= 2
    assert banned(log) == ["127.0.0.1"] * refused
    # As fail2ban has lines from the journal: with a time of its own.
    log.write_text("".join(f"1795629924 lg tinytracer[77]: {line}\n" for line in text.splitlines()))
    assert banned(log, "--datepattern", "^EPOCH") == ["127.0.0.1"] * refused


def test_fail2ban_finds_nobody_in_a_log_of_networks(serve: Serve, tmp_path: Path) -> None:
    server = serve()
    assert server.get(f"{V1}/ping/-c1")[0] == 400
    text = log_of(server)
    assert " client=127.0.0.0/24 " in text
    (tmp_path / "log").write_text(text)
    assert banned(tmp_path / "log") == []


def test_fail2ban_takes_the_jail(tmp_path: Path) -> None:
    folder = tmp_path / "fail2ban"
    shutil.copytree("/etc/fail2ban", folder, ignore=shutil.ignore_patterns("defaults-debian.conf"))
    shutil.copy(FILTER, folder / "filter.d" / "tinytracer.conf")
    shutil.copy(DEPLOY / "fail2ban-jail.conf", folder / "jail.d" / "tinytracer.conf")
    argv = [program("fail2ban-client"), "-c", str(folder), "-d"]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60)
    assert "['add', 'tinytracer', 'systemd']" in done.stdout
    assert "['set', 'tinytracer', 'addjournalmatch', '_SYSTEMD_UNIT=tinytracer.service']" in done.stdout
    assert "['start', 'tinytracer']" in done.stdout


# --- figures


def test_every_figure_of_the_alerts_is_there() -> None:
    rules = yaml.safe_load((DEPLOY / "prometheus-rules.yml").read_text())["groups"][0]["rules"]
    scrape = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())["scrape_configs"]
    assert scrape[0]["job_name"] == "tinytracer"
    ask = asker(build({"metrics": ["198.51.100.0/24"]}))
    kinds = re.findall(r"^# TYPE (\w+) (\w+)$", ask("/metrics").text, re.MULTILINE)
    names = {f"{name}{SUFFIXES.get(kind, '')}" for name, kind in kinds}
    assert len({rule["alert"] for rule in rules}) == len(rules) == 7
    for rule in rules:
        used = set(re.findall(r"\btinytracer_\w+", rule["expr"]))
        assert used <= names, rule["alert"]
        assert used or rule["expr"].startswith('up{job="tinytracer"}')


# --- the log


def test_rotated_log_goes_on_in_the_same_file(tmp_path: Path) -> None:
    log, port = tmp_path / "tinytracer.log", free_port()
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"commands": {"true": {"cmd": ["true"]}}}))
    argv = [sys.executable, "tinytracer.py", "--config", str(config), "--listen", f"127.0.0.1:{port}"]
    script = f'exec "$@" 2>> {log}'  # as systemd's append: does
    server = Server(["sh", "-c", script, "sh", *argv], port)
    try:
        server.wait_until_ready()
        server.get(f"{V1}/true")
        assert soon(lambda: log.read_text().count("outcome=success") == 1)
        text = replace_once((DEPLOY / "logrotate.conf").read_text(), "/var/log/tinytracer.log {", f"{log} {{")
        (tmp_path / "logrotate.conf").write_text(text)
        (tmp_path / "logrotate.conf").chmod(0o644)
        tmp_path.chmod(0o755)
        rotate = [
            program("logrotate"),
            "--force",
            "--state",
            f"{tmp_path}/state",
            f"{tmp_path}/logrotate.conf",
        ]
        subprocess.run(rotate, check=True, capture_output=True, timeout=60)
        assert log.read_bytes() == b""
        server.get(f"{V1}/true")
        assert soon(lambda: log.read_text().startswith("time="))
        assert (tmp_path / "tinytracer.log.1.gz").exists()
    finally:
        server.stop()


# --- words


def test_page_of_own_words_to_copy_says_the_defaults() -> None:
    page = asker(build({"theme": {"about": str(DEPLOY / "about.txt")}}))("/about").text
    settings = configuration.read({"commands": {"true": {"cmd": ["true"]}}}, Path())
    assert settings.log_clients == "network"
    assert "the first 24 bits of an IPv4 address, the first 48 bits of an IPv6 address" in page
    assert settings.results
    assert settings.results.seconds == 86400
    assert "The answer is kept for one day" in page
    for file, days in (("journald.conf", "MaxRetentionSec=1week"), ("logrotate.conf", "rotate 7")):
        assert days in (DEPLOY / file).read_text()
    assert "We keep this log for seven days" in page


def test_containerfile_installs_what_the_commands_of_the_template_need() -> None:
    text = (DEPLOY / "Containerfile").read_text()
    packages = set(re.findall(r"install -y --no-install-recommends (.*?) &&", text)[0].split())
    tools: Any = re.search(r"^TOOLS := (.*)$", (HERE / "Makefile").read_text(), re.MULTILINE)
    assert packages == {"python3"} | {pair.partition(":")[2] for pair in tools[1].split()}
    assert "\nUSER 64500:64500\n" in text
