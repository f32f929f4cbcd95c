"""Running one command: real children, what they leave behind, and what never ran."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest

import rfc8522
from commands import Command, Job, Router, Template
from lookingglass import runs as runs_module
from lookingglass.problems import Problem
from lookingglass.runs import Runs, Viewer
from rfc8522 import End
from tests.support import children, gone_within, is_alive, python, sh

Ask = Callable[..., Viewer]


def to_the_end(viewer: Viewer) -> tuple[str, End]:
    while viewer.read(1.0) is not None:
        pass
    result = viewer.result()
    viewer.close()
    return result


class Slots:
    """Count slots taken and given back."""

    def __init__(self) -> None:
        self.taken = 0
        self.returned = 0

    def __call__(self) -> Callable[[], None]:
        self.taken += 1
        return self.give_back

    def give_back(self) -> None:
        self.returned += 1


@pytest.fixture
def slots() -> Slots:
    return Slots()


@pytest.fixture
def ask(slots: Slots) -> Iterator[Ask]:
    """Yield a function that asks one registry of Runs; afterwards no child is left and no slot taken."""
    before = children()
    runs = Runs(output_limit=4096)

    def view(argv: tuple[str, ...], seconds: float = 10, ceiling: float = 10, **job: object) -> Viewer:
        return runs.view(Job(argv, **job), slots, seconds, ceiling)  # type: ignore[arg-type]

    yield view
    runs.close()
    assert children() == before
    assert slots.taken == slots.returned


def first_number(viewer: Viewer) -> int:
    """Wait for a number in the output, the pid that a child tells."""
    text = ""
    while "\n" not in text:
        text += viewer.read(5.0) or ""
    return int(text)


def test_output_and_exit_status_come_back(ask: Ask) -> None:
    text, end = to_the_end(ask(sh("echo one; echo two >&2; exit 3")))
    assert text == "one\ntwo\n"
    assert (end.reason, end.status) == ("exit", 3)
    assert 0 < end.runtime < 5
    assert abs(end.performed_at - time.time()) < 5


def test_death_by_a_signal_is_a_negative_status(ask: Ask) -> None:
    _, end = to_the_end(ask(sh("kill -9 $$")))
    assert (end.reason, end.status) == ("exit", -9)


def test_unfinished_line_comes_before_its_end(ask: Ask) -> None:
    viewer = ask(sh("printf begin; sleep 5"))
    assert viewer.read(3.0) == "begin"
    viewer.close()


def test_standard_error_can_be_left_out_and_first_lines_skipped(ask: Ask) -> None:
    text, _ = to_the_end(
        ask(
            sh("printf 'one\\ntw'; sleep 0.05; printf 'o\\nthree\\n'; echo no >&2"),
            stderr=subprocess.DEVNULL,
            skip=2,
        )
    )
    assert text == "three\n"


@pytest.mark.parametrize(
    ("printed", "shown"),
    [
        (b"a\r\nb\rc\n", "a\nb\nc\n"),
        (b"\x1b[31m\x00\x07\x7f", "␛[31m␀␇␡"),
        ("\u202eevil\u2028line\u2066\x9b\u200f".encode(), "�evil�line���"),
        (b"\xff\xfe caf\xc3\xa9", "�� café"),
        (b"cut \xe2\x82", "cut �"),
        (b"tab\tstays\n", "tab\tstays\n"),
    ],
)
def test_hostile_output_is_neutralised(ask: Ask, printed: bytes, shown: str) -> None:
    text, _ = to_the_end(ask(python(f"import os; os.write(1, {printed!r})")))
    assert text == shown


def test_character_split_between_writes_is_one_character(ask: Ask) -> None:
    script = "import os, time\nfor b in '€é😀'.encode(): os.write(1, bytes([b])); time.sleep(0.02)"
    text, _ = to_the_end(ask(python(script)))
    assert text == "€é😀"


def test_time_limit_ends_the_run_with_what_was_printed(ask: Ask) -> None:
    viewer = ask(sh("echo $$; sleep 1000"), seconds=0.5)
    pid = first_number(viewer)
    started = time.monotonic()
    _, end = to_the_end(viewer)
    assert end.reason == "time"
    assert time.monotonic() - started < 1.5
    assert not is_alive(pid)


def test_child_that_ignores_sigterm_is_killed_after_the_grace(ask: Ask) -> None:
    viewer = ask(sh("trap '' TERM; echo $$; while :; do sleep 0.1; done"), seconds=0.3)
    pid = first_number(viewer)
    _, end = to_the_end(viewer)
    assert (end.reason, end.status) == ("time", -9)
    assert end.runtime < 0.3 + runs_module.GRACE + 0.7
    assert not is_alive(pid)


def test_output_limit_ends_the_run_and_cuts_exactly(ask: Ask) -> None:
    text, end = to_the_end(ask(("yes",)))
    assert end.reason == "full"
    assert len(text) == 4096


def test_output_of_exactly_the_limit_is_whole(ask: Ask) -> None:
    text, end = to_the_end(ask(python("print('x' * 4096, end='')")))
    assert (len(text), end.reason, end.status) == (4096, "exit", 0)


def test_run_that_is_being_stopped_takes_no_new_viewer(ask: Ask, slots: Slots) -> None:
    stubborn = sh("trap 'echo term' TERM; echo $$; while :; do sleep 0.05; done")
    first = ask(stubborn, seconds=0.5)
    pid = first_number(first)
    seen = ""
    while "term" not in seen:  # its time is up, SIGKILL is yet to come
        seen += first.read(5.0) or ""
    second = ask(stubborn, seconds=5)
    assert first_number(second) != pid
    assert slots.taken == 2
    assert to_the_end(first)[1].reason == "time"
    second.close()


def test_run_that_was_left_and_asked_again_is_ended_with_the_rest(slots: Slots) -> None:
    runs = Runs(4096)
    stubborn = Job(sh("trap '' TERM; echo $$; while :; do sleep 0.1; done"))
    first = runs.view(stubborn, slots, 10, 10)
    old = first_number(first)
    first.close()
    second = runs.view(stubborn, slots, 10, 10)
    new = first_number(second)
    assert new != old
    runs.close()
    assert not is_alive(old)
    assert not is_alive(new)
    assert slots.taken == slots.returned == 2


def test_end_that_a_viewer_has_seen_stays_the_same(ask: Ask) -> None:
    script = sh("echo begin; sleep 0.8; echo end")
    patient, hasty = ask(script), ask(script, seconds=0.3)
    while hasty.read(1.0) is not None:
        pass
    to_the_end(patient)  # the Run has ended meanwhile, and well
    text, end = hasty.result()
    assert (text, end.reason) == ("begin\n", "time")
    hasty.close()


def test_viewer_of_a_run_that_never_falls_silent_has_its_own_time(ask: Ask) -> None:
    script = sh("while :; do echo x; sleep 0.01; done")
    patient, hasty = ask(script), ask(script, seconds=0.3)
    started = time.monotonic()
    while hasty.read(1.0) is not None:
        assert time.monotonic() - started < 2
    assert hasty.result()[1].reason == "time"
    hasty.close()
    patient.close()


def test_what_is_printed_at_the_very_end_is_not_lost(ask: Ask) -> None:
    script = sh("trap 'echo bye; exit' TERM; echo begin; while :; do sleep 0.05; done")
    text, end = to_the_end(ask(script, seconds=0.5))
    assert (text[:6], text[-4:], end.reason) == ("begin\n", "bye\n", "time")


def test_last_viewer_leaving_ends_the_process(ask: Ask) -> None:
    first = ask(sh("echo $$; exec sleep 1000"))
    second = ask(sh("echo $$; exec sleep 1000"))
    pid = first_number(first)
    first.close()
    assert not gone_within(0.5, pid)
    assert first_number(second) == pid
    second.close()
    assert gone_within(1.5, pid)


def test_grandchild_that_holds_the_pipe_does_not_hold_the_run(ask: Ask) -> None:
    started = time.monotonic()
    text, end = to_the_end(ask(sh("sleep 1000 & echo $!")))
    assert (end.reason, end.status) == ("exit", 0)
    assert time.monotonic() - started < 1.5
    assert gone_within(0.5, int(text))


def test_grandchild_in_another_session_does_not_hold_the_run(ask: Ask) -> None:
    started = time.monotonic()
    _, end = to_the_end(ask(sh("setsid sleep 3 & echo $!")))
    assert end.status == 0
    assert time.monotonic() - started < 1.5


def test_whole_group_goes_when_the_last_viewer_leaves(ask: Ask) -> None:
    viewer = ask(sh("trap '' TERM; (trap '' TERM; exec sleep 1000) & echo $!; wait"))
    pid = first_number(viewer)
    viewer.close()
    assert gone_within(1.5, pid)


def test_process_that_closes_its_output_is_waited_for(ask: Ask) -> None:
    text, end = to_the_end(ask(sh("exec >&- 2>&-; sleep 0.3; exit 4")))
    assert (text, end.status) == ("", 4)
    assert end.runtime >= 0.3


def test_same_question_shares_one_process_from_the_beginning(ask: Ask, slots: Slots) -> None:
    script = sh("echo begin; sleep 0.3; echo end")
    first = ask(script)
    assert first.read(3.0) == "begin\n"
    second = ask(script)
    assert second.read(3.0) == "begin\n"
    assert to_the_end(first)[0] == to_the_end(second)[0] == "begin\nend\n"
    assert slots.taken == 1


def test_after_its_end_the_same_question_runs_again(ask: Ask, slots: Slots) -> None:
    to_the_end(ask(("true",)))
    to_the_end(ask(("true",)))
    assert slots.taken == 2


def test_shorter_time_of_one_viewer_leaves_the_other_its_run(ask: Ask) -> None:
    script = sh("echo begin; sleep 1; echo end")
    patient, hasty = ask(script), ask(script, seconds=0.3)
    text, end = to_the_end(hasty)
    assert (text, end.reason) == ("begin\n", "time")
    assert end.runtime < 0.9
    text, end = to_the_end(patient)
    assert (text, end.reason) == ("begin\nend\n", "exit")


def test_new_viewers_do_not_keep_a_run_beyond_its_ceiling(ask: Ask) -> None:
    script = sh("sleep 1000")
    viewers = []
    started = time.monotonic()
    for _ in range(4):
        viewers.append(ask(script, seconds=10, ceiling=0.8))
        time.sleep(0.1)
    for viewer in viewers:
        assert to_the_end(viewer)[1].reason == "time"
    assert time.monotonic() - started < 0.8 + 1.5


def test_missing_program_is_the_routers_fault_and_takes_no_slot(ask: Ask, slots: Slots) -> None:
    with pytest.raises(Problem) as caught:
        ask(("no-such-program-here",))
    assert caught.value.status == 502
    assert "no-such-program-here" not in str(caught.value)
    assert (slots.taken, slots.returned) == (1, 1)


def test_file_that_cannot_be_executed_is_the_routers_fault(ask: Ask) -> None:
    with pytest.raises(Problem) as caught:
        ask(("/etc/passwd",))
    assert caught.value.status == 502


def test_machine_without_descriptors_is_503() -> None:
    script = """
import resource
from commands import Job
from lookingglass import runs as commands
resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))
try:
    commands.Runs(100).view(commands.Job(("true",)), lambda: lambda: None, 1, 1)
except commands.Problem as error:
    print(error.status)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout == "503\n"


def test_machine_without_threads_is_503_and_leaves_no_child(
    monkeypatch: pytest.MonkeyPatch, ask: Ask
) -> None:
    def refuse(*arguments: object) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(Problem) as caught:
            ask(("sleep", "1000"))
    assert caught.value.status == 503


def test_closing_ends_every_run_and_starts_no_more(slots: Slots) -> None:
    runs = Runs(4096)
    script = sh("trap '' TERM; echo $$; while :; do sleep 0.1; done")
    viewer = runs.view(Job(script), slots, 10, 10)
    pid = first_number(viewer)
    started = time.monotonic()
    runs.close()
    assert time.monotonic() - started < 2.0
    assert not is_alive(pid)
    assert to_the_end(viewer)[1].reason == "left"
    with pytest.raises(Problem) as caught:
        runs.view(Job(("true",)), slots, 10, 10)
    assert caught.value.status == 503
    assert slots.taken == slots.returned == 1


def test_child_gets_a_minimal_environment_and_an_empty_input(
    ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "of the operator")
    text, _ = to_the_end(ask(sh("env | sort; cat; pwd")))
    seen = dict(line.split("=", 1) for line in text.splitlines()[:-1])
    assert {name: seen.get(name) for name in runs_module.ENVIRONMENT} == runs_module.ENVIRONMENT
    assert set(seen) - set(runs_module.ENVIRONMENT) <= {"PWD", "OLDPWD", "SHLVL", "_"}  # the shell's own
    assert text.splitlines()[-1] == "/"


def test_child_inherits_no_descriptor(ask: Ask) -> None:
    with open(__file__, "rb") as secret:
        os.set_inheritable(secret.fileno(), True)
        text, _ = to_the_end(ask(("ls", "-l", "/proc/self/fd")))
    assert "test_commands" not in text


def test_fifty_runs_at_once_all_end(ask: Ask, slots: Slots) -> None:
    viewers = [ask(sh(f"sleep 0.2; echo {number}")) for number in range(50)]
    assert [to_the_end(viewer)[0] for viewer in viewers] == [f"{number}\n" for number in range(50)]
    assert slots.taken == 50


PING = Command(
    "ping",
    "Ping",
    "host",
    {
        "text/plain": {
            "cmd4": Template(("ping", "-4", "{{TARGET}}")),
            "cmd6": Template(("ping", "-6", "{{TARGET}}")),
        },
        "application/json": {"cmd4": Template(("ping", "--json", "{{TARGET}}"))},
    },
)
ROUTE = Command(
    "show route",
    "Route",
    "addr",
    {
        "text/plain": {
            "cmd": Template(("birdc", "show route for {{TARGET}} all")),
            "prefix4": Template(("ip", "{{TARGET}}")),
        }
    },
)
ROUTER = Router("r", 0, {"ping": PING, "show route": ROUTE, "show": PING})


@pytest.mark.parametrize(
    ("path", "command", "target"),
    [
        ("ping/192.0.2.1", PING, "192.0.2.1"),
        ("PING/192.0.2.1", PING, "192.0.2.1"),
        ("Show/Route/2001:DB8::/48", ROUTE, "2001:DB8::/48"),
        ("show/route", ROUTE, ""),
        ("show/routes/x", PING, "routes/x"),
        ("ping/", PING, ""),
    ],
)
def test_longest_command_name_wins(path: str, command: Command, target: str) -> None:
    assert rfc8522.find(ROUTER, path) == (command, target)


@pytest.mark.parametrize("path", ["", "/", "pin/192.0.2.1", "ping%20x", "//ping/x"])
def test_unknown_command_is_404(path: str) -> None:
    with pytest.raises(Problem) as caught:
        rfc8522.find(ROUTER, path)
    assert caught.value.status == 404


def test_template_is_chosen_by_family_prefix_and_format() -> None:
    assert PING.template(6).argv[1] == "-6"
    assert PING.template_of("application/json", 4) == Template(("ping", "--json", "{{TARGET}}"))
    assert PING.template_of("application/json", 6) is None
    assert ROUTE.template(4).argv[0] == "birdc"
    assert ROUTE.template(4, kind="prefix").argv[0] == "ip"
    assert ROUTE.template(6, kind="prefix").argv[0] == "birdc"
    json_too = {**ROUTE.templates, "application/json": {"cmd": Template(("ip", "-j", "{{TARGET}}"))}}
    both = ROUTE._replace(templates=json_too)
    assert both.template_of("application/json", 4) == Template(("ip", "-j", "{{TARGET}}"))
    assert both.template_of("application/json", 4, kind="prefix") is None
    assert (PING.families(), ROUTE.families()) == ((4, 6), (4, 6))
    only6 = PING._replace(templates={"text/plain": {"cmd6": Template(("ping",))}})
    assert only6.families() == (6,)
    with pytest.raises(LookupError):
        only6.template(4)


def test_target_is_one_argv_element_or_a_part_of_one() -> None:
    argv = ROUTER.argv(ROUTE.template(4), 4, "192.0.2.1", "")
    assert argv == ("birdc", "show route for 192.0.2.1 all")


def test_remote_argv_is_quoted_for_a_shell_or_joined_for_a_cli() -> None:
    router = ROUTER._replace(via=("ssh", "lg@r1"), sources={4: "192.0.2.9"}, vrfs=("mgmt",))
    template = Template(("show", "vrf {{VRF}}", "{{SOURCE}};$(id)"))
    assert router.argv(template, 4, "", "mgmt") == ("ssh", "lg@r1", "show 'vrf mgmt' '192.0.2.9;$(id)' 2>&1")
    assert router._replace(remote="cli").argv(template, 4, "", "mgmt")[2] == "show vrf mgmt 192.0.2.9;$(id)"
