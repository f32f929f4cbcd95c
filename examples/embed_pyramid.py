"""Embed TinyTracer below /lg/ of a Pyramid site: `gunicorn --threads 72 examples.embed_pyramid:app`.

It wants `pip install pyramid gunicorn`, and takes the configuration that TINYTRACER_CONFIG names.
"""

if __name__ == "__main__":
    raise SystemExit("usage: TINYTRACER_CONFIG=config.json gunicorn --threads 72 examples.embed_pyramid:app")

from collections.abc import Iterable
from wsgiref.types import StartResponse, WSGIEnvironment

from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPPermanentRedirect
from pyramid.request import Request
from pyramid.response import Response
from pyramid.wsgi import wsgiapp, wsgiapp2

from tinytracer import application


def home(request: Request) -> Response:
    """Answer with a page of this site."""
    return Response('<!DOCTYPE html><title>Example Networks</title><a href="/lg/">Looking glass</a>\n')


def to_lg(request: Request) -> Response:
    """Lead to the path with a slash at its end, below which the page's links work."""
    return HTTPPermanentRedirect("/lg/")


@wsgiapp
def well_known(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answer where programs look that know the host's name only, with links below /lg/."""
    return application({**environ, "SCRIPT_NAME": "/lg"}, start_response)


VIEWS = {
    "/": home,
    "/lg": to_lg,
    "/lg/*subpath": wsgiapp2(application),  # which moves /lg to SCRIPT_NAME
    "/.well-known/looking-glass*subpath": well_known,
}
with Configurator() as config:
    for pattern, view in VIEWS.items():
        config.add_route(pattern, pattern)
        config.add_view(view, route_name=pattern)
    app = config.make_wsgi_app()
