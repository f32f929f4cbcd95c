"""Frozen answers and their comparisons over HTTP: as page, JSON, text and picture."""

from __future__ import annotations

import html
import json
import re
import shlex
import threading
import time
from calendar import timegm
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

import rfc8522
from commands import JSON, SVG, TEXT
from lookingglass import comparisons, frames, panels, side_by_side
from lookingglass.answers import HTML, Environ, Reply, picture_policy
from lookingglass.configuration import Configuration
from lookingglass.headers import FRESH, OPEN, SECURITY
from lookingglass.negotiation import best_offer
from lookingglass.panels import Heading
from lookingglass.pictures import draw, draw_alone, verdicts
from lookingglass.pictures.kinds import kind_of
from lookingglass.pictures.markup import escape, timestamp, when
from lookingglass.pictures.markup import name as isolated
from lookingglass.problems import SOON, Busy, HTTPProblem, NotFound, Problem, counted
from lookingglass.ready import Ready
from lookingglass.results import RESULT_NAME, RESULTS_PATH, Frozen, Results, with_result
from lookingglass.side_by_side import Head
from lookingglass.urls import query_of

MAKERS = 4  # sheets that are made at once: the other threads are for what takes less time
SUFFIXES = {".json": JSON, ".txt": TEXT, ".svg": SVG}
# Programs that say nothing get JSON, as they do of a run; browsers prefer HTML, and images SVG.
OFFERS = (JSON, HTML, TEXT, SVG)
UNITS = {"day": 86400, "hour": 3600, "minute": 60, "second": 1}
MOMENT = "%Y-%m-%dT%H:%M:%SZ"
# What people paste: a name, or a link to a result in any form
PASTED = re.compile(rf"(?:.{{0,2000}}{RESULTS_PATH}/)?({RESULT_NAME})(?:[./?#].{{0,500}})?", re.DOTALL)
NOINDEX = {"X-Robots-Tag": "noindex, nofollow"}


class Sheet(NamedTuple):
    """Hold one representation."""

    media: str
    body: str
    headers: Mapping[str, str] = {}


class Archive:
    """Answer requests for what is kept."""

    def __init__(self, configuration: Configuration, results: Results | None) -> None:
        self._configuration = configuration
        self._routers = {router.name: router for router in configuration.routers}
        self._results = results
        self._makers = threading.BoundedSemaphore(MAKERS)
        # Links in a sheet begin with the host that was asked, where none is configured.
        self._vary = {"Vary": f"Accept, Accept-Encoding{'' if configuration.host else ', Host'}"}

    def answer(
        self, environ: Environ, base: str, name: str, other: str | None = None, suffix: str = ""
    ) -> Ready | Reply:
        """Show an answer, or compare it with another one; "" is one whose link the query has.

        Raises a Problem, where programs ask: people get a page that says it.
        """
        try:
            if other == "":
                return _lead(base, name, dict(query_of(environ)).get("with", ""))
            if not self._makers.acquire(blocking=False):
                raise Busy(f"{MAKERS} results are being shown at this moment. Try again in {SOON} s.")
            try:
                if other is None:
                    return self._show(environ, base, name, suffix.lower())
                return self._compare(environ, base, (name, other), suffix.lower())
            finally:
                self._makers.release()
        except Problem as problem:
            if _media(environ, suffix.lower(), OFFERS) != HTML:
                raise
            title, up = ("No result", "../") if other is None else ("No comparison", "../../../")
            return self._refuse(problem, title, up)

    def _show(self, environ: Environ, base: str, name: str, suffix: str) -> Ready:
        frozen = self._find(name, "Ask again for a new one.")
        offers = OFFERS if suffix or _has_picture(frozen) else OFFERS[:3]
        sheet = self._sheet(frozen, _media(environ, suffix, offers), base, name)
        return _ready(sheet, frozen.kept_until, self._vary)

    def _compare(self, environ: Environ, base: str, names: tuple[str, str], suffix: str) -> Ready:
        """Compare two answers; what comes of it is kept for as long as both of them."""
        a, b = (self._find(name, "Ask both questions again and compare the new results.") for name in names)
        sheet = self._compared((names[0], a), (names[1], b), _media(environ, suffix, OFFERS[:3]), base)
        return _ready(sheet, min(a.kept_until, b.kept_until), self._vary)

    def _find(self, name: str, cure: str) -> Frozen:
        """Return what is kept under a name; raises NotFound, which says the cure, and Busy."""
        if self._results is None:
            raise NotFound("This looking glass keeps no results. Ask again for a new answer.")
        frozen = self._results.find(name) if re.fullmatch(RESULT_NAME, name) else None
        if frozen is None:
            kept = lasting(self._results.keeping.seconds)
            raise NotFound(
                f"There is no such result, or not any more: results are kept for {kept}, or less when"
                f" there are many. {cure}"
            )
        return frozen

    def _refuse(self, problem: Problem, title: str, up: str) -> Reply:
        """Return the page that tells people what is wrong."""
        retry = {"Retry-After": str(problem.retry_after)} if problem.retry_after else {}
        ask = f'<p><a class="button" href="{up}">New question</a></p>'
        main = f'<p role="alert">{escape(str(problem))}</p>{ask}'
        headers = {"Content-Type": frames.HTML_UTF8, **SECURITY, **FRESH, **NOINDEX, **OPEN, **retry}
        return Reply(problem.status, headers, frames.frame(self._configuration, title, main, up))

    # --- one answer

    def _sheet(self, frozen: Frozen, media: str, base: str, name: str) -> Sheet:
        if media == JSON:
            return Sheet(JSON, json.dumps(with_result(frozen.envelope, base, name)) + "\n")
        if media == TEXT:
            note = frozen.envelope.get("message")
            return Sheet(TEXT, text_of(frozen) + (f"\n--- {note}\n" if note else ""))
        if media == SVG:
            title = f"{frozen.title}, {_heading(frozen).where}, {when(frozen.data['performed_at'])}"
            if picture := draw_alone(frozen.data, title, self._own_as(frozen)):
                return Sheet(SVG, picture, {"Content-Security-Policy": picture_policy()})
            raise HTTPProblem(406, "There is no picture of this answer; ping and routes have one.")
        return Sheet(HTML, self._page(frozen, base, name))

    def _page(self, frozen: Frozen, base: str, name: str) -> str:
        data = frozen.data
        heading = _heading(frozen)
        verdict = verdicts.of_outcome(frozen.status, frozen.envelope)
        drawing = draw(data, True, own_as=self._own_as(frozen))
        moment = panels.Moment(data["performed_at"], data["runtime"])
        seen = panels.view(panels.bar(heading, verdict, moment, _actions(frozen, name)), drawing)
        main = (
            f'<p class="frozen">From {isolated(heading.where)} at {timestamp(data["performed_at"])},'
            f" kept until {timestamp(frozen.kept_until)}.</p>"
            f"{panels.panel(heading, seen, text_of(frozen))}"
            f'<form class="with" method="get" action="{name}/vs/"><label for="with">Compare with</label>'
            ' <input id="with" name="with" required placeholder="the link of another result">'
            f" <button>Compare</button></form>{_curl(frozen, base)}"
        )
        asks = self._next_questions(frozen)
        return frames.frame(self._configuration, f"Frozen: {frozen.title}", main, "../", asks).decode()

    def _next_questions(self, frozen: Frozen) -> str:
        return frames.next_questions(self._routers.get(frozen.router), frozen.data["command"])

    def _own_as(self, frozen: Frozen) -> int | None:
        router = self._routers.get(frozen.router)
        return router.details.get("autonomous_system") if router else None

    # --- two answers

    def _compared(
        self, first: tuple[str, Frozen], second: tuple[str, Frozen], media: str, base: str
    ) -> Sheet:
        (name_a, a), (name_b, b) = first, second
        comparison = comparisons.compare(a.data, b.data)
        links = (f"{base}{RESULTS_PATH}/{name_a}", f"{base}{RESULTS_PATH}/{name_b}")
        if media == JSON:
            sides = {"a": _described(a, links[0]), "b": _described(b, links[1])}
            envelope = {"status": "success", "data": {**sides, **comparison.document()}}
            return Sheet(JSON, json.dumps(envelope) + "\n")
        if media == TEXT:
            heads = _head("A", a, links[0]), _head("B", b, links[1])
            return Sheet(TEXT, side_by_side.as_text(heads, comparison))
        heads = _head("A", a, f"../../{name_a}"), _head("B", b, f"../../{name_b}")
        actions = (
            f'<a class="button" href="../../{name_b}/vs/{name_a}">Swap</a>'
            f' <a class="button" href="{name_b}.txt">Text</a>'
            f' <a class="button" href="{name_b}.json">JSON</a>'
        )
        main = side_by_side.as_html(heads, comparison, actions)
        asks = self._next_questions(b)
        page = frames.frame(self._configuration, "Two answers compared", main, "../../../", asks)
        return Sheet(HTML, page.decode())


def _lead(base: str, name: str, pasted: str) -> Reply:
    """Lead from the form of a result's page to the comparison with the result whose link was pasted."""
    match = PASTED.fullmatch(pasted.strip())
    if not match:
        raise HTTPProblem(400, f"Paste the link of a result, such as {base}{RESULTS_PATH}/….")
    where = f"../../{match[1]}/vs/{name}"  # relative: a policy of form-action lets no other host in
    return Reply(303, {"Location": where, "Content-Type": TEXT, **FRESH, **SECURITY}, b"")


def lasting(seconds: float) -> str:
    """Return a duration in words."""
    unit, size = next(((unit, size) for unit, size in UNITS.items() if seconds % size == 0), ("second", 1))
    return counted(round(seconds / size), unit)


def text_of(frozen: Frozen) -> str:
    """Return the output as text."""
    output = frozen.data["output"]
    if not isinstance(output, list) or not all(isinstance(line, str) for line in output):
        return json.dumps(output, indent=2) + "\n"
    return "".join(f"{line}\n" for line in output)


def _has_picture(frozen: Frozen) -> bool:
    return kind_of(frozen.data) in {"ping", "paths"}


def _media(environ: Environ, suffix: str, offers: tuple[str, ...]) -> str:
    """Return what a suffix or an Accept header asks for; JSON where nothing is accepted, as for a run."""
    accept = environ.get("HTTP_ACCEPT", "")
    if HTML in accept.lower():  # text browsers like all equally, but what they name is what they are for
        offers = (HTML, *offers)
    if media := SUFFIXES.get(suffix) or best_offer(accept, offers):
        return media
    return SVG if best_offer(accept, (SVG,)) else JSON


def _ready(sheet: Sheet, until: str, vary: dict[str, str]) -> Ready:
    """Return what may be kept by everybody until it expires here."""
    seconds = max(0, timegm(time.strptime(until, MOMENT)) - int(time.time()))
    media = sheet.media if sheet.media in {JSON, SVG} else f"{sheet.media}; charset=utf-8"
    headers = {
        "Cache-Control": f"public, max-age={seconds}, immutable",
        **vary,
        **NOINDEX,
        **OPEN,
        **sheet.headers,
    }
    return Ready(sheet.body.encode(), media, headers, level=1)


def _question(frozen: Frozen) -> dict[str, str]:
    """Return the form's fields for asking the same again: a name by the family that it had."""
    data = frozen.data
    fields = {
        "router": frozen.router,
        "cmd": data["command"],
        "ip": data.get("target"),
        "vrf": data.get("vrf"),
    }
    address = data.get("address")
    if address and address != data.get("target"):
        fields["protocol"] = "2" if ":" in address else "1"
    return {key: str(value) for key, value in fields.items() if value}


def _actions(frozen: Frozen, name: str) -> str:
    again = html.escape(f"../?{urlencode({**_question(frozen), 'run': '1'})}")
    forms = {"Text": "txt", "JSON": "json", **({"Picture": "svg"} if _has_picture(frozen) else {})}
    links = "".join(
        f' <a class="button" href="{name}.{suffix}">{label}</a>' for label, suffix in forms.items()
    )
    link = f'<a class="button" href="{name}" rel="bookmark">Link</a>'
    return f'{link} <a class="button" href="{again}" rel="nofollow">Again</a>{links}'


def _curl(frozen: Frozen, base: str) -> str:
    """Return the line that asks the same again in a terminal."""
    data, question = frozen.data, _question(frozen)
    path = quote(rfc8522.path_of(data["command"], question.get("ip", "")), safe="/:")
    query = urlencode([(key, question[key]) for key in ("router", "protocol", "vrf") if key in question])
    line = f"curl -N -H 'Accept: text/plain' {shlex.quote(f'{base}{rfc8522.PREFIX}/v1/{path}?{query}')}"
    return f'<details><summary>curl</summary><pre class="curl">{html.escape(line)}</pre></details>'


def _heading(frozen: Frozen) -> Heading:
    return Heading(frozen.title, frozen.router, frozen.place)


def _head(letter: str, frozen: Frozen, href: str) -> Head:
    return Head(letter, href, frozen.title, _heading(frozen).where, frozen.data["performed_at"])


def _described(frozen: Frozen, link: str) -> dict[str, Any]:
    keys = ("performed_at", "router", "command", "target")
    return {"result": link, **{key: frozen.data[key] for key in keys if key in frozen.data}}
