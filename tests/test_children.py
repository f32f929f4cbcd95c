"""One process group: spawned, read, stopped, reaped; what it gets and what it leaves behind."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence

import pytest

from commands import Invocation
from lookingglass import children as children_module
from lookingglass import spawning
from lookingglass.children import Child
from lookingglass.loop import Loop
from lookingglass.problems import Problem
from lookingglass.spawning import ENVIRONMENT, spawn
from tests.support import HERE, children, is_alive, open_files, python, sh, soon_gone, stat

LOOP = Loop()  # which nothing here needs


@pytest.fixture(autouse=True, params=["posix_spawn", "subprocess"])
def road(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Start each child in both ways: as here, and as where posix_spawn lacks a part."""
    assert spawning._posix_spawn() is not None
    if request.param == "subprocess":
        monkeypatch.setattr(spawning, "_posix_spawn", lambda: None)


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """Hold each test to leaving no child, zombies included, and no descriptor."""
    processes, files = children(), open_files()
    yield
    assert children() <= processes
    assert open_files() <= files


def read_all(child: Child) -> bytes:
    data = b""
    while True:
        select.select([child.output], [], [], 10)
        part = child.read()
        if part == b"":
            return data
        data += part or b""


def end(child: Child) -> int | None:
    """Wait for the end as a Run does, and free everything."""
    if child.exit is not None:
        assert select.select([child.exit], [], [], 10)[0]
    assert child.has_ended()
    child.kill()
    child.close_output()
    return child.reap()


def test_child_of_a_thread_that_blocks_signals_can_be_told_to_end() -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        child = Child(Invocation(("sleep", "1000")), LOOP)
        assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before | {signal.SIGTERM}
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    child.terminate()
    assert end(child) == -signal.SIGTERM


@pytest.mark.parametrize("road", ["posix_spawn"], indirect=True)  # subprocess restores but a few
@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGPIPE])
def test_child_of_a_server_that_ignores_a_signal_does_not(number: signal.Signals) -> None:
    before = signal.signal(number, signal.SIG_IGN)  # as nohup does, or a shell's &
    try:
        child = Child(Invocation(sh(f"kill -{int(number)} $$; exit 3")), LOOP)
    finally:
        signal.signal(number, before)
    assert end(child) == -number


@pytest.mark.parametrize(
    ("script", "status"), [("exit 0", 0), ("exit 3", 3), ("kill -9 $$", -9), ("kill -15 $$", -15)]
)
def test_status_is_the_exit_status_or_minus_the_signal(script: str, status: int) -> None:
    child = Child(Invocation(sh(script)), LOOP)
    assert read_all(child) == b""
    assert end(child) == status


def test_read_tells_nothing_yet_from_the_end() -> None:
    child = Child(Invocation(sh("read x; echo one; echo two >&2")), LOOP)  # reads from an empty input
    assert read_all(child) == b"one\ntwo\n"
    assert child.read() == b""
    end(child)
    waiting = Child(Invocation(("sleep", "1000")), LOOP)
    assert waiting.read() is None
    assert not waiting.has_ended()
    waiting.terminate()
    assert end(waiting) == -signal.SIGTERM


def test_looking_whether_it_has_ended_does_not_reap() -> None:
    child = Child(Invocation(("true",)), LOOP)
    assert child.exit is not None
    select.select([child.exit], [], [], 10)
    for _ in range(3):
        assert child.has_ended()
    assert child._pid in children()  # a zombie: its number belongs to nobody else
    assert end(child) == 0


def test_whole_group_is_signalled() -> None:
    child = Child(Invocation(sh("sleep 1000 & echo $!; wait")), LOOP)
    select.select([child.output], [], [], 10)
    grandchild = int(child.read() or b"")
    child.terminate()
    assert end(child) == -signal.SIGTERM
    assert soon_gone(grandchild)


def test_child_that_ignores_sigterm_is_killed() -> None:
    child = Child(Invocation(sh("trap '' TERM; echo; while :; do sleep 0.05; done")), LOOP)
    select.select([child.output], [], [], 10)
    child.terminate()
    time.sleep(0.2)
    assert not child.has_ended()
    child.kill()
    assert end(child) == -signal.SIGKILL


def test_signalling_what_has_gone_does_no_harm() -> None:
    child = Child(Invocation(("true",)), LOOP)
    assert child.exit is not None
    select.select([child.exit], [], [], 10)
    child.terminate()
    child.kill()
    assert end(child) == 0


def test_environment_is_minimal_and_input_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "of the operator")
    script = "import json, os, sys; print(json.dumps([dict(os.environ), sys.stdin.read(), os.getcwd()]))"
    child = Child(Invocation((sys.executable, "-I", "-c", script)), LOOP)
    environment, read, folder = json.loads(read_all(child))
    end(child)
    assert environment == ENVIRONMENT
    assert (read, folder) == ("", "/")


def test_child_leads_a_session_of_its_own_without_a_terminal() -> None:
    child = Child(Invocation(("sleep", "1000")), LOOP)
    pid = child._pid
    assert os.getsid(pid) == os.getpgid(pid) == pid
    assert stat(pid)[4] == "0"  # its controlling terminal
    child.kill()
    end(child)


def test_child_inherits_no_descriptor() -> None:
    with open(__file__, "rb") as secret:
        os.set_inheritable(secret.fileno(), True)
        child = Child(Invocation(python("import os; print(sorted(os.listdir('/proc/self/fd')))")), LOOP)
        listed = read_all(child)
    end(child)
    assert listed == b"['0', '1', '2', '3']\n"  # the last is of the listing itself


@pytest.mark.parametrize(
    ("stderr", "seen"), [(subprocess.STDOUT, b"out\nerr\n"), (subprocess.DEVNULL, b"out\n")]
)
def test_standard_error_is_part_of_the_output_or_left_out(stderr: int, seen: bytes) -> None:
    child = Child(Invocation(sh("echo out; echo err >&2"), stderr), LOOP)
    assert read_all(child) == seen
    end(child)


@pytest.mark.parametrize("program", ["no-such-program-here", "/no/such/program", "/etc/passwd", "/"])
def test_program_that_cannot_be_run_is_the_routers_fault(
    program: str, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(Problem) as caught:
        Child(Invocation((program,)), LOOP)
    assert (caught.value.status, caught.value.failure_source) == (502, "router")
    assert program not in str(caught.value)
    assert program in caplog.text


def test_path_of_the_operators_environment_is_not_searched(
    monkeypatch: pytest.MonkeyPatch, tmp_path: os.PathLike[str]
) -> None:
    tool = os.path.join(tmp_path, "tool-of-mine")
    with open(tool, "w") as file:
        file.write("#!/bin/sh\n")
    os.chmod(tool, 0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(Problem):
        Child(Invocation(("tool-of-mine",)), LOOP)


def test_machine_without_descriptors_is_503_whichever_is_the_last_one() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    statuses = []
    for spare in range(10):
        filling: list[int] = []
        resource.setrlimit(resource.RLIMIT_NOFILE, (128, hard))
        try:
            with contextlib.suppress(OSError):
                while True:
                    filling.append(os.dup(0))
            for each in filling[:spare]:
                os.close(each)
            child = Child(Invocation(("true",)), LOOP)
        except Problem as problem:
            statuses.append(problem.status)
            continue
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            for each in filling[spare:]:
                os.close(each)
        statuses.append(0)
        end(child)
    assert set(statuses) == {503, 0}
    assert statuses == sorted(statuses, reverse=True)


def test_process_that_cannot_be_waited_for_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(pid: int, flags: int = 0) -> int:
        raise OSError(24, "no more descriptors")

    pids: list[int] = []

    def note(argv: Sequence[str], stdout: int, stderr: int) -> int:
        pids.append(spawn(argv, stdout, stderr))
        return pids[-1]

    monkeypatch.setattr(children_module, "spawn", note)
    monkeypatch.setattr(os, "pidfd_open", refuse)
    with pytest.raises(Problem) as caught:
        Child(Invocation(("sleep", "1000")), LOOP)
    assert caught.value.status == 503
    assert not is_alive(pids[0])


def test_fifty_threads_spawn_at_once_and_no_child_holds_anothers_pipe() -> None:
    done: list[tuple[bytes, int | None]] = []

    def work(number: int) -> None:
        child = Child(Invocation(sh(f"echo {number}; sleep 0.1")), LOOP)
        done.append((read_all(child), end(child)))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(done) == sorted((b"%d\n" % number, 0) for number in range(50))


IGNORANT = """
import os, select, signal, sys, time
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
from commands import Invocation
from lookingglass.registry import Runs
class Slot:
    taken = ended = 0
    def __init__(self): Slot.taken += 1
    def end(self, refund=False): Slot.ended += 1
runs = Runs(4096)
for script in sys.argv[1:]:
    viewer = runs.view(Invocation(("sh", "-c", script)), Slot, 5, 5)
    while viewer.read() is not None:
        viewer.wait(5)
    text, end = viewer.result()
    print(repr(text), end.reason, end.status)
    viewer.close()
runs.close()
print(Slot.taken == Slot.ended, len(runs.loop._callbacks))
"""


def test_status_is_unknown_and_never_0_where_the_host_ignores_sigchld() -> None:
    scripts = ["echo a; exit 3", "exit 0", "echo b; sleep 0.2", ":", ":", ":"]
    argv = [sys.executable, "-X", "dev", "-c", IGNORANT, *scripts]
    done = subprocess.run(argv, cwd=HERE, capture_output=True, text=True, timeout=60, check=False)
    *lines, last = done.stdout.splitlines()
    assert lines == [f"{text!r} exit None" for text in ("a\n", "", "b\n", "", "", "")], done.stderr
    assert last == "True 0"
    assert not done.stderr
