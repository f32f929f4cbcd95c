"""The page as HTML: the form, and the output of a question that was asked without JavaScript."""

from __future__ import annotations

import html
import string
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple
from urllib.parse import urlencode

import rfc8522
from commands import Command, Router
from lookingglass import form, frames, panels, pasted, resources, themes
from lookingglass.answers import HTML, Following, Pieces, Reply, Start, problem_headers
from lookingglass.configuration import Configuration
from lookingglass.frames import HTML_UTF8
from lookingglass.glass import Answer
from lookingglass.headers import LIVE, REVISITED, SECURITY, allowing
from lookingglass.pictures.markup import escape
from lookingglass.problems import NotFound, Problem, TargetError
from lookingglass.questions import Question
from lookingglass.ready import Ready
from lookingglass.several import Several
from lookingglass.several_answers import text_of
from lookingglass.views import CROWD, common_scale, heading_of, last_view, overview

FIELDS = ("ip", "cmd", "router", "routers", "protocol", "vrf", "run")  # of the form
BLANK = dict.fromkeys(FIELDS, "")  # was filled in
ASSETS = {"style.css": "text/css", "script.js": "text/javascript", "icon.svg": "image/svg+xml"}


class Choice(NamedTuple):
    """Say what a link or the form names, and what is wrong with it."""

    router: Router
    command: Command
    problem: str = ""


class Page:
    """Hold the page's template, cut where the output goes; ``headers`` go with each page, behind SECURITY."""

    def __init__(self, configuration: Configuration) -> None:
        before, _, after = frames.template_of("index.html").partition("<!-- output -->")
        self._parts = (string.Template(before), string.Template(after))
        self._configuration = configuration
        self._constant = _constant(configuration)
        self.headers = allowing(form.own_urls(configuration).values())

    def render(
        self,
        given: Mapping[str, str],
        client: str,
        choice: Choice | None = None,
        problem: Problem | str = "",
    ) -> tuple[bytes, bytes]:
        """Return what comes before and after the output.

        ``given`` has the FIELDS as filled in; ``client`` is the address to show, "" for none.
        """
        configuration = self._configuration
        routers = configuration.routers
        chosen = choice or choose(routers, given)
        is_field = isinstance(problem, TargetError)  # then it is told there
        others = {name.lower() for name in _names(given["routers"])}
        link = urlencode({"ip": client, "cmd": chosen.command.name, "router": chosen.router.name})
        values = {
            **self._constant,
            "target": html.escape(pasted.clean(given["ip"], chosen.command.argument) or client),
            "invalid": ' aria-invalid="true" aria-describedby="error"' if is_field else "",
            "error": html.escape(str(problem)) if is_field else "",
            "problem": "" if is_field else html.escape(str(problem)),
            "router": form.router_field(routers, chosen.router),
            "others": form.others_field(routers, others),
            "command": form.command_field(routers, chosen.command),
            "families": form.family_field(configuration.capabilities, given["protocol"]),
            "vrf": form.vrf_field(routers, given["vrf"]),
            "own": form.own_address(client, configuration, f"?{link}"),
        }
        before, after = (part.substitute(values).encode() for part in self._parts)
        return before, after

    def blank(self, client: str) -> Ready:
        """Make the page without a question, which is private where it shows the visitor's address."""
        body = b"".join(self.render(BLANK, client))
        return Ready(body, HTML_UTF8, {**self.headers, **(REVISITED if client else {})})

    def asset(self, name: str) -> tuple[bytes, str]:
        """Return a file that the page needs, and its media type; raises NotFound."""
        if name in ASSETS:
            return resources.resource(name), ASSETS[name]
        return themes.asset(self._configuration.theme, name)

    def own_address(self, client: str) -> dict[str, str]:
        """Return what /api/ip tells, to the page on a name of ours that has both address families.

        Raises NotFound where addresses are not shown.
        """
        if not self._configuration.showip:
            raise NotFound("Addresses of visitors are not told here.")
        return {"ip": client}

    def reply(
        self, given: Mapping[str, str], client: str, choice: Choice, problem: Problem | None = None
    ) -> Reply:
        """Return the page without output: the form as filled in, or why it is not asked."""
        body = b"".join(self.render(given, client, choice, problem or choice.problem))
        headers = {"Content-Type": HTML_UTF8, **SECURITY, **REVISITED, **LIVE, **self.headers}
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
    argument = choice.command.argument
    target = "" if argument == "none" else pasted.clean(given["ip"], argument)
    path = rfc8522.path_of(given["cmd"] if choice.problem else choice.command.name, target)
    names = _names(given["routers"])
    if given["router"] or not names:  # the menu's, and those that are ticked
        names = list(dict.fromkeys((choice.router.name, *names)))
    where = ("router", names[0]) if names == [choice.router.name] else ("routers", ",".join(names))
    parameters = [where, *((name, given[name]) for name in ("protocol", "vrf") if given[name])]
    return Question(path, tuple(parameters)), NotFound(choice.problem) if choice.problem else None


def as_page(before: bytes, after: bytes, given: Mapping[str, str]) -> Callable[[Answer, Start], Pieces]:
    """Return a representation that streams the output into the page, and then all that is known of it."""

    def pieces(answer: Answer, start: Start) -> Pieces:
        start(200, HTML, REVISITED)
        yield before + panels.begin_streamed(heading_of(answer)).encode()
        following = Following(answer)
        for text in following:
            yield html.escape(text).encode()
        if answer.has_left:
            return
        actions = _actions(given, answer.router, following.envelope)
        view = last_view(answer, following.status, following.envelope, actions)
        yield panels.end_streamed(view).encode() + after

    return pieces


def as_page_of_several(
    before: bytes, after: bytes, given: Mapping[str, str]
) -> Callable[[Several, Start], Pieces]:
    """Return a representation that streams the output of several routers into the page, one by one."""

    def pieces(several: Several, start: Start) -> Pieces:
        start(200, HTML, REVISITED)
        yield before
        for part in several.parts:
            yield panels.begin_streamed(heading_of(part)).encode()
            for text in text_of(several, part):
                yield html.escape(text).encode()
            while len(several.parts) < CROWD and not (several.is_over or several.has_left):
                several.follow()  # for the axis that all of them share
                yield b""
            if several.has_left:
                return
            status, envelope = part.outcome()
            actions = _actions(given, part.router, envelope)
            view = last_view(part, status, envelope, actions, common_scale(several.parts))
            yield panels.end_streamed(view).encode()
            part.close()
        if len(several.parts) >= CROWD:
            yield f'<article class="answer all">{overview(several.parts)}</article>'.encode()
        yield after

    return pieces


def _actions(given: Mapping[str, str], router: Router, envelope: rfc8522.Envelope) -> str:
    """Return links: to the frozen answer, where it is kept, and to asking one router again."""
    result = envelope.get("data", {}).get("result")
    question = {**given, "router": router.name, "routers": "", "run": "1"}
    again = html.escape(f"?{urlencode({name: value for name, value in question.items() if value})}")
    link = f'<a class="button" rel="bookmark" href="{html.escape(result)}">Link</a> ' if result else ""
    return f'{link}<a class="button" rel="nofollow" href="{again}">Again</a>'


def _names(listed: str) -> list[str]:
    return list(dict.fromkeys(filter(None, listed.split(","))))


def _constant(configuration: Configuration) -> dict[str, str]:
    """Return what is the same in each page."""
    return {
        **frames.dress(configuration, ""),
        "title": escape(configuration.title),
        "robots": "",
        "up": "",
        "blurb": configuration.blurb,
        "descriptions": form.descriptions(configuration.routers),
        "network": form.network(configuration),
    }
