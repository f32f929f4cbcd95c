"""The page as HTML: the form, and the output of a question that was asked without JavaScript."""

from __future__ import annotations

import html
import string
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import rfc8522
from commands import Command, Router
from lookingglass import panels, resources
from lookingglass.answers import (
    HTML,
    Following,
    Pieces,
    Reply,
    Start,
    problem_headers,
)
from lookingglass.configuration import Configuration
from lookingglass.glass import Answer
from lookingglass.headers import FRESH, LIVE, SECURITY
from lookingglass.problems import NotFound, Problem
from lookingglass.questions import Question
from lookingglass.ready import Ready
from lookingglass.several import Several
from lookingglass.several_answers import text_of
from lookingglass.views import heading_of, last_view

FIELDS = ("ip", "cmd", "router", "routers", "protocol", "vrf", "run")  # of the form
NOTHING = dict.fromkeys(FIELDS, "")  # was filled in
HTML_UTF8 = f"{HTML}; charset=utf-8"
FAMILIES = {"": "automatic", "1": "IPv4", "2": "IPv6"}


class Choice(NamedTuple):
    """Say what a link or the form names, and what is wrong with it."""

    router: Router
    command: Command
    problem: str = ""


class Page:
    """Hold the page's template, cut where the output goes."""

    def __init__(self, configuration: Configuration) -> None:
        before, _, after = resources.resource("index.html").decode().partition("<!-- output -->")
        self._parts = (string.Template(before), string.Template(after))
        self._configuration = configuration

    def render(
        self, given: Mapping[str, str], client: str, choice: Choice | None = None, problem: str = ""
    ) -> tuple[bytes, bytes]:
        """Return what comes before and after the output.

        ``given`` has the FIELDS as filled in; ``client`` is the address to show, "" for none.
        """
        routers = self._configuration.routers
        chosen = choice or choose(routers, given)
        offered = (each for one in routers for each in one.commands.values())
        both = all(self._configuration.capabilities.values())
        values = {
            "title": html.escape(self._configuration.title),
            "blurb": self._configuration.blurb,
            "client": html.escape(client),
            "hideclient": "" if client else " hidden",
            "target": html.escape(given["ip"] or client),
            "routers": "".join(_option(each.name, each.name, each is chosen.router) for each in routers),
            "several": "" if len(routers) > 1 else "hidden",
            "commands": _command_options(routers, chosen.command),
            "families": _family_options(given["protocol"]),
            "bothfamilies": "" if both else "hidden",
            "vrfs": _vrf_options(routers, given["vrf"]),
            "anyvrf": "" if any(each.wants("VRF") for each in offered) else "hidden",
            "problem": html.escape(problem),
        }
        before, after = (part.substitute(values).encode() for part in self._parts)
        return before, after

    def blank(self, client: str) -> Ready:
        """Make the page without a question, which is private where it shows the visitor's address."""
        body = b"".join(self.render(NOTHING, client))
        return Ready(body, HTML_UTF8, {"Cache-Control": "private, no-cache"} if client else {})

    def reply(
        self, given: Mapping[str, str], client: str, choice: Choice, problem: Problem | None = None
    ) -> Reply:
        """Return the page without output: the form as filled in, or why it is not asked."""
        body = b"".join(self.render(given, client, choice, str(problem or choice.problem)))
        headers = {"Content-Type": HTML_UTF8, **SECURITY, **FRESH, **LIVE}
        if problem:
            return Reply(problem.status, {**headers, **problem_headers(problem)}, body)
        return Reply(200, headers, body)


def read(parameters: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return the FIELDS of the form, "" for what the URL's query does not have.

    Each box that is ticked gives ``routers`` once more.
    """
    pairs = [*parameters]
    ticked = ",".join(value for name, value in pairs if name == "routers" and value)
    query = {**dict(pairs), "routers": ticked}
    return {name: query.get(name, "").strip() for name in FIELDS}


def choose(routers: Sequence[Router], given: Mapping[str, str]) -> Choice:
    """Return the router and the command that a link or the form names.

    Without a router it is the first one that has the command; what is not named is the first there is.
    """
    asked = "" if given["routers"] else given["router"]
    name, named = given["cmd"].lower(), rfc8522.router_of(routers, asked)
    problem = "There is no such router." if asked and not named else ""
    able = [router for router in ([named] if named else routers) if name in router.commands]
    if (name or given["run"]) and not able:
        problem = problem or f"There is no such command{' on this router' if named else ''}."
    router = able[0] if able else named or routers[0]
    return Choice(router, router.commands.get(name, next(iter(router.commands.values()))), problem)


def question(given: Mapping[str, str], choice: Choice) -> tuple[Question, Problem | None]:
    """Return what the form asks, and why it is not asked, if it names what there is not."""
    target = "" if choice.command.argument == "none" else given["ip"]
    path = rfc8522.path_of(given["cmd"] if choice.problem else choice.command.name, target)
    named = {**given, "router": "" if given["routers"] else choice.router.name}
    parameters = [(name, named[name]) for name in ("router", "routers", "protocol", "vrf") if named[name]]
    return Question(path, tuple(parameters)), NotFound(choice.problem) if choice.problem else None


def as_page(before: bytes, after: bytes) -> Callable[[Answer, Start], Pieces]:
    """Return a representation that streams the output into the page, and then all that is known of it."""

    def pieces(answer: Answer, start: Start) -> Pieces:
        start(200, HTML, {})
        yield before + panels.begin_streamed(heading_of(answer)).encode()
        following = Following(answer)
        for text in following:
            yield html.escape(text).encode()
        if answer.has_left:
            return
        view = last_view(answer, following.status, following.envelope)
        yield panels.end_streamed(view).encode() + after

    return pieces


def as_page_of_several(before: bytes, after: bytes) -> Callable[[Several, Start], Pieces]:
    """Return a representation that streams the output of several routers into the page, one by one."""

    def pieces(several: Several, start: Start) -> Pieces:
        start(200, HTML, {})
        yield before
        for part in several.parts:
            yield panels.begin_streamed(heading_of(part)).encode()
            for text in text_of(several, part):
                yield html.escape(text).encode()
            if several.has_left:
                return
            yield panels.end_streamed(last_view(part, *part.outcome())).encode()
            part.close()
        yield after

    return pieces


def _option(value: str, text: str, selected: bool, extra: str = "") -> str:
    mark = " selected" if selected else ""
    return f'<option value="{html.escape(value)}"{extra}{mark}>{html.escape(text)}</option>'


def _on(routers: Iterable[str]) -> str:
    """Return the attribute that tells the script on which routers there is an option."""
    return f' data-routers="{html.escape(" ".join(routers))}"'


def _command_options(routers: Iterable[Router], selected: Command) -> str:
    """Offer the union of all routers' commands; each says on which routers, and with what argument."""
    options: dict[str, tuple[Command, list[str]]] = {}
    for router in routers:
        for command in router.commands.values():
            options.setdefault(command.name, (command, []))[1].append(router.name)
    return "".join(
        _option(
            name,
            name,
            name == selected.name,
            f' title="{html.escape(command.description)}" data-argument="{command.argument}"'
            f"{_on(names)}{' data-vrf' if command.wants('VRF') else ''}",
        )
        for name, (command, names) in options.items()
    )


def _family_options(chosen: str) -> str:
    afi = chosen.partition(",")[0]
    return "".join(_option(value, text, value == afi) for value, text in FAMILIES.items())


def _vrf_options(routers: Iterable[Router], chosen: str) -> str:
    """Offer the union of all routers' vrfs; each says on which routers."""
    options: dict[str, list[str]] = {}
    for router in routers:
        for vrf in router.vrfs:
            options.setdefault(vrf, []).append(router.name)
    listed = (_option(vrf, vrf, vrf.lower() == chosen.lower(), _on(names)) for vrf, names in options.items())
    return "".join((_option("", "", not chosen), *listed))
