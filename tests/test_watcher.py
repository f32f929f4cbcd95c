"""The watcher: what is left of a killed server, and of a killed watcher; and nobody else is hit."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import webob

from commands import Invocation
from lookingglass import children as children_module
from lookingglass import roll as roll_module
from lookingglass import watcher
from lookingglass.registry import Runs
from lookingglass.runs import Viewer
from lookingglass.spawning import spawn
from tests.support import (
    HERE,
    V1,
    Serve,
    Server,
    Slots,
    await_text,
    children,
    configuration,
    descendants,
    first_number,
    free_port,
    is_alive,
    open_files,
    python,
    read_until,
    sh,
    soon,
    soon_gone,
    stat,
    to_the_end,
    watchers,
)

# An ordinary user, without what setpriv itself may do: it keeps capabilities until the next program.
NOBODY = [*("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"), *("sh", "-c", 'exec "$@"', "sh")]
LISTING = "import os, time; print(sorted(os.listdir('/proc/self/fd')), flush=True); time.sleep(9)"
HERMIT = sh("setsid sh -c 'echo $$; exec sleep 1000' & wait")  # its child has a session of its own
BUSY = {
    "long/127.0.0.1": 1,  # a real ping: it has a capability, and says nothing until its end
    "stubborn": 1,
    "orphan": 2,
    "hermit": 2,
    "sleep": 1,
}
COMMANDS = {
    "long": {"cmd4": ["ping", "-4", "-q", "-n", "-c", "100", "{{TARGET}}"]},
    "stubborn": {"cmd": ["sh", "-c", "trap '' TERM; echo $$; while :; do sleep 0.1; done"]},
    "orphan": {"cmd": ["sh", "-c", "trap '' TERM; (trap '' TERM; exec sleep 1000) & echo $!; wait"]},
    "hermit": {"cmd": list(HERMIT)},
    "sleep": {"cmd": ["sleep", "1000"]},
    "other": {"cmd": ["sleep", "1001"]},
    "true": {"cmd": ["true"]},
}


@pytest.fixture
def runs() -> Iterator[Runs]:
    """Yield a registry; afterwards no child is left, and so no watcher."""
    before = children()
    runs = Runs(output_limit=4096)
    yield runs
    runs.close()
    assert soon(lambda: children() <= before)


def ask(runs: Runs, argv: tuple[str, ...], seconds: float = 30, stderr: int | None = -2) -> Viewer:
    return runs.view(Invocation(argv, stderr), Slots(), seconds, seconds)


# --- a server that is killed


def children_of(pid: int) -> set[int]:
    return {each for each in descendants(pid) if stat(each)[1:2] == [str(pid)]}


def nobodys_python() -> str:
    """Return a Python that an ordinary user may run, for this one may be in root's home."""
    test = "import sys; sys.exit(sys.version_info < (3, 11))"
    for each in (sys.executable, "/usr/bin/python3"):
        with contextlib.suppress(OSError):
            if subprocess.run([*NOBODY, each, "-c", test], capture_output=True, check=False).returncode == 0:
                return each
    pytest.skip("an ordinary user has no Python here")


def as_nobody(folder: str, port: int) -> Server:
    os.chmod(folder, 0o755)
    config = configuration(Path(folder), commands=COMMANDS)
    packages = os.path.dirname(os.path.dirname(webob.__file__))
    argv = [*NOBODY, nobodys_python(), "tinytracer.py", "--config", str(config)]
    return Server([*argv, "--listen", f"127.0.0.1:{port}"], port, {"PYTHONPATH": packages})


def kill_in_mid_run(server: Server, victim: int) -> None:
    """Kill one process of a server that runs everything, and see that nothing of it is left."""
    before = len(descendants(victim))
    with contextlib.ExitStack() as connections:
        for path in BUSY:
            connections.enter_context(server.begin(f"{V1}/{path}", "text/plain"))
        expected = before + sum(BUSY.values())
        assert soon(lambda: len(descendants(victim)) >= expected)
        assert soon(lambda: len(watchers(victim)) == 1)
        time.sleep(0.3)  # until traps are set
        left = descendants(victim)
        os.kill(victim, signal.SIGKILL)
        assert soon_gone(*left), [stat(each) for each in left if is_alive(each)]


def test_nothing_outlives_a_killed_server_for_long(serve: Serve) -> None:
    server = serve(commands=COMMANDS)
    assert watchers(server.process.pid) == set()
    kill_in_mid_run(server, server.process.pid)


def start_and_die() -> None:
    """Run in a process of its own: it is killed between the start of a command and the end of that call."""

    def fatal(*given: Any) -> int:
        pid = spawn(*given)
        print(pid, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
        return pid

    setattr(children_module, "spawn", fatal)  # noqa: B010 - mypy knows it as a function
    runs = Runs(output_limit=4096)
    runs.start_loop()
    runs._roll.expect(1)  # for which the watcher is started
    time.sleep(2)
    ask(runs, sh("sleep 1000"))


def test_command_that_was_just_started_does_not_outlive_a_killed_server() -> None:
    script = "from tests import test_watcher; test_watcher.start_and_die()"
    argv = [sys.executable, "-c", script]
    died = subprocess.run(argv, cwd=HERE, stdout=subprocess.PIPE, text=True, timeout=60, check=False)
    assert died.returncode == -signal.SIGKILL
    assert soon_gone(int(died.stdout))


@pytest.mark.lab
def test_nothing_outlives_the_killed_server_of_an_ordinary_user() -> None:
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        server = as_nobody(folder, port)
        try:
            server.wait_until_ready()
            kill_in_mid_run(server, server.process.pid)
        finally:
            server.stop()


@pytest.mark.lab
def test_nothing_outlives_a_killed_server_in_a_container_whose_session_began_outside(tmp_path: Path) -> None:
    """As with ``docker exec``: there getsid() is 0 for whoever has no session inside."""
    port = free_port()
    config = configuration(tmp_path, commands=COMMANDS)
    argv = [sys.executable, "tinytracer.py", "--config", str(config), "--listen", f"127.0.0.1:{port}"]
    first = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child", *sh('"$@" & wait; sleep 60')]
    container = Server([*first, "sh", *argv], port)
    try:
        container.wait_until_ready()
        (shell,) = children_of(container.process.pid)
        (server,) = children_of(shell)
        kill_in_mid_run(container, server)
    finally:
        container.process.kill()  # the first process of a namespace takes no other signal
        container.stop()


def test_nothing_outlives_a_killed_worker_of_gunicorn_and_the_next_one_has_its_own_watcher(
    tmp_path: Path,
) -> None:
    port = free_port()
    environ = {"TINYTRACER_CONFIG": str(configuration(tmp_path, commands=COMMANDS))}
    argv = ["-m", "gunicorn", "--config", "examples/gunicorn.conf.py", "--bind", f"127.0.0.1:{port}"]
    server = Server([sys.executable, *argv, "tinytracer:application"], port, environ)
    try:
        server.wait_until_ready()
        (worker,) = server.children()
        kill_in_mid_run(server, worker)
        server.wait_until_ready()
        (worker,) = server.children()
        connection = server.begin(f"{V1}/sleep")
        assert soon(lambda: len(watchers(worker)) == 1)
        connection.close()
    finally:
        server.stop()


def test_nothing_outlives_a_killed_one_file_server(pyz: Path, tmp_path: Path) -> None:
    file = shutil.copy(pyz, tmp_path)
    port = free_port()
    config = configuration(tmp_path, commands=COMMANDS)
    argv = [sys.executable, "-I", "-S", str(file), "--config", str(config), "--listen", f"127.0.0.1:{port}"]
    server = Server(argv, port, cwd=tmp_path)
    try:
        server.wait_until_ready()
        os.unlink(file)  # it is replaced by the next version, say
        kill_in_mid_run(server, server.process.pid)
    finally:
        server.stop()


def test_nothing_outlives_a_killed_server_on_a_python_that_lacks_calls_of_the_kernel(tmp_path: Path) -> None:
    """Some builds of Python leave them out, for they are made on an old system."""
    lacking = "import os, signal\ndel os.pidfd_open, os.memfd_create, signal.pidfd_send_signal\n"
    port = free_port()
    config = configuration(tmp_path, commands=COMMANDS)
    script = (
        f"{lacking}import sys, tinytracer\nfrom lookingglass import roll\n"
        f"roll.PROGRAM = {lacking!r} + roll.PROGRAM\n"
        f"sys.exit(tinytracer.main(['--config', {str(config)!r}, '--listen', '127.0.0.1:{port}']))"
    )
    server = Server([sys.executable, "-W", "ignore", "-c", script], port)
    try:
        server.wait_until_ready()
        kill_in_mid_run(server, server.process.pid)
    finally:
        server.stop()


def test_server_that_ends_normally_leaves_no_watcher(serve: Serve) -> None:
    server = serve(commands=COMMANDS)
    connection = server.begin(f"{V1}/stubborn")
    assert soon(lambda: len(watchers(server.process.pid)) == 1)
    left = descendants(server.process.pid)
    assert len(left) >= 2
    server.process.terminate()
    assert server.process.communicate(timeout=60)[1].count("watcher") == 0
    assert server.process.returncode == 0
    assert soon_gone(*left)
    connection.close()


@pytest.mark.parametrize("first", ["server", "watcher"])
def test_server_and_watcher_that_are_told_to_end_together_end_quietly(serve: Serve, first: str) -> None:
    """So systemd does it; the watcher stays for what the server cannot end any more."""
    server = serve(commands=COMMANDS)
    with server.begin(f"{V1}/stubborn"), server.begin(f"{V1}/hermit", "text/plain") as hermit:
        read_until(hermit, rb"[0-9]+\n")
        assert soon(lambda: len(watchers(server.process.pid)) == 1)
        (watching,) = watchers(server.process.pid)
        left = descendants(server.process.pid)
        both = [server.process.pid, watching]
        if first == "watcher":
            os.kill(watching, signal.SIGTERM)
            time.sleep(0.3)
            assert is_alive(watching)
        for each in both if first == "server" else both[::-1]:
            os.kill(each, signal.SIGTERM)
        assert server.process.communicate(timeout=60)[1].count("watcher") == 0
        assert server.process.returncode == 0
        assert soon_gone(*left)


def test_only_the_watcher_is_deaf_to_sigterm(runs: Runs) -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    viewer = ask(runs, sh("grep SigBlk /proc/self/status"))
    assert to_the_end(viewer)[0] == f"SigBlk:\t{0:016x}\n"
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before


def test_checking_and_importing_start_no_watcher(tmp_path: Path) -> None:
    config = configuration(tmp_path, commands=COMMANDS)
    script = (
        "import sys, tinytracer\n"
        "started = []\n"
        "sys.addaudithook(lambda event, args: event == 'subprocess.Popen' and started.append(args[1]))\n"
        f"tinytracer.main(['check', '--config', {str(config)!r}])\n"
        f"print(any({roll_module.PROGRAM!r} in argv for argv in started), len(started))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script],
        cwd=HERE,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "valid" in done.stdout
    assert done.stdout.splitlines()[-1] == "False 2"  # a ping of each family


# --- a watcher that is killed, or cannot be started


def test_killed_watcher_is_replaced_and_the_new_one_knows_all(serve: Serve) -> None:
    server = serve(commands=COMMANDS)
    connection = server.begin(f"{V1}/other", "text/plain")
    assert soon(lambda: len(watchers(server.process.pid)) == 1)
    (first,) = watchers(server.process.pid)
    os.kill(first, signal.SIGKILL)
    assert soon(lambda: watchers(server.process.pid) - {first})
    assert stat(first) == []  # reaped
    assert server.json(f"{V1}/true")["status"] == "success"
    kill_in_mid_run(server, server.process.pid)
    connection.close()


def test_watcher_that_cannot_be_started_stops_no_run_and_is_told_once(
    runs: Runs, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(roll_module, "_python", lambda: "/no/such/python")
    for _ in range(5):
        assert to_the_end(ask(runs, ("true",)))[1].status == 0
    assert caplog.text.count("The watcher cannot be started") == 1


def test_watcher_that_ends_at_once_is_tried_again_less_and_less_often(
    runs: Runs, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    started: list[float] = []

    def python_that_fails() -> str:
        started.append(time.monotonic())
        return "/bin/false"

    monkeypatch.setattr(roll_module, "_python", python_that_fails)
    viewer = ask(runs, ("sleep", "1000"))
    assert soon(lambda: len(started) == 3)
    assert started[1] - started[0] > 0.9
    assert started[2] - started[1] > 1.9
    assert caplog.text.count("The watcher has ended") == 1
    viewer.close()


def test_host_whose_python_is_another_program_uses_the_one_that_belongs_to_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert roll_module._python() == sys.executable
    for each in ("/usr/bin/uwsgi", "", None):
        monkeypatch.setattr(sys, "executable", each)
        found = roll_module._python()
        assert os.path.dirname(found) == os.path.join(sys.base_exec_prefix, "bin")
        assert os.access(found, os.X_OK)


# --- at rest


def test_watcher_goes_when_nothing_has_run_for_a_while_and_comes_again(
    runs: Runs, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(roll_module, "REST", 0.2)
    before, files = children(), len(open_files())
    for _ in range(3):
        viewer = ask(runs, ("sleep", "1000"))
        assert len(children() - before) == 2
        time.sleep(0.5)
        assert len(children() - before) == 2  # not while something runs
        viewer.close()
        assert soon(lambda: children() <= before)
    assert len(open_files()) <= files + 3  # the loop's two and the table
    assert not caplog.text
    for number in range(20):  # also at the very moment
        to_the_end(ask(runs, ("true",)))
        time.sleep(0.19 + number / 1000)
    assert not caplog.text


def test_children_inherit_nothing_of_the_watcher_and_it_nothing_of_us(runs: Runs) -> None:
    with open(__file__, "rb") as secret:
        os.set_inheritable(secret.fileno(), True)
        viewer = ask(runs, python(LISTING))
        assert await_text(viewer) == "['0', '1', '2', '3']\n"
        (found,) = watchers(os.getpid())
        assert soon(lambda: len(os.listdir(f"/proc/{found}/fd")) == 4)
    names = [os.readlink(f"/proc/{found}/fd/{each}") for each in sorted(os.listdir(f"/proc/{found}/fd"))]
    assert [each.partition(":")[0] for each in names] == ["socket", "/memfd", "/dev/null", "anon_inode"]
    assert os.getsid(found) == found
    viewer.close()


def test_watcher_is_small(runs: Runs) -> None:
    viewer = ask(runs, ("sleep", "1000"))
    assert soon(lambda: watchers(os.getpid()))
    (found,) = watchers(os.getpid())
    rollup = Path(f"/proc/{found}/smaps_rollup").read_text()
    (pss,) = [int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:")]
    assert pss < 8000  # KiB, in a process with another Python even less is its own
    viewer.close()


# --- nobody else is signalled


@pytest.fixture
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "1000"], start_new_session=True) as process:
        yield process
        process.kill()


def test_group_whose_number_was_given_to_a_stranger_is_left_alone(
    stranger: subprocess.Popen[bytes],
) -> None:
    started = int(stat(stranger.pid)[watcher.STARTED])
    for number in (0, signal.SIGTERM, signal.SIGKILL):
        assert not watcher.signal_group(stranger.pid, started - 1, number)
    assert stranger.poll() is None
    assert watcher.signal_group(stranger.pid, watcher.now(), 0)
    assert watcher.signal_group(stranger.pid, started, signal.SIGTERM)
    assert stranger.wait(60) == -signal.SIGTERM
    assert not watcher.signal_group(stranger.pid, watcher.now(), 0)


def test_only_who_may_write_to_the_pipe_from_another_session_holds_it() -> None:
    reader, writer = os.pipe()
    inode = os.fstat(reader).st_ino
    script = "import time; time.sleep(1000)"
    options: dict[str, dict[str, Any]] = {
        "writer": {"stdout": writer, "start_new_session": True},
        "reader": {"stdin": reader, "start_new_session": True},
        "in our session": {"stdout": writer},
        "stranger": {"start_new_session": True},
    }
    started = {
        name: subprocess.Popen([sys.executable, "-c", script], **more) for name, more in options.items()
    }
    try:
        watcher.end_holders({inode}, 0, None)  # whose session is not known
        assert all(each.poll() is None for each in started.values())
        watcher.end_holders({inode}, os.getpid(), os.getsid(0))
        assert started.pop("writer").wait(60) == -signal.SIGKILL
        time.sleep(0.2)
        assert all(each.poll() is None for each in started.values())
    finally:
        for each in started.values():
            each.kill()
            each.wait()
        os.close(reader)
        os.close(writer)


# --- who leaves the session while the server lives


def test_grandchild_in_another_session_ends_soon_after_the_run(runs: Runs) -> None:
    viewer = ask(runs, HERMIT)
    pid = first_number(viewer)
    assert is_alive(pid)
    viewer.close()
    assert soon_gone(pid)


def test_grandchild_in_another_session_ends_when_its_parent_has_left_it_alone(runs: Runs) -> None:
    viewer = ask(runs, sh(HERMIT[2].replace("wait", "sleep 0.3")))
    text, end = to_the_end(viewer)
    assert (end.reason, end.status) == ("exit", 0)
    assert soon_gone(int(text))


def test_what_leads_to_a_router_may_leave_a_process_that_stays(runs: Runs) -> None:
    """As ssh does with ControlPersist: others use the connection as well."""
    viewer = ask(runs, HERMIT, stderr=None)
    pid = first_number(viewer)
    try:
        viewer.close()
        time.sleep(1)
        assert is_alive(pid)
    finally:
        os.kill(pid, signal.SIGKILL)
