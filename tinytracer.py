"""A network looking glass: the WSGI callable, its route table, the page, and main()."""

from __future__ import annotations

import html
import json
import logging
import os
import re
import select
import stat
import string
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from webob import Request, Response

import rfc8522
from commands import EVENTS, JSON, TEXT, Command, Router
from lookingglass import configuration as conf
from lookingglass import downloads, negotiation, targets
from lookingglass.glass import Aimer
from lookingglass.guard import SLOT_RETRY, Guard, read_client
from lookingglass.problems import Refusal
from lookingglass.runs import Runs, Viewer

__version__ = "0.1.0"

V1 = r"/\.well-known/looking-glass/v1"
# A route is a pattern of the whole path, in any case, and the method of TinyTracer that answers.
ROUTES = [
    (re.compile(pattern, re.ASCII | re.IGNORECASE | re.DOTALL), handler)
    for pattern, handler in (
        (r"/", "show_page"),
        (r"", "to_page"),
        (r"/(?P<name>style\.css|script\.js|icon\.svg)", "asset"),
        (r"/\.well-known/looking-glass/?", "index"),
        (V1 + r"/cmd/?", "command_list"),
        (V1 + r"/routers/?", "router_list"),
        (V1 + r"/routers/(?P<number>[^/]+)/?", "router_details"),
        (V1 + r"/(?P<path>.+)", "run"),
        (r"/api/info", "info"),
        (r"/api/capabilities", "capabilities"),
        (r"/healthz", "healthz"),
        (r"/openapi\.json", "openapi"),
        (r"/testfiles/(?P<path>.+)", "testfile"),
    )
]
METHODS = ("GET", "HEAD", "OPTIONS")
ALLOW = {"Allow": ", ".join(METHODS)}

TICK = 0.1  # seconds between looks whether a client is still there
HEARTBEAT = 15.0  # seconds between signs of life in server-sent events
FACTS = 1.0  # seconds between facts in server-sent events, at least
FACTS_SHARE = 20  # and so many times as long as the parser has needed
HTML = "text/html"
FIELDS = ("ip", "cmd", "router", "protocol", "vrf", "run")  # of the page's form
# RFC 9110 section 7.2: a name or an address, perhaps a port
HOST = re.compile(r"[A-Za-z0-9._:\[\]-]{1,270}")
OFFERS = (JSON, TEXT, EVENTS)  # what a run's Accept header chooses from; the first when it says nothing
ASSETS = {"style.css": "text/css", "script.js": "text/javascript", "icon.svg": "image/svg+xml"}
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
        " form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
FRESH = {"Cache-Control": "no-store", "Vary": "Accept"}
OPEN = {"Access-Control-Allow-Origin": "*"}  # programs on other sites may read it
NOTHING: Mapping[str, str] = {}
LIVE = {"X-Accel-Buffering": "no"}

UNIX_PEERS = ("", "localhost")  # REMOTE_ADDR of a unix socket's other end, with gunicorn and with waitress
LISTEN = "127.0.0.1:8080"
log = logging.getLogger("tinytracer")


class HTTPError(Exception):
    """A request cannot be answered: ``status`` is the HTTP status, ``headers`` go with it."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.headers = dict(headers or {})


EXPECTED = (HTTPError, rfc8522.Problem, Refusal)


class Answer:
    """Follow one viewer for one client, and give its place back."""

    def __init__(
        self,
        viewer: Viewer,
        question: rfc8522.Question,
        gone: Callable[[], bool],
        release: Callable[[], None],
    ) -> None:
        self._viewer = viewer
        self._gone = gone
        self._release = release
        self._question = question
        self.complete = False  # seen to its end, not left by the client

    def __iter__(self) -> Iterator[str]:
        """Yield text as it comes, and "" at every TICK without; stop early when the client has gone."""
        while (text := self._viewer.read(TICK)) is not None:
            if self._gone():
                return
            yield text
        self.complete = True

    def facts(self, text: str) -> dict[str, Any]:
        """Return what is known from the text so far."""
        return self._question.facts(text)

    def outcome(self) -> tuple[int, rfc8522.Envelope]:
        """Return the HTTP status and the envelope; the operator's log tells which router has failed."""
        question = self._question
        text, end = self._viewer.result()
        status, envelope = question.answer(text, end)
        level = logging.WARNING if status == 502 else logging.DEBUG
        told = envelope.get("message", envelope["status"])
        asked = " ".join(filter(None, (question.command.name, question.target)))
        log.log(level, "%s, %s: %s (%.1f s)", question.router.name, asked, told, end.runtime)
        return status, envelope

    def close(self) -> None:
        """Leave the Run and give the place back; more than once does no harm."""
        self._viewer.close()
        self._release()


class Body:
    """Iterate over an answer's bytes; a WSGI server calls ``close`` also when it never began."""

    def __init__(self, pieces: Iterator[bytes], close: Callable[[], None]) -> None:
        self._pieces = pieces
        self.close = close

    def __iter__(self) -> Iterator[bytes]:
        return self._pieces


class Page(NamedTuple):
    """Hold the page's template, cut where the output goes."""

    before: string.Template
    after: string.Template

    @classmethod
    def load(cls) -> Page:
        """Read it from the files that the program comes with."""
        before, _, after = conf.resource("index.html").decode().partition("<!-- output -->")
        return cls(string.Template(before), string.Template(after))


class TinyTracer:
    """A looking glass as a WSGI application, for one configuration."""

    def __init__(self, configuration: conf.Configuration) -> None:
        self._configuration = configuration
        self._guard = Guard(configuration.limits)
        self._runs = Runs(configuration.limits.output_kib * 1024)
        families = [family for family in (4, 6) if configuration.capabilities[f"ipv{family}"]]
        self._aimer = Aimer(families, configuration.deny)
        self._assets = {name: conf.resource(name) for name in ASSETS}
        self._page = Page.load()
        self.close = weakref.finalize(self, self._runs.close)  # also when the host program ends

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Answer one request (PEP 3333)."""
        environ.setdefault("PATH_INFO", "")  # which a server may leave out
        request = Request(environ)
        response = self._respond(request)
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        return response(environ, start_response)

    def _respond(self, request: Request) -> Response:
        """Return the answer, whatever happens: an error is an envelope as well."""
        try:
            return self._dispatch(request)
        except UnicodeDecodeError:
            failure = HTTPError(400, "The URL is not UTF-8.")
        except EXPECTED as error:
            failure = _as_http_error(error)
        except Exception:
            log.exception("a request failed")
            failure = HTTPError(500, "The looking glass has failed; its log says more.")
        return _json(rfc8522.error(failure.status, str(failure)), failure.status, failure.headers)

    def _dispatch(self, request: Request) -> Response:
        path = request.path_info
        matches = ((pattern.fullmatch(path), handler) for pattern, handler in ROUTES)
        match, handler = next((found for found in matches if found[0]), (None, ""))
        if match is None:
            raise HTTPError(404, "There is nothing at this path.")
        if request.method not in METHODS:
            raise HTTPError(405, f"Only {ALLOW['Allow']} are offered here.", ALLOW)
        if request.method == "OPTIONS":
            return _with(Response(status=204), ALLOW, OPEN)
        answer: Callable[..., Response] = getattr(self, f"_{handler}")
        return answer(request, **match.groupdict())

    def _index(self, request: Request) -> Response:
        started = time.monotonic()
        return _json(rfc8522.success(rfc8522.index(self._base(request)), started))

    def _command_list(self, request: Request) -> Response:
        started = time.monotonic()
        query = rfc8522.Query.read(request.GET.items())
        routers = self._configuration.routers
        if query.router is not None or query.routerindex is not None:
            routers = (rfc8522.choose(routers, query),)
        return _json(rfc8522.success(rfc8522.command_list(routers, self._base(request)), started))

    def _router_list(self, request: Request) -> Response:
        started = time.monotonic()
        return _json(rfc8522.success(rfc8522.router_list(self._configuration.routers), started))

    def _router_details(self, request: Request, number: str) -> Response:
        started = time.monotonic()
        routers = self._configuration.routers
        if not rfc8522.ROUTERINDEX.fullmatch(number) or int(number) >= len(routers):
            raise HTTPError(404, f"There is no such router; their numbers are 0 to {len(routers) - 1}.")
        return _json(rfc8522.success(rfc8522.router_details(routers[int(number)]), started))

    def _info(self, request: Request) -> Response:
        return _json(dict(self._configuration.info))

    def _capabilities(self, request: Request) -> Response:
        return _json(dict(self._configuration.capabilities))

    def _healthz(self, request: Request) -> Response:
        return Response("ok", content_type=TEXT, charset="utf-8")

    def _openapi(self, request: Request) -> Response:
        from lookingglass import openapi

        return _json(openapi.document(self._configuration, self._base(request), __version__))

    def _asset(self, request: Request, name: str) -> Response:
        response = Response(self._assets[name.lower()], content_type=ASSETS[name.lower()])
        response.md5_etag()
        response.cache_control = "no-cache"
        if downloads.is_fresh(request.headers.get("If-None-Match"), response.headers["ETag"]):
            kept = {header: response.headers[header] for header in ("ETag", "Cache-Control")}
            return _with(Response(status=304), kept)
        return response

    def _testfile(self, request: Request, path: str) -> Response:
        return downloads.send(request, self._configuration.testfiles, path)

    def _run(self, request: Request, path: str) -> Response:
        query = rfc8522.Query.read(request.GET.items())
        routers = self._configuration.routers
        router = rfc8522.choose(routers, query)
        command, target = rfc8522.find(router, path, (name for each in routers for name in each.commands))
        media = _representation(request)
        if request.method == "HEAD":
            self._check(request, router, command, target, query)
            return _live(b"", media)
        answer = self._follow(request, router, command, target, query)
        if media == JSON:
            return _finished(answer)
        pieces = _as_events(answer) if media == EVENTS else _as_text(answer)
        return _live(Body(pieces, answer.close), media)

    def _to_page(self, request: Request) -> Response:
        """Lead to the path with a slash at its end, below which the page's relative links work."""
        query = f"?{request.query_string}" if request.query_string else ""
        return _with(Response(status=308, location=f"{self._base(request)}/{query}"), FRESH)

    def _show_page(self, request: Request) -> Response:
        """Show the form; where it was submitted without JavaScript, stream the output into the page."""
        given = {name: request.GET.get(name, "").strip() for name in FIELDS}
        routers = self._configuration.routers
        router, command, problem = _choose(routers, given)
        client = self._client(request) if self._configuration.showip else ""
        offered = (each for one in routers for each in one.commands.values())
        values = {
            "title": html.escape(self._configuration.title),
            "blurb": self._configuration.blurb,
            "client": html.escape(client),
            "hideclient": "" if client else " hidden",
            "target": html.escape(given["ip"] or client),
            "routers": "".join(_option(each.name, each.name, each is router) for each in routers),
            "several": "" if len(routers) > 1 else "hidden",
            "commands": _command_options(routers, command),
            "families": _family_options(given["protocol"]),
            "bothfamilies": "" if all(self._configuration.capabilities.values()) else "hidden",
            "vrfs": _vrf_options(routers, given["vrf"]),
            "anyvrf": "" if any(each.wants("VRF") for each in offered) else "hidden",
        }
        status, headers = 404 if problem and given["run"] else 200, NOTHING
        answer = None
        if given["run"] and not problem and request.method != "HEAD":
            try:
                target = "" if command.argument == "none" else given["ip"]
                query = rfc8522.Query.read((name, given[name]) for name in ("protocol", "vrf") if given[name])
                answer = self._follow(request, router, command, target, query)
            except EXPECTED as error:
                failure = _as_http_error(error)
                problem, status, headers = str(failure), failure.status, failure.headers
        values["problem"] = html.escape(problem)
        before, after = (part.substitute(values).encode() for part in self._page)
        if answer is None:
            return _live(before + after, HTML, status, headers)
        return _live(Body(_as_page(answer, before, after), answer.close), HTML)

    def _follow(
        self, request: Request, router: Router, command: Command, text: str, query: rfc8522.Query
    ) -> Answer:
        """Check a question, admit its client, and return the answer in progress."""
        target, vrf = self._check(request, router, command, text, query)
        gone = _disconnection(request.environ)
        limits = self._configuration.limits
        release = self._guard.viewer(self._client(request))
        try:
            aim = self._aimer.aim(command, target, query.protocol)
            media, template = rfc8522.choose_format(command, query, aim.family, aim.kind)
            ceiling = command.runtime or limits.max_runtime
            viewer = self._runs.view(
                router.job(template, aim.family, aim.text, vrf),
                lambda: self._guard.slot(aim.network),
                min(query.runtime or (ceiling if query.runtime == 0 else limits.runtime), ceiling),
                ceiling,
            )
        except Refusal:
            release(refund=aim.address is None)  # a look-up has cost something
            raise
        except BaseException:
            release()
            raise
        about = (target and target.text, aim.address, vrf, media, limits.output_kib)
        question = rfc8522.Question(router, command, *about)
        return Answer(viewer, question, gone, release)

    def _check(
        self, request: Request, router: Router, command: Command, text: str, query: rfc8522.Query
    ) -> tuple[targets.Target | None, str]:
        """Return target and vrf of a question that could be run, as far as one can tell without running."""
        _refuse_forged(request)
        target = _read_target(command, text)
        self._aimer.families(command, target, query.protocol)
        return target, _read_vrf(router, command, query)

    def is_proxy(self, peer: str) -> bool:
        """Tell whether many visitors may come from a peer's address: a proxy's, or this machine's own."""
        address = read_client(peer)
        return _is_trusted(address, True) or _is_trusted(address, self._configuration.trustproxy)

    def _client(self, request: Request) -> str:
        return client_address(request.environ, self._configuration.trustproxy)

    def _base(self, request: Request) -> str:
        """Return the URL under which visitors see the application, without a slash at its end."""
        if self._configuration.host:
            return self._configuration.host
        if not HOST.fullmatch(request.headers.get("Host", "localhost")):
            raise HTTPError(400, "The header Host is not a host, with or without a port.")
        return str(request.application_url).rstrip("/")


class LazyApplication:
    """Build the application at its first call, so that importing this module reads no configuration."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._application: TinyTracer | None = None

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Answer one request (PEP 3333); raises ConfigurationError when there is no way to."""
        with self._lock:
            if self._application is None:
                self._application = TinyTracer(find_configuration(None))
        return self._application(environ, start_response)

    def close(self) -> None:
        """End what runs, for a host program that is told to stop; afterwards nothing is started."""
        if self._application:
            self._application.close()


application = LazyApplication()


def find_configuration(path: str | None) -> conf.Configuration:
    """Load ``path``, else ``$TINYTRACER_CONFIG``, else ``./config.json``, else what this machine has.

    Raises ConfigurationError.
    """
    named = path or os.environ.get("TINYTRACER_CONFIG")
    if named or os.path.exists("config.json"):
        return conf.load(named or "config.json")
    log.warning("There is no config.json here: offering what this machine has.")
    return conf.default()


def client_address(environ: Mapping[str, Any], trustproxy: bool | tuple[targets.Network, ...]) -> str:
    """Return who has asked, walking X-Forwarded-For from the right over trusted proxies; "": not known.

    ``trustproxy`` is the configuration's; True trusts loopback addresses and unix sockets.
    """
    peer: str = environ.get("REMOTE_ADDR") or ""
    client = read_client(peer)
    trusted = trustproxy is True and peer in UNIX_PEERS
    forwarded = [part.strip() for part in environ.get("HTTP_X_FORWARDED_FOR", "").split(",")]
    while forwarded and (trusted or _is_trusted(client, trustproxy)):
        claimed = read_client(forwarded.pop())
        if claimed is None:
            break
        client, trusted = claimed, False
    return str(client or "")


def _is_trusted(client: targets.Address | None, trustproxy: bool | tuple[targets.Network, ...]) -> bool:
    if client is None or isinstance(trustproxy, bool):
        return bool(client and trustproxy and client.is_loopback)
    return any(client in network for network in trustproxy)


def _representation(request: Request) -> str:
    """Return the one of OFFERS that the client likes best, JSON when it says nothing else."""
    return negotiation.best_offer(request.headers.get("Accept", ""), OFFERS) or JSON


def _refuse_forged(request: Request) -> None:
    """Refuse what another site's page makes a browser ask, by a link or as an image."""
    site, mode = (request.headers.get(f"Sec-Fetch-{name}", "").lower() for name in ("Site", "Mode"))
    if site == "cross-site" and mode != "cors":
        raise HTTPError(400, "Commands are not run for links on other sites; open this page itself.")


def _choose(routers: Sequence[Router], given: Mapping[str, str]) -> tuple[Router, Command, str]:
    """Return the router and the command that a link or the form names, and what is wrong with them.

    Without a router it is the first one that has the command; what is not named is the first there is.
    """
    name, named = given["cmd"].lower(), rfc8522.router_of(routers, given["router"])
    problem = "There is no such router." if given["router"] and not named else ""
    able = [router for router in ([named] if named else routers) if name in router.commands]
    if (name or given["run"]) and not able:
        problem = problem or f"There is no such command{' on this router' if named else ''}."
    router = able[0] if able else named or routers[0]
    return router, router.commands.get(name, next(iter(router.commands.values()))), problem


def _read_target(command: Command, text: str) -> targets.Target | None:
    if command.argument != "none":
        return targets.parse(text, command.argument)
    if text:
        raise HTTPError(400, "This command takes no target.")
    return None


def _read_vrf(router: Router, command: Command, query: rfc8522.Query) -> str:
    """Return the name as configured; a table that was not asked for would not be an answer."""
    if query.vrf is None:
        if command.wants("VRF"):
            raise HTTPError(400, "This command needs the parameter vrf.")
        return ""
    if not command.wants("VRF"):
        raise HTTPError(400, "This command has no vrf.")
    for vrf in router.vrfs:
        if vrf.lower() == query.vrf.lower():
            return vrf
    raise HTTPError(400, "There is no such vrf on this router.")


def _disconnection(environ: Mapping[str, Any]) -> Callable[[], bool]:
    """Return a function that tells whether the client has gone, by the means that the host offers."""
    asked: Callable[[], bool] | None = environ.get("waitress.client_disconnected")
    if asked is not None:
        return asked
    source = environ.get("gunicorn.socket") or environ.get("wsgi.input")
    try:
        descriptor = source.fileno()  # type: ignore[union-attr]
        if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
            return lambda: False
    except (AttributeError, OSError, TypeError, ValueError):  # no file, or closed
        return lambda: False
    poll = select.poll()
    poll.register(descriptor, select.POLLRDHUP)
    return lambda: bool(poll.poll(0))


def _as_http_error(error: Exception) -> HTTPError:
    if isinstance(error, HTTPError):
        return error
    status = getattr(error, "status", 400)
    retry = _retry(status, getattr(error, "retry_after", SLOT_RETRY))
    return HTTPError(status, str(error), {**retry, **getattr(error, "headers", {})})


def _retry(status: int, seconds: int = SLOT_RETRY) -> dict[str, str]:
    """Return the header that goes with a status that is for now only."""
    return {"Retry-After": str(seconds)} if status in {429, 503} else {}


def _with(response: Response, *headers: Mapping[str, str]) -> Response:
    for each in headers:
        for name, value in each.items():
            response.headers[name] = value
    return response


def _json(value: object, status: int = 200, headers: Mapping[str, str] = NOTHING) -> Response:
    body = json.dumps(value).encode() + b"\n"
    return _with(Response(body, status=status, content_type=JSON), FRESH, OPEN, headers)


def _live(
    body: bytes | Body, media: str, status: int = 200, headers: Mapping[str, str] = NOTHING
) -> Response:
    response = Response(status=status, content_type=media)
    if media != JSON:
        response.charset = "utf-8"
    if isinstance(body, bytes):
        response.body = body
    else:
        response.app_iter = body
    return _with(response, FRESH, LIVE, headers, NOTHING if media == HTML else OPEN)


def _finished(answer: Answer) -> Response:
    """Wait for the end; when the client leaves before, nobody reads what is returned."""
    try:
        for _ in answer:
            pass
        status, envelope = answer.outcome()
        return _json(envelope, status, _retry(status))
    finally:
        answer.close()


def _as_text(answer: Answer) -> Iterator[bytes]:
    for text in answer:
        yield text.encode()
    if answer.complete:
        note = _note(answer.outcome()[1])
        yield f"\n--- {note}\n".encode() if note else b""


def _as_events(answer: Answer) -> Iterator[bytes]:
    """Tell of the output as it comes, of facts at most every FACTS, and of the envelope at the end."""
    yield b": tinytracer\n\n"
    so_far = ""
    known: dict[str, Any] = {}
    read = 0  # characters of ``so_far`` that the parser has seen
    spoken = due = time.monotonic()  # when something was sent last; when facts may be told
    for text in answer:
        now = time.monotonic()
        if text:
            so_far += text
            yield _event("output", {"text": text})
        if now >= due and read < len(so_far):
            read = len(so_far)
            facts = answer.facts(so_far)
            due = now + max(FACTS, FACTS_SHARE * (time.monotonic() - now))
            if facts != known:
                known = facts
                yield _event("facts", facts)
        if text:
            spoken = now
        elif now - spoken >= HEARTBEAT:
            spoken = now
            yield b": still running\n\n"
    if answer.complete:
        yield _event("result", answer.outcome()[1])


def _as_page(answer: Answer, before: bytes, after: bytes) -> Iterator[bytes]:
    yield before
    for text in answer:
        yield html.escape(text).encode()
    if answer.complete:
        envelope = answer.outcome()[1]
        note = _note(envelope) or f"{envelope['status']} after {envelope['data']['runtime']:.1f} s"
        yield f"\n--- {html.escape(note)}".encode()
        yield after


def _event(name: str, data: object) -> bytes:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n".encode()


def _note(envelope: rfc8522.Envelope) -> str:
    """Return why a Run was stopped, "" when it was not."""
    message: str = envelope.get("message", "")
    return message


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
    options = {"": "automatic", "1": "IPv4", "2": "IPv6"}
    return "".join(_option(value, text, value == afi) for value, text in options.items())


def _vrf_options(routers: Iterable[Router], chosen: str) -> str:
    """Offer the union of all routers' vrfs; each says on which routers."""
    options: dict[str, list[str]] = {}
    for router in routers:
        for vrf in router.vrfs:
            options.setdefault(vrf, []).append(router.name)
    listed = (_option(vrf, vrf, vrf.lower() == chosen.lower(), _on(names)) for vrf, names in options.items())
    return "".join((_option("", "", not chosen), *listed))


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    import argparse

    parser = argparse.ArgumentParser(
        prog="tinytracer", description="A network looking glass.", allow_abbrev=False
    )
    parser.add_argument("action", nargs="?", choices=tuple(ACTIONS), default="serve")
    parser.add_argument("--config", metavar="FILE", help="default: $TINYTRACER_CONFIG, else config.json")
    parser.add_argument(
        "--listen",
        action="append",
        metavar="ADDRESS",
        help=f"HOST:PORT or unix:PATH, several times if need be; default: {LISTEN}",
    )
    parser.add_argument("--version", action="version", version=f"TinyTracer {__version__}")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s: %(message)s")
    try:
        configuration = find_configuration(options.config)
        return ACTIONS[options.action](configuration, options.listen or [LISTEN])
    except conf.ConfigurationError as error:
        print(error, file=sys.stderr)
        return 1


def check(configuration: conf.Configuration, listen: list[str]) -> int:
    """Report programs that this machine lacks; the configuration itself was checked by loading it."""
    lacking = configuration.lacking()
    for line in lacking:
        print(line, file=sys.stderr)
    if not lacking:
        print("The configuration is valid, and this machine has its programs.")
    return 1 if lacking else 0


def serve(configuration: conf.Configuration, listen: list[str]) -> int:
    """Serve until a signal ends it; then no child is left."""
    from lookingglass import serving

    if configuration.debug:
        logging.getLogger().setLevel(logging.DEBUG)
    for line in configuration.lacking():
        log.warning(line)
    looking_glass = TinyTracer(configuration)
    try:
        threads = configuration.limits.viewers + 8
        serving.serve(looking_glass, listen, threads, HEADERS | FRESH | OPEN, looking_glass.is_proxy)
    except serving.ListenError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


ACTIONS: dict[str, Callable[[conf.Configuration, list[str]], int]] = {"serve": serve, "check": check}

if __name__ == "__main__":
    sys.exit(main())
