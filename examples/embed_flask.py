"""Embed TinyTracer below /lg/ of a Flask site: `gunicorn --threads 72 examples.embed_flask:app`.

It wants `pip install flask gunicorn`, and takes the configuration that TINYTRACER_CONFIG names.
"""

if __name__ == "__main__":
    raise SystemExit("usage: TINYTRACER_CONFIG=config.json gunicorn --threads 72 examples.embed_flask:app")

from collections.abc import Iterable
from wsgiref.types import StartResponse, WSGIEnvironment

from flask import Flask
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from tinytracer import application

app = Flask(__name__)


@app.route("/")
def home() -> str:
    """Answer with a page of this site."""
    return '<!DOCTYPE html><title>Example Networks</title><a href="/lg/">Looking glass</a>\n'


def well_known(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answer where programs look that know the host's name only, with links below /lg/."""
    path = environ["SCRIPT_NAME"] + environ["PATH_INFO"]
    return application({**environ, "SCRIPT_NAME": "/lg", "PATH_INFO": path}, start_response)


app.wsgi_app = DispatcherMiddleware(  # type: ignore[method-assign]
    app.wsgi_app, {"/lg": application, "/.well-known/looking-glass": well_known}
)
