"""Settings for gunicorn: `gunicorn --config examples/gunicorn.conf.py tinytracer:application`."""

from __future__ import annotations

import signal
import sys
from types import FrameType
from typing import Any

import tinytracer
from lookingglass import configuration

try:
    tinytracer.find_configuration(None)  # what is wrong with it is told now, not to the first visitor
except configuration.ConfigurationError as error:
    sys.exit(str(error))

bind = "127.0.0.1:8080"
worker_class = "gthread"  # an answer in progress holds a thread
threads = 72  # the configuration's viewers, and 8
workers = 1  # limits are counted in one process


def post_worker_init(worker: Any) -> None:
    """End what runs when a worker is told to stop: gunicorn would wait for it, then leave it behind."""
    inherited: Any = signal.getsignal(signal.SIGTERM)

    def stop(number: int, frame: FrameType | None) -> None:
        tinytracer.application.close()
        inherited(number, frame)

    signal.signal(signal.SIGTERM, stop)
