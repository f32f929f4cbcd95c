"""Which store the configuration names: for limits, and for frozen answers."""

from __future__ import annotations

import importlib.util
import logging
import os
import shlex

from lookingglass.cabinet import Cabinet, Keeping, MemoryCabinet
from lookingglass.cures import how_to_import
from lookingglass.store import Memory, Store

MEMORY = "memory"
SQLITE = "sqlite:"
REDIS = ("redis://", "rediss://", "unix://")
COUNTED_ALONE = (
    "Each process counts limits for itself, so that several allow several times as much;"
    f' give "store" in the configuration, {SQLITE}PATH or {REDIS[0]}HOST:PORT, to have them count together.'
)

log = logging.getLogger("tinytracer")


def read_store(text: str, folder: str | os.PathLike[str]) -> str:
    """Return what ``open_store`` takes for a configured store; a file is relative to ``folder``.

    Raises ValueError, whose message has nothing of a URL: a password may stand there.
    """
    if text.startswith(SQLITE) and text != SQLITE and "\0" not in text:
        path = os.path.abspath(os.path.join(folder, text[len(SQLITE) :]))
        parent = os.path.dirname(path)
        if not os.path.isdir(parent):
            cure = f"mkdir -p {shlex.quote(parent)}, or RuntimeDirectory= in the unit for one below /run"
            raise ValueError(f"{SQLITE} needs a folder that exists; {cure}")
        if os.path.exists(path) and not os.path.isfile(path):
            raise ValueError(f"{SQLITE} needs the name of a regular file, or of a new one; this is neither")
        return SQLITE + path
    if text.startswith(REDIS):
        if importlib.util.find_spec("redis") is None:
            raise ValueError(f"this store needs a package that is not here; {how_to_import('redis')}")
        return text
    if text != MEMORY:
        raise ValueError(f"expected {MEMORY}, {SQLITE}PATH or {REDIS[0]}HOST:PORT")
    return text


def open_store(text: str) -> Store:
    """Return the store that ``read_store`` has checked; one outside is reached at the first question."""
    if text.startswith(SQLITE):
        from lookingglass.in_sqlite import SQLite

        return SQLite(text[len(SQLITE) :])
    if text.startswith(REDIS):
        from lookingglass.in_redis import Redis

        return Redis(text)
    return Memory()


def open_cabinet(text: str, keeping: Keeping) -> Cabinet:
    """Return where frozen answers are kept in the same store; one outside is reached at the first of them."""
    if text.startswith(SQLITE):
        from lookingglass.in_sqlite import RESULTS_END, SQLiteCabinet

        return SQLiteCabinet(text[len(SQLITE) :] + RESULTS_END, keeping)
    if text.startswith(REDIS):
        from lookingglass.in_redis import RedisCabinet

        return RedisCabinet(text, keeping)
    return MemoryCabinet(keeping)


class Caution:
    """Tell the operator once that limits are those of each process, where there are several."""

    def __init__(self, store: str) -> None:
        self._is_due = store == MEMORY

    def heed(self, is_multiprocess: bool) -> None:
        """Look whether it matters; a request knows that (PEP 3333), and nothing before it."""
        if self._is_due and is_multiprocess:
            self._is_due = False
            log.warning(COUNTED_ALONE)
