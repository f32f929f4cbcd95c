"""What several test files share: our own server, a browser, the lab, and no skipping in CI."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings

from examples.lab.lab import Lab
from lookingglass import roll
from tests.support import PATIENT, Serve, Server, build_pyz, configuration, free_port, lab_prefix, soon_gone

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

# What differs between Pythons shows in few examples as well.
settings.register_profile("brief", settings.get_profile("ci"), max_examples=20)
if not os.environ.get("CI"):  # where Hypothesis has a profile of its own, which judges no clock either
    settings.register_profile(
        "default", settings.default, deadline=None, suppress_health_check=[HealthCheck.too_slow]
    )
    settings.load_profile("default")
CHROMIUM = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Yield a function that starts our own server; afterwards none of its children is left.

    ``program`` is what Python runs instead of tinytracer.py.
    """
    started: list[Server] = []

    def start(program: Sequence[str] = ("tinytracer.py",), **document: Any) -> Server:
        port = free_port()
        config = configuration(tmp_path, **document)
        argv = [sys.executable, *program, "--config", str(config), "--listen", f"127.0.0.1:{port}"]
        server = Server(argv, port)
        started.append(server)
        server.wait_until_ready()
        return server

    yield start
    for server in started:
        children = server.children()
        server.stop()
        assert soon_gone(*children)


@pytest.fixture(scope="session")
def pyz(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the one file, built into a folder of its own."""
    return build_pyz(tmp_path_factory.mktemp("a file"))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Yield a browser, for all tests of a module."""
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=1000 * PATIENT)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=CHROMIUM)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser, server: Server) -> Iterator[Page]:
    """Yield the page of a test file's own ``server``."""
    from tests.pages import opened

    with opened(browser, server) as page:
        yield page


@pytest.fixture(scope="session", autouse=True)
def watchers_are_waited_for() -> Iterator[None]:
    """Have no watcher left because a busy machine ends it late: that is noise in a later test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(roll, "DISMISSAL", PATIENT)
        yield


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Leave out what needs root where there is none."""
    if os.geteuid() and item.get_closest_marker("lab"):
        pytest.skip("network namespaces need root")


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """Yield a lab that is up, for all tests together: leave it as you found it."""
    with Lab(lab_prefix()) as lab:
        yield lab


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Turn a skip into a failure where CI runs, for there everything has to be installed."""
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    if report.skipped and os.environ.get("CI"):
        report.outcome = "failed"
