"""Answer as a looking glass would without being one: the limit that TinyTracer is measured against.

It runs a command and replays, from a table, the status, headers and body that TinyTracer has answered.
"""

import ipaddress
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from waitress import serve
from webob import Request, Response

RUN = "/.well-known/looking-glass/v1/true"
listen, threads, table = sys.argv[1:]
ANSWERS = {
    (path, etag): (status, headers, body.encode("latin-1"))
    for path, etag, status, headers, body in json.loads(Path(table).read_text())
}


def application(environ: dict[str, Any], start_response: Any) -> Any:
    request = Request(environ)
    path = request.path_info
    if path.startswith(RUN):
        argv = ["/bin/true"]
        if path != RUN:
            path, _, target = path.rpartition("/")
            argv.append(str(ipaddress.ip_address(target)))
        subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=True)
    status, headers, body = ANSWERS[path, request.headers.get("If-None-Match")]
    return Response(body, status, [tuple(each) for each in headers])(environ, start_response)


serve(application, listen=listen, threads=int(threads), ident=None, asyncore_use_poll=True, _quiet=True)
