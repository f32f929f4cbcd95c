"""robots.txt and security.txt: what crawlers leave alone, and whom to tell of a flaw."""

from __future__ import annotations

import datetime
import re
import urllib.robotparser

import pytest

from lookingglass import notices
from lookingglass.problems import NotFound
from tests.support import V1, asker, build, error

SECURITY = "/.well-known/security.txt"
DAY = datetime.date(2026, 12, 31)


@pytest.mark.parametrize("prefix", ["", "/lg"])
def test_crawlers_leave_runs_and_results_alone_and_may_read_the_page(prefix: str) -> None:
    reply = asker(build(), prefix)("/robots.txt")
    assert (reply.status, reply.headers["Content-Type"]) == (200, "text/plain; charset=utf-8")
    rules = urllib.robotparser.RobotFileParser()
    rules.parse(reply.text.splitlines())
    for path in (f"{V1}/ping/www.example.net", f"{V1}/cmd", "/results/abc", "/testfiles/25MB.test"):
        assert not rules.can_fetch("AnyBot", f"http://localhost{prefix}{path}")
    for path in ("/", "/style.css", "/openapi.json"):
        assert rules.can_fetch("AnyBot", f"http://localhost{prefix}{path}")
    assert f"\nDisallow: {prefix}/*?\n" in reply.text  # a form that is filled in; RFC 9309 section 2.2.3


@pytest.mark.parametrize(
    ("contact", "uri"),
    [
        ("noc@example.net", "mailto:noc@example.net"),
        ("mailto:noc@example.net?subject=LG", "mailto:noc@example.net?subject=LG"),
        ("https://www.example.net/security", "https://www.example.net/security"),
        ("tel:+49-30-1234", "tel:+49-30-1234"),
    ],
)
def test_contact_is_told_as_a_uri_until_a_date_within_a_year(contact: str, uri: str) -> None:
    reply = asker(build({"info": {"contact": contact}, "host": "https://lg.example.net/"}))(SECURITY)
    assert (reply.status, reply.headers["Content-Type"]) == (200, "text/plain; charset=utf-8")
    fields = dict(line.split(": ", 1) for line in reply.text.splitlines())
    assert fields["Contact"] == uri
    assert fields["Canonical"] == f"https://lg.example.net{SECURITY}"
    left = datetime.datetime.fromisoformat(fields["Expires"]) - datetime.datetime.now(datetime.UTC)
    assert datetime.timedelta(days=30) < left < datetime.timedelta(days=365)


@pytest.mark.parametrize(
    "contact",
    [
        "",
        "ask at the desk",
        "http://www.example.net/",
        "a@b.example\nContact: x@y.example",
        "x@",
        "https://é.example/",
    ],
)
def test_contact_that_is_no_uri_makes_no_security_txt(contact: str) -> None:
    assert "nothing" in error(asker(build({"info": {"contact": contact}}))(SECURITY), 404)


def test_expiry_moves_on_with_the_day() -> None:
    def expires(day: datetime.date) -> str:
        sent: list[bytes] = notices.security({"contact": "a@b.example"}, "https://lg.example.net", day)(
            {"REQUEST_METHOD": "GET"}, lambda status, headers: None
        )
        found = re.search(r"^Expires: (.+)$", b"".join(sent).decode(), re.MULTILINE)
        return found[1] if found else ""

    assert expires(DAY) == "2027-03-31T00:00:00Z"
    assert expires(DAY + datetime.timedelta(days=1)) == "2027-04-01T00:00:00Z"


def test_without_a_contact_there_is_nobody_to_tell() -> None:
    with pytest.raises(NotFound):
        notices.security({}, "https://lg.example.net", DAY)
