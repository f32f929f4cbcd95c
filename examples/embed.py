"""Embed TinyTracer below /lg/ of another WSGI application: `python3 examples/embed.py CONFIG PORT`.

Take the Python for which TinyTracer is installed: after `make run`, that is .venv/bin/python.

Programs that know the host's name only look below /.well-known/looking-glass (RFC 8522 section 3.2), so that
leads there as well. embed_flask.py and embed_pyramid.py do the same for applications of these frameworks.
"""

from __future__ import annotations

import queue
import signal
import sys
import threading
from collections.abc import Iterable
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIServer, make_server
from wsgiref.types import StartResponse, WSGIEnvironment
from wsgiref.util import shift_path_info

if len(sys.argv) != 3 or not sys.argv[2].isdecimal():
    sys.exit("usage: python3 examples/embed.py CONFIG PORT")

from lookingglass import configuration
from tinytracer import TinyTracer

try:
    looking_glass = TinyTracer(configuration.load(sys.argv[1]))
except configuration.ConfigurationError as error:
    sys.exit(str(error))


def site(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answer below /lg/ with the looking glass, elsewhere with a page of this site."""
    if environ["PATH_INFO"].startswith("/.well-known/looking-glass"):
        return looking_glass({**environ, "SCRIPT_NAME": "/lg"}, start_response)
    if shift_path_info(environ) == "lg":  # moves it from PATH_INFO to SCRIPT_NAME
        return looking_glass(environ, start_response)
    start_response("200 OK", [("Content-Type", "text/html; charset=utf-8")])
    return [b'<!DOCTYPE html><title>Example Networks</title><a href="/lg/">Looking glass</a>\n']


class Server(ThreadingMixIn, WSGIServer):
    """Serve each visitor in a thread; a WSGIServer alone serves one after the other."""

    daemon_threads = True


def main() -> None:
    """Serve in threads until a signal comes, and end what runs."""
    signals: queue.SimpleQueue[int] = queue.SimpleQueue()  # its put() takes no lock that may be held
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, frame: signals.put(number))
    server = make_server("127.0.0.1", int(sys.argv[2]), site, Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    signals.get()  # the main thread does nothing else, for signal handlers run in it
    looking_glass.close()  # takes locks and waits, at most 2 s; daemon threads end with the program


if __name__ == "__main__":
    main()
