"""Figures of all answers, in OpenMetrics text for Prometheus and its like; needs prometheus_client.

They are counted here and not by prometheus_client's own counters, which are slower and, where its variable
PROMETHEUS_MULTIPROC_DIR is set, shared by all applications of a process.
"""

from __future__ import annotations

import bisect
import collections
import itertools
import threading
from collections.abc import Iterator, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics import exposition

from lookingglass.answers import Reply
from lookingglass.glass import Glass
from lookingglass.headers import FRESH, SECURITY
from lookingglass.journal import Outcome, Record

TEXT_FORMAT = {"Content-Type": exposition.CONTENT_TYPE_LATEST, **SECURITY, **FRESH}
LABELS = ("router", "command")
# Upper bounds of the histograms' buckets, in seconds: a look-up takes milliseconds, an mtr a minute.
DURATIONS = (0.01, 0.05, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
WAITING = (0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
FIRST_LINES = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

Labelled = tuple[str, ...]  # values of labels


class Histogram:
    """Count values by the first of some upper bounds that is not below them."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)  # the last one is above all bounds
        self._sum = 0.0

    def add(self, value: float) -> None:
        """Count a value."""
        self._counts[bisect.bisect_left(self._bounds, value)] += 1
        self._sum += value

    def state(self) -> tuple[list[tuple[str, float]], float]:
        """Return each bound with how many values are not above it, and the sum of all values."""
        bounds = (*map(str, self._bounds), "+Inf")
        return list(zip(bounds, itertools.accumulate(self._counts), strict=True)), self._sum


class Metrics:
    """Count what a glass's journal tells: a sink of it, and a collector of prometheus_client.

    Labels have values of the configuration and of the program only, so no visitor can add a time series.
    """

    def __init__(self, glass: Glass, version: str) -> None:
        """Count from now on."""
        self._version = version
        self._lock = threading.Lock()
        self._answers: dict[Labelled, int] = collections.defaultdict(int)
        self._refused: dict[Labelled, int] = collections.defaultdict(int)
        self._durations: dict[Labelled, Histogram] = collections.defaultdict(lambda: Histogram(DURATIONS))
        self._first_lines: dict[Labelled, Histogram] = collections.defaultdict(lambda: Histogram(FIRST_LINES))
        self._waited: dict[Labelled, Histogram] = collections.defaultdict(lambda: Histogram(WAITING))
        self._shared = self._reused = 0
        self._bytes = 0
        self._registry = CollectorRegistry()
        self.follow(glass)
        self._registry.register(self)

    def follow(self, glass: Glass) -> None:
        """Count what another glass's journal tells as well: one that goes on after the glass before it."""
        self._runs = glass.runs
        self._queue = glass.queue
        self._journal = glass.journal
        self._known = {router.name: frozenset(router.commands) for router in glass.routers}
        self._journal.add(self)

    def __call__(self, record: Record, outcome: Outcome) -> None:
        """Count a request that has ended."""
        router, command = record.router, record.command
        commands = self._known.get(router)
        if commands is None:
            router = command = ""
        elif command not in commands:
            command = ""
        with self._lock:
            self._answers[router, command, outcome.word] += 1
            self._bytes += record.size
            if record.waited:
                self._waited[router, command].add(record.waited)
            if outcome.word == "refused":
                self._refused[str(outcome.status), outcome.reason] += 1
                return
            self._shared += record.shared > 1
            self._reused += record.reused is not None
            self._durations[router, command].add(record.seconds)
            if record.first is not None:
                self._first_lines[router, command].add(record.first)

    def reply(self) -> Reply:
        """Return all figures as OpenMetrics text."""
        return Reply(200, TEXT_FORMAT, exposition.generate_latest(self._registry))  # type: ignore[no-untyped-call]

    def collect(self) -> Iterator[Metric]:
        """Yield all figures, as prometheus_client's registry wants them."""
        with self._lock:
            answers, refused = dict(self._answers), dict(self._refused)
            durations = {key: each.state() for key, each in self._durations.items()}
            first_lines = {key: each.state() for key, each in self._first_lines.items()}
            waited = {key: each.state() for key, each in self._waited.items()}
            shared, reused, size = self._shared, self._reused, self._bytes
        yield InfoMetricFamily("tinytracer", "The program.", {"version": self._version})
        yield GaugeMetricFamily("tinytracer_runs", "Commands that run now.", len(self._runs.alive))
        yield GaugeMetricFamily("tinytracer_viewers", "Answers in progress.", len(self._journal.open))
        yield GaugeMetricFamily("tinytracer_waiting", "Runs that wait in the queue.", len(self._queue))
        meaning = "Requests for a run that have ended, by how they did."
        yield _counter("answers", meaning, (*LABELS, "outcome"), answers)
        meaning = "Requests for a run that were refused, by why they were."
        yield _counter("refused", meaning, ("status", "reason"), refused)
        yield _counter("shared_answers", "Answers that shared a run with others.", (), {(): shared})
        meaning = "Answers that told a finished run again."
        yield _counter("reused_answers", meaning, (), {(): reused})
        yield _counter("answer_bytes", "Bytes of answers.", (), {(): size}, "bytes")
        meaning = "Seconds from a request to the end of its answer, refusals left out."
        yield _histogram("answer_duration_seconds", meaning, durations)
        meaning = "Seconds from a request to the first output of its command."
        yield _histogram("first_line_seconds", meaning, first_lines)
        meaning = "Seconds for which runs have waited, those left out that have not."
        yield _histogram("waited_seconds", meaning, waited)


def _counter(
    name: str, meaning: str, labels: tuple[str, ...], values: dict[Labelled, int], unit: str = ""
) -> Metric:
    family = CounterMetricFamily(f"tinytracer_{name}", meaning, labels=labels, unit=unit)
    for key, value in values.items():
        family.add_metric(key, value)
    return family


def _histogram(
    name: str, meaning: str, values: dict[Labelled, tuple[list[tuple[str, float]], float]]
) -> Metric:
    family = HistogramMetricFamily(f"tinytracer_{name}", meaning, labels=LABELS, unit="seconds")
    for key, (buckets, total) in values.items():
        family.add_metric(key, buckets, total)
    return family
