"""Limits in a SQLite file, and frozen answers in one beside it, for the processes of one machine."""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from lookingglass.cabinet import ENTRY_OVERHEAD, Keeping
from lookingglass.sharing import LEASE, QUEUE, Lost, Shared
from lookingglass.store import OWNED, Claim, Decision, Ledger, Token

BUSY = 0.25  # seconds that a decision waits for other processes
PAGES = 16384  # of 4 KiB, which limits may have at most
PAGE_SIZE = 4096  # bytes
RESULTS_END = ".results"  # at the end of the name of the file with frozen answers
NEARLY_FULL = 64 * PAGE_SIZE  # bytes that are free on a disk on which limits may not find what they need
LEFT_FREE = 8 << 20  # bytes of the disk that frozen answers leave to limits
BOOT = "/proc/sys/kernel/random/boot_id"
# Frozen answers were here as well before they had a file of their own, and nobody would make room any more.
TABLES = """
DROP TABLE IF EXISTS result;
DROP TABLE IF EXISTS result_secret;
CREATE TABLE IF NOT EXISTS boot (id TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS holder (holder TEXT PRIMARY KEY, expires REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS held (
    key TEXT, holder TEXT, count INTEGER NOT NULL, PRIMARY KEY (key, holder)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS bucket (
    key TEXT PRIMARY KEY, tokens REAL NOT NULL, since REAL NOT NULL, full REAL NOT NULL, owner TEXT NOT NULL)
    WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS bucket_full ON bucket (full);
CREATE INDEX IF NOT EXISTS bucket_owner ON bucket (owner);
"""
# Names are what answers are found by, owners what they are counted by: a keyed digest.
RESULT_TABLES = """
CREATE TABLE IF NOT EXISTS result (
    number INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, owner TEXT NOT NULL,
    expires REAL NOT NULL, size INTEGER NOT NULL, body BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS result_owner ON result (owner, number, size);
CREATE INDEX IF NOT EXISTS result_expires ON result (expires);
CREATE TABLE IF NOT EXISTS result_secret (id INTEGER PRIMARY KEY, secret BLOB NOT NULL);
INSERT OR IGNORE INTO result_secret VALUES (1, randomblob(16));
"""
KEEP = "INSERT INTO result (name, owner, expires, size, body) VALUES (?, ?, ?, ?, ?)"
# The oldest of the owner that has most; of several, of the one whose oldest is the oldest.
DROP = (
    "DELETE FROM result WHERE number ="
    " (SELECT min(number) FROM result GROUP BY owner ORDER BY {most} DESC, min(number) LIMIT 1)"
)
Execute = Callable[..., sqlite3.Cursor]
EMPTY = ("boot", "holder", "held", "bucket")
COUNT_HELD = "SELECT total(count) FROM held JOIN holder USING (holder) WHERE key = ? AND expires > ?"
HOLD = "INSERT INTO held VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET count = count + excluded.count"
PUT = (
    "INSERT INTO bucket VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE"
    " SET tokens = excluded.tokens, since = excluded.since, full = excluded.full"
)


class SQLite(Shared, Ledger):
    """Keep everything in one file; a decision is a transaction.

    The clock is that of the machine since it was started, which all its processes share and nobody sets; what
    an earlier start has left is forgotten.
    """

    def __init__(self, path: str) -> None:
        super().__init__()
        self.name = path
        self._path = path
        self._file = (0, 0)  # device and inode
        self._database: sqlite3.Connection | None = None
        self._now = 0.0  # of the transaction in progress
        self._me = ""

    # --- Shared

    def _connect(self) -> None:
        self._disconnect()
        if _free(self._path) < NEARLY_FULL:  # which is why the file could not be used, or will be soon
            _drop_results(self._path + RESULTS_END)
        self._database = _open(self._path, PAGES)
        self._file = _identity(self._path)
        with open(BOOT, encoding="ascii") as file:
            boot = file.read().strip()
        with self._transaction("") as run:
            for statement in TABLES.split(";"):
                run(statement)
            if run("SELECT id FROM boot").fetchall() != [(boot,)]:
                for table in EMPTY:
                    run(f"DELETE FROM {table}")  # noqa: S608 - a name of ours
                run("INSERT INTO boot VALUES (?)", (boot,))

    def _disconnect(self) -> None:
        database, self._database = self._database, None
        _close(database)

    def _register(self, holder: str, holds: Mapping[str, int], stale: Sequence[str]) -> None:
        with self._transaction("") as run:
            for each in stale:
                _forget(run, each)
            if holder:
                run("INSERT INTO holder VALUES (?, ?)", (holder, self._now + LEASE))
                for key, count in holds.items():
                    run(HOLD, (key, holder, count))

    def _beat(self, holder: str) -> None:
        with self._transaction(holder) as run:
            run("UPDATE holder SET expires = ? WHERE holder = ?", (self._now + LEASE, holder))
            for (each,) in run("SELECT holder FROM holder WHERE expires <= ?", (self._now,)).fetchall():
                _forget(run, each)
            run("DELETE FROM bucket WHERE full <= ?", (self._now,))

    def _decide(self, holder: str, claims: Sequence[Claim], penalty: Token | None) -> Decision:
        with self._transaction(holder):
            return self.decide(claims, penalty, self._now)

    def _settle(self, holder: str, given: Mapping[str, int], charges: Sequence[tuple[Token, float]]) -> None:
        with self._transaction(holder):
            for key, count in given.items():
                self.hold(key, -count)
            for token, amount in charges:
                self.spend(token, amount, self._now)

    # --- Ledger

    def held(self, key: str) -> int:
        """Return how many shares of a key are held."""
        return int(self._run(COUNT_HELD, (key, self._now)).fetchone()[0])

    def level(self, token: Token, now: float) -> float | None:
        """Return how many tokens a bucket has; None: it is full, and takes no room yet."""
        found = self._run("SELECT tokens, since FROM bucket WHERE key = ?", (token.key,)).fetchone()
        return token.refilled(found[0], now - found[1]) if found else None

    def make_room(self, owner: str, now: float) -> bool:
        """Tell whether an owner may have one more bucket that is not full; PAGES bound those of all."""
        count = "SELECT count(*) FROM bucket WHERE owner = ? AND full > ?"
        return int(self._run(count, (owner, now)).fetchone()[0]) < OWNED

    def hold(self, key: str, change: int) -> None:
        """Count a share that is taken or given back."""
        self._run(HOLD, (key, self._me, change))
        if change < 0:
            self._run("DELETE FROM held WHERE key = ? AND holder = ? AND count <= 0", (key, self._me))

    def put(self, token: Token, tokens: float, now: float) -> None:
        """Note how many tokens a bucket has."""
        full = now + token.seconds(token.burst - tokens)
        self._run(PUT, (token.key, tokens, now, full, token.owner))

    # --- inside

    @property
    def _run(self) -> Execute:
        if self._database is None:
            raise sqlite3.OperationalError("not open")
        return self._database.execute

    @contextmanager
    def _transaction(self, holder: str) -> Iterator[Execute]:
        """Change all or nothing, on behalf of a holder that is alive; raises Lost."""
        if _identity(self._path) != self._file:
            raise sqlite3.OperationalError("the file was replaced")
        run = self._run
        with _all_or_nothing(run):
            self._now = time.clock_gettime(time.CLOCK_BOOTTIME)
            self._me = holder
            alive = "SELECT 1 FROM holder WHERE holder = ? AND expires > ?"
            if holder and not run(alive, (holder, self._now)).fetchone():
                raise Lost
            yield run


class SQLiteCabinet:
    """Keep frozen answers in a file of their own, so that they can give way to limits on a full disk.

    They outlive a start of the machine.
    """

    def __init__(self, path: str, keeping: Keeping) -> None:
        self._path = path
        self._keeping = keeping
        self._lock = threading.Lock()  # for the two that follow
        self._database: sqlite3.Connection | None = None
        self._file = (0, 0)  # device and inode

    def secret(self) -> bytes:
        """Return the key that makes an owner of a network, made by the first process."""
        with self._connected() as run:
            return bytes(run("SELECT secret FROM result_secret").fetchone()[0])

    def put(self, name: str, owner: str, body: bytes, now: float, expires: float) -> bool:
        """Keep a body, and tell whether there was room; raises OSError where the disk is full."""
        if _free(self._path) < LEFT_FREE + len(body):
            raise OSError(errno.ENOSPC, "the disk is nearly full, and limits need what is left")
        with self._connected() as run, _all_or_nothing(run):
            run("DELETE FROM result WHERE expires <= ?", (now,))
            run(KEEP, (name, owner, expires, len(body) + ENTRY_OVERHEAD, body))
            while run("SELECT total(size) FROM result").fetchone()[0] > self._keeping.size:
                run(DROP.format(most="sum(size)"))
            if run("SELECT count(*) FROM result").fetchone()[0] > self._keeping.entries:
                run(DROP.format(most="count(*)"))
            return run("SELECT 1 FROM result WHERE name = ?", (name,)).fetchone() is not None

    def get(self, name: str, now: float) -> bytes | None:
        """Return a body, None when there is none of this name or when it has expired."""
        with self._connected() as run:
            found = run("SELECT body FROM result WHERE name = ? AND expires > ?", (name, now)).fetchone()
            return bytes(found[0]) if found else None

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._disconnect()

    @contextmanager
    def _connected(self) -> Iterator[Execute]:
        """Yield what runs a statement, one thread at a time; a file that was replaced is opened anew."""
        if not self._lock.acquire(timeout=QUEUE):
            raise sqlite3.OperationalError("other threads have kept it busy")
        try:
            database = self._database if self._is_current() else None
            yield (database or self._connect()).execute
        except BaseException:
            self._disconnect()
            raise
        finally:
            self._lock.release()

    def _is_current(self) -> bool:
        return os.path.exists(self._path) and _identity(self._path) == self._file

    def _connect(self) -> sqlite3.Connection:
        self._disconnect()
        # an entry fills its last page only in part
        pages = self._keeping.size // PAGE_SIZE + 2 * self._keeping.entries + 64
        database = self._database = _open(self._path, pages)
        self._file = _identity(self._path)
        for statement in RESULT_TABLES.split(";"):
            database.execute(statement)
        return database

    def _disconnect(self) -> None:
        database, self._database = self._database, None
        _close(database)


def _open(path: str, pages: int) -> sqlite3.Connection:
    """Open a file, or make it for its owner only: it holds addresses of visitors."""
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL, 0o600))
    database = sqlite3.connect(path, timeout=BUSY, isolation_level=None, check_same_thread=False)
    try:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = NORMAL")
        database.execute(f"PRAGMA max_page_count = {pages}")
    except BaseException:
        database.close()
        raise
    return database


def _close(database: sqlite3.Connection | None) -> None:
    if database is not None:
        with contextlib.suppress(sqlite3.Error):
            database.close()


@contextmanager
def _all_or_nothing(run: Execute) -> Iterator[None]:
    """Change all of a database, or nothing where anything fails."""
    run("BEGIN IMMEDIATE")
    try:
        yield
        run("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):  # some errors have rolled it back already
            run("ROLLBACK")
        raise


def _free(path: str) -> int:
    """Return how many bytes are free on a file's disk."""
    disk = os.statvfs(os.path.dirname(path))
    return disk.f_bavail * disk.f_frsize


def _drop_results(path: str) -> None:
    """Remove all frozen answers; a process that still has the files open holds no room with them."""
    for each in (path, f"{path}-wal", f"{path}-shm"):
        with contextlib.suppress(FileNotFoundError):
            if not each.endswith("-shm"):  # which others have mapped
                os.truncate(each, 0)
            os.unlink(each)


def _identity(path: str) -> tuple[int, int]:
    status = os.stat(path)
    return status.st_dev, status.st_ino


def _forget(run: Execute, holder: str) -> None:
    run("DELETE FROM held WHERE holder = ?", (holder,))
    run("DELETE FROM holder WHERE holder = ?", (holder,))
