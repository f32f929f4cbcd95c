"""Say what is wrong with this installation, and the cure."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from lookingglass import configuration as conf
from lookingglass import inspecting, judging, reaching
from lookingglass.findings import ERROR, NOTE, WARNING, Finding, Situation

if TYPE_CHECKING:
    from lookingglass.trying import Tried


class Check(NamedTuple):
    """Name a check: it yields what it finds."""

    name: str
    find: Callable[[Situation], Iterator[Finding]]


# In this order, so that what causes others comes first.
CHECKS = (
    Check("ends", inspecting.ends),
    Check("programs", inspecting.programs),
    Check("loopback", inspecting.loopback),
    Check("daemons", inspecting.daemons),
    Check("routes", inspecting.routes),
    Check("names", inspecting.names),
    Check("routers", reaching.routers),
    Check("proxies", judging.proxies),
    Check("store", inspecting.store),
    Check("limits", judging.limits),
    Check("descriptors", inspecting.descriptors),
    Check("files", inspecting.files),
    Check("probing", judging.probing),
    Check("changes", judging.changes),
    Check("user", inspecting.who),
)
STATUS = {ERROR: 2, WARNING: 1, NOTE: 0}
WELL = "The configuration is valid, and nothing is wrong with this machine."
NOT_WELL = "Mend what is marked ERROR, WARNING or FAIL; all else is good to know."
MEND = "correct the file as this says; config.schema.json describes every key"


def check(named: str | None, runs: bool, as_json: bool) -> int:
    """Check a configuration and this machine; return 0 when all is well, 1 for warnings, 2 for errors."""
    report = _Report(as_json)
    try:
        situation = Situation(conf.find_configuration(named), conf.find_file(named))
    except conf.ConfigurationError as error:
        for line in error.errors:
            path, colon, cause = line.partition(": ")
            place = path if colon else "the configuration"
            report.add("configuration", Finding(place, cause or line, error.cure or MEND, ERROR))
        return report.end()
    for name, find in CHECKS:
        for finding in find(situation):
            report.add(name, finding)
    if runs:
        from lookingglass import trying

        logging.getLogger("tinytracer.journal").setLevel(logging.WARNING)  # these lines say it shorter
        for tried in trying.try_all(situation.configuration):
            report.ran(tried)
    return report.end()


class _Report:
    """Print what is found as it is found, or all at the end as JSON."""

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json
        self._status = 0
        self._findings: list[dict[str, Any]] = []
        self._runs: list[dict[str, Any]] = []

    def add(self, check: str, finding: Finding) -> None:
        self._status = max(self._status, STATUS[finding.severity])
        self._findings.append(finding.as_json(check))
        if not self._as_json:
            is_note = finding.severity == NOTE
            mark = "" if is_note else f"{finding.severity.upper()}: "
            cause = f"{finding.path}: {finding.cause}" if finding.path else finding.cause
            cure = f"\n    {finding.cure}" if finding.cure and finding.cure != MEND else ""
            print(f"{mark}{cause}{cure}", file=sys.stdout if is_note else sys.stderr)

    def ran(self, tried: Tried) -> None:
        self._status = max(self._status, 0 if tried.passed else 1)
        self._runs.append(tried._asdict())
        if not self._as_json:
            print(tried, flush=True)

    def end(self) -> int:
        """Print what is still to be printed, and return the exit status."""
        whole = {"status": self._status, "findings": self._findings, "runs": self._runs}
        verdict = NOT_WELL if self._status else WELL
        print(json.dumps(whole, indent=2) if self._as_json else verdict, flush=True)
        return self._status
