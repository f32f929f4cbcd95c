"""A network looking glass: the WSGI callable, its route table, and the command line."""

from __future__ import annotations

import functools
import logging
import os
import re
import sys
import threading
import time
import weakref
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from webob import Request

import rfc8522
from commands import TEXT
from lookingglass import about, downloads, journal, names, notices, origins, page, stores, urls, visitors
from lookingglass import configuration as conf
from lookingglass.answers import Environ, Reply, json_reply, problem_reply
from lookingglass.asking import Asking
from lookingglass.configuration import find_configuration, find_file, new_file
from lookingglass.frozen import Archive
from lookingglass.glass import Glass
from lookingglass.headers import FRESH, OPEN, PREFLIGHT, SECURITY
from lookingglass.problems import NO_PATH, HTTPProblem, NotFound, Problem
from lookingglass.ready import Ready, Shelf, ready_json
from lookingglass.several import Several
from lookingglass.turnstile import Turnstile
from lookingglass.visitors import Visitor

if TYPE_CHECKING:
    import argparse

    from lookingglass.command_line import Act
    from lookingglass.metrics import Metrics

__version__ = "0.1.0"

V1 = r"/\.well-known/looking-glass/v1"
RESULT = "[A-Za-z0-9_-]{1,64}"  # the name of a frozen answer, or what is left of one in a link that was cut
ALL, CORS, OWN = "all", "cors", "own"  # which sites' programs may read: all, those that "cors" names, none
# A route is a pattern of the whole path, in any case, the method of TinyTracer that answers, and for whom.
ROUTES = [
    (re.compile(pattern, re.ASCII | re.IGNORECASE | re.DOTALL), handler, readers)
    for pattern, handler, readers in (
        (r"/", "show_page", OWN),
        (r"", "to_page", OWN),
        (V1 + r"/cmd/?", "command_list", ALL),
        (V1 + r"/routers/?", "router_list", ALL),
        (V1 + r"/routers/(?P<number>[^/]+)/?", "router_details", ALL),
        (V1 + r"/(?P<path>.+)", "run", CORS),
        (r"/\.well-known/looking-glass/?", "index", ALL),
        (r"/(?P<name>style\.css|script\.js|icon\.svg|theme\.css|logo|icon)", "asset", OWN),
        (r"/about", "about", OWN),
        (r"/healthz", "healthz", OWN),
        (r"/api/ip", "ip", ALL),
        (r"/api/info", "info", ALL),
        (r"/api/capabilities", "capabilities", ALL),
        (r"/openapi\.json", "openapi", ALL),
        (r"/metrics", "metrics", OWN),
        (r"/robots\.txt", "robots", OWN),
        (r"/\.well-known/security\.txt", "security", OWN),
        (rf"/results/(?P<name>{RESULT})(?P<suffix>\.json|\.txt|\.svg|)", "archived", ALL),
        (rf"/results/(?P<name>{RESULT})/vs/(?P<other>{RESULT})(?P<suffix>\.json|\.txt|)", "archived", ALL),
        (rf"/results/(?P<name>{RESULT})/vs/(?P<other>)", "archived", ALL),
        (r"/stop/(?P<name>(?-i:[0-9a-f]{32}))", "stop", OWN),
        (r"/testfiles/(?P<path>.+)", "testfile", OWN),
    )
]
NO_ROUTE: tuple[str, str, Mapping[str, str]] = ("nothing", ALL, {})  # of ROUTES
KEPT_ROUTES = 256  # of paths that were asked lately
SHORT_PATH = 256  # characters; routes of longer ones are not kept
UNCOUNTED = {"healthz", "run"}  # handlers whose requests are none that "limits.requests" counts
METHODS = ("GET", "HEAD", "OPTIONS")
CHANGING = {"stop": ("POST",)}  # methods of handlers that have others
HEALTHY = Reply(200, {"Content-Type": f"{TEXT}; charset=utf-8", **SECURITY, **FRESH}, b"ok")

log = logging.getLogger("tinytracer")

Answering = Callable[[Environ, Any], Iterable[bytes]]  # a WSGI application that answers one request


class TinyTracer:
    """A looking glass as a WSGI application, for one configuration."""

    def __init__(self, configuration: conf.Configuration, before: TinyTracer | None = None) -> None:
        """Go on after what was ``before``, which ends the answers that it has begun and has no other use."""
        self._configuration = configuration
        self._unbelieved = visitors.Unbelieved(configuration.trustproxy)
        self._page = page.Page(configuration)
        self._shelf = Shelf()
        self._glass: Glass = Glass(configuration, before._glass if before else None)
        self._asking = Asking(configuration, self._glass)
        self._archive = Archive(configuration, self._glass.results)
        self._turnstile: Turnstile = before._turnstile if before else Turnstile(configuration.limits)
        self._turnstile.adjust(configuration.limits)
        self._caution = stores.Caution(configuration.store)
        self._figures: Metrics | None = self._count(before._figures if before else None)
        if before:
            before.close.detach()
        # also when the host program ends
        self.close: weakref.finalize[[], TinyTracer] = weakref.finalize(self, self._glass.close)

    def __call__(self, environ: Environ, start_response: Any) -> Iterable[bytes]:
        """Answer one request (PEP 3333), whatever happens: an error is an envelope as well."""
        try:
            return self._dispatch(environ)(environ, start_response)
        except Exception:
            log.exception("a request failed")
            failure = Problem("The looking glass has failed; its log says more.")
            return problem_reply(failure, {})(environ, start_response)

    @property
    def configuration(self) -> conf.Configuration:
        """Return what it answers by."""
        return self._configuration

    def is_proxy(self, peer: str) -> bool:
        """Tell whether many visitors may come from a peer's address: a proxy's, or this machine's own."""
        address = visitors.read_client(peer)
        return any(visitors.is_proxy(address, trust) for trust in (True, self._configuration.trustproxy))

    def _count(self, before: Metrics | None) -> Metrics | None:
        """Return the figures, from when they were configured first."""
        if before:
            before.follow(self._glass)
        elif self._configuration.metrics:  # then an optional package is imported
            from lookingglass.metrics import Metrics

            return Metrics(self._glass, __version__)
        return before

    def _dispatch(self, environ: Environ) -> Answering:
        """Return what answers a request; an error may be read by whoever may read its resource."""
        self._caution.heed(bool(environ.get("wsgi.multiprocess")))
        handler, readers, parts = _route(urls.path_of(environ))
        if handler == "metrics" and not self._shows_figures(environ):
            handler, readers, parts = NO_ROUTE
        sharing = self._sharing(environ, readers)
        try:
            if handler in UNCOUNTED:
                return self._answer(environ, handler, parts, sharing)
            client, began = self._visitor(environ).key, time.thread_time()
            self._turnstile.request(client)
            try:
                return self._answer(environ, handler, parts, sharing)
            finally:
                self._turnstile.charge(client, time.thread_time() - began)
        except Problem as problem:
            return problem_reply(problem, sharing)

    def _answer(
        self, environ: Environ, handler: str, parts: Mapping[str, str], sharing: Mapping[str, str]
    ) -> Answering:
        method, methods = environ["REQUEST_METHOD"], CHANGING.get(handler, METHODS)
        if handler != "nothing" and (method == "OPTIONS" or method not in methods):
            allow = {"Allow": ", ".join(methods)}
            if method not in methods:
                verb = "is" if len(methods) == 1 else "are"
                raise HTTPProblem(405, f"Only {allow['Allow']} {verb} offered here.", allow)
            preflight = PREFLIGHT if "Access-Control-Allow-Origin" in sharing else {}
            return Reply(204, {**allow, **SECURITY, **sharing, **preflight}, b"")
        answer: Callable[..., Answering] = getattr(self, f"_{handler}")
        return answer(environ, **parts)

    def _sharing(self, environ: Environ, readers: str) -> Mapping[str, str]:
        """Return the headers that say which other sites' programs may read a resource."""
        if readers == CORS:
            return origins.sharing(environ, self._configuration.cors)
        return OPEN if readers == ALL else {}

    def _nothing(self, environ: Environ) -> Answering:
        try:
            environ.get("PATH_INFO", "").encode("latin-1").decode()
        except UnicodeDecodeError:
            raise HTTPProblem(400, "The URL is not UTF-8.") from None
        raise NotFound(NO_PATH)

    def _ready(self, environ: Environ, key: Hashable, make: Callable[[str], Ready]) -> Ready:
        """Return what depends on the base URL only, made once."""
        where = () if self._configuration.host else tuple(map(environ.get, urls.BASE))
        return self._shelf.get((key, where), lambda: make(self._base(environ)))

    def _list(self, environ: Environ, key: Hashable, make: Callable[[str], dict[str, Any]]) -> Ready:
        """Return an envelope that depends on the base URL only, made once."""

        def envelope(base: str) -> Ready:
            started = time.monotonic()
            return ready_json(rfc8522.success(make(base), started))

        return self._ready(environ, key, envelope)

    def _index(self, environ: Environ) -> Answering:
        return self._list(environ, "index", rfc8522.index)

    def _command_list(self, environ: Environ) -> Answering:
        routers = self._glass.routers
        parameters = rfc8522.Parameters.read(urls.query_of(environ))
        is_one = parameters.router is not None or parameters.routerindex is not None
        chosen = (rfc8522.choose(routers, parameters),) if is_one else routers
        key = ("cmd", *(router.number for router in chosen))
        return self._list(environ, key, lambda base: rfc8522.command_list(chosen, base, routers[0]))

    def _router_list(self, environ: Environ) -> Answering:
        return self._list(environ, "routers", lambda base: rfc8522.router_list(self._glass.routers))

    def _router_details(self, environ: Environ, number: str) -> Answering:
        routers = self._glass.routers
        if not rfc8522.ROUTERINDEX.fullmatch(number) or int(number) >= len(routers):
            raise NotFound(f"There is no such router; their numbers are 0 to {len(routers) - 1}.")
        router = routers[int(number)]
        return self._list(environ, router.number, lambda base: rfc8522.router_details(router))

    def _info(self, environ: Environ) -> Answering:
        return self._shelf.get("info", lambda: ready_json(dict(self._configuration.info)))

    def _capabilities(self, environ: Environ) -> Answering:
        return self._shelf.get("capabilities", lambda: ready_json(dict(self._configuration.capabilities)))

    def _ip(self, environ: Environ) -> Answering:
        return json_reply(self._page.own_address(self._visitor(environ).address), 200, OPEN)

    def _openapi(self, environ: Environ) -> Answering:
        from lookingglass import openapi

        def make(base: str) -> Ready:
            return ready_json(openapi.document(self._configuration, base, __version__))

        return self._ready(environ, "openapi", make)

    def _shows_figures(self, environ: Environ) -> bool:
        """Tell whether there is /metrics for whoever asks; for others there is nothing at this path."""
        return visitors.comes_from(environ, self._configuration.trustproxy, self._configuration.metrics)

    def _metrics(self, environ: Environ) -> Answering:
        return self._figures.reply() if self._figures else self._nothing(environ)

    def _robots(self, environ: Environ) -> Answering:
        return self._ready(environ, "robots", notices.robots)

    def _security(self, environ: Environ) -> Answering:
        day = notices.today()
        return self._ready(environ, day, lambda base: notices.security(self._configuration.info, base, day))

    def _asset(self, environ: Environ, name: str) -> Answering:
        name = name.lower()
        return self._shelf.get(name, lambda: Ready(*self._page.asset(name), {}))

    def _about(self, environ: Environ) -> Answering:
        return self._shelf.get("about", lambda: about.page(self._configuration))

    def _healthz(self, environ: Environ) -> Answering:
        self._glass.check_health()
        return HEALTHY

    def _testfile(self, environ: Environ, path: str) -> Answering:
        origins.refuse_embedded(environ)
        client = self._visitor(environ).key
        admit = functools.partial(self._turnstile.download, client)
        response = downloads.send(Request(environ), self._configuration.testfiles, path, admit)
        response.headers.update(SECURITY.items())
        return response

    def _stop(self, environ: Environ, name: str) -> Answering:
        """Stop one of several routers, for the visitor who knows its name."""
        stop = self._glass.stops.get(name)
        if stop is None:
            raise NotFound("Nothing of this name runs in this process.")
        stop()
        return Reply(204, {**SECURITY, **FRESH}, b"")

    def _archived(self, environ: Environ, **parts: str) -> Answering:
        return self._archive.answer(environ, self._base(environ), **parts)

    def _to_page(self, environ: Environ) -> Answering:
        """Lead to the path with a slash at its end, below which the page's relative links work."""
        query = f"?{environ['QUERY_STRING']}" if environ.get("QUERY_STRING") else ""
        headers = {"Location": f"{self._base(environ)}/{query}", "Content-Type": TEXT, **FRESH, **SECURITY}
        return Reply(308, headers, b"")

    def _show_page(self, environ: Environ) -> Answering:
        """Show the form; where it was submitted without JavaScript, stream the output into the page."""
        client = self._visitor(environ).address if self._configuration.showip else ""
        if not environ.get("QUERY_STRING"):
            return self._shelf.get(("page", client), lambda: self._page.blank(client))
        given = page.read(urls.query_of(environ))
        choice = page.choose(self._glass.routers, given)
        refuse = functools.partial(self._page.reply, given, client, choice)
        if not given["run"] or environ["REQUEST_METHOD"] == "HEAD":
            return refuse()
        around = self._page.render(given, client, choice)  # nothing may fail once there is an answer
        try:
            answer = self._asking.ask(environ, self._visitor(environ), *page.question(given, choice))
        except Problem as problem:
            return refuse(problem)
        represent = page.as_page_of_several if isinstance(answer, Several) else page.as_page
        return self._asking.live(answer, represent(*around, given), refuse, self._page.headers)

    def _run(self, environ: Environ, path: str) -> Answering:
        return self._asking.run(environ, self._visitor(environ), path, self._sharing(environ, CORS))

    def _visitor(self, environ: Environ) -> Visitor:
        self._unbelieved.look(environ)
        return Visitor.of(environ, self._configuration.trustproxy)

    def _base(self, environ: Environ) -> str:
        return urls.base_of(environ, self._configuration.host)


def _route(path: str) -> tuple[str, str, Mapping[str, str]]:
    """Return handler and readers of a path, by ROUTES, and its named parts, also of what is not there."""
    find = _found if len(path) <= SHORT_PATH else _found.__wrapped__
    return find(path)


@functools.lru_cache(KEPT_ROUTES)
def _found(path: str) -> tuple[str, str, Mapping[str, str]]:
    for pattern, handler, readers in ROUTES:
        if match := pattern.fullmatch(path):
            return handler, readers, match.groupdict()
    return NO_ROUTE


class LazyApplication:
    """Build the application at its first call, so that importing this module reads no configuration."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._application: TinyTracer | None = None

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Answer one request (PEP 3333); raises ConfigurationError when there is no way to."""
        application = self._application
        if application is None:
            with self._lock:
                application = self._application = self._application or TinyTracer(find_configuration(None))
        return application(environ, start_response)

    def close(self) -> None:
        """End what runs, for a host program that stops; afterwards nothing is started."""
        if self._application:
            self._application.close()


application = LazyApplication()


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    from lookingglass import command_line

    command_line.open_streams()
    options = command_line.parse(sys.argv[1:] if arguments is None else arguments, __version__, ACTIONS)
    journal.log_to_standard_error()
    act: Act = options.act
    try:
        return act(options)
    except conf.ConfigurationError as error:
        print(error, file=sys.stderr)
        return 1


def serve(options: argparse.Namespace) -> int:
    """Serve the page and the API until SIGTERM, SIGQUIT or Ctrl-C; then no child is left.

    SIGHUP, also that of a closed terminal, has it read its configuration again; where it listens stays.
    """
    from lookingglass import command_line, reloading, serving

    def load() -> conf.Configuration:
        configuration = find_configuration(options.config)
        logging.getLogger().setLevel(logging.DEBUG if configuration.debug else logging.INFO)
        for line in configuration.lacking():
            log.warning(line)
        return configuration

    names.hasten()
    looking_glass = reloading.Newest(TinyTracer(load()), load, TinyTracer, find_file(options.config))
    try:
        serving.serve(looking_glass, serving.open_sockets(options.listen, command_line.LISTEN))
    except serving.ListenError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def check(options: argparse.Namespace) -> int:
    """Say what is wrong with the configuration and with this machine, and the cure."""
    from lookingglass import diagnosis

    names.hasten()
    try:
        return diagnosis.check(options.config, options.run, options.json)
    except BrokenPipeError:  # whoever read what is printed has left, as in `check | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python writes the rest at its end
        return 1


def init(options: argparse.Namespace) -> int:
    """Write a starting configuration for this machine."""
    from lookingglass import starting

    return starting.init(new_file(options.config))


def migrate(options: argparse.Namespace) -> int:
    """Turn a config.json of the original program, or a caps.json of intrace, into a configuration."""
    from lookingglass import migrating

    return migrating.migrate(options.old, new_file(options.config))


ACTIONS: tuple[Act, ...] = (serve, init, check, migrate)

if __name__ == "__main__":
    sys.exit(main())
