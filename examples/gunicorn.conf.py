"""Settings for gunicorn: `gunicorn --config examples/gunicorn.conf.py tinytracer:application`.

Put nginx before it, with examples/deploy/nginx.conf or nginx-testfiles.conf, whose comments say why: gunicorn
waits for slow visitors with a thread, and nginx without one. Let nginx send test files itself.

With --worker-class sync --threads 1 --workers 16 a process answers each visitor; give "store" a name then.
"""

from __future__ import annotations

import queue
import signal
import sys
import threading
from types import FrameType
from typing import Any

import tinytracer
from lookingglass import configuration

try:
    settings = configuration.find_configuration(None)  # what is wrong is told now, not to the first visitor
except configuration.ConfigurationError as error:
    sys.exit(str(error))

bind = "127.0.0.1:8080"
worker_class = "gthread"  # an answer in progress holds a thread
threads = settings.limits.viewers + 8
loglevel = "debug" if settings.debug else "info"
workers = 1  # with more, let them count limits together: configure a store
keepalive = 75  # seconds; nginx closes idle connections before, so that no request meets a closed one
control_socket_disable = True  # gunicorn 25 and later would write it into a home that a service need not have
graceful_timeout = 3  # seconds; a visitor who reads nothing does not hold up the end


def post_worker_init(worker: Any) -> None:
    """End what runs when a worker is told to stop: gunicorn would wait for it, then leave it behind.

    The signal handler only wakes a thread: close() takes locks, which the interrupted code may hold.
    """
    told: queue.SimpleQueue[int] = queue.SimpleQueue()  # its put() may interrupt anything
    inherited: Any = signal.getsignal(signal.SIGTERM)

    def stop(number: int, frame: FrameType | None) -> None:
        told.put(number)
        inherited(number, frame)

    def close() -> None:
        told.get()
        tinytracer.application.close()

    threading.Thread(target=close, daemon=True).start()
    signal.signal(signal.SIGTERM, stop)
