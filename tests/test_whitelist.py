"""The whitelist as data: which command a path names, which template is chosen, what is executed."""

from __future__ import annotations

import subprocess

import pytest

from commands import Command, Invocation, Router, Template
from lookingglass.problems import Problem
from rfc8522 import Vocabulary, path_of

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
            "prefix4": Template(("ip", "{{NETWORK}}", "{{LENGTH}}", "{{MASK}}")),
        }
    },
)
ROUTER = Router("r", 0, {"ping": PING, "show route": ROUTE, "show": PING})
OTHER = Router("other", 1, {"show route origin": ROUTE, "ping fast": PING})
REMOTE = ROUTER._replace(via=("ssh", "lg@r1"), sources={4: "192.0.2.9"}, vrfs=("mgmt",))
LOCAL = Vocabulary.of([ROUTER])


@pytest.mark.parametrize(
    ("path", "command", "target"),
    [
        ("ping/192.0.2.1", PING, "192.0.2.1"),
        ("PING/192.0.2.1", PING, "192.0.2.1"),
        ("Show/Route/2001:DB8::/48", ROUTE, "2001:DB8::/48"),
        ("show/route", ROUTE, ""),
        ("show/routes/x", PING, "routes/x"),
        ("ping/", PING, ""),
        ("ping/192.0.2.1/", PING, "192.0.2.1"),
        ("show/route/192.0.2.0/24/", ROUTE, "192.0.2.0/24"),
        ("show/route/", ROUTE, ""),
    ],
)
def test_longest_command_name_wins(path: str, command: Command, target: str) -> None:
    assert LOCAL.split(path, ROUTER) == (command, target)


@pytest.mark.parametrize("path", ["", "/", "//", "pin/192.0.2.1", "ping%20x", "//ping/x", "ping x"])
def test_unknown_command_is_404(path: str) -> None:
    with pytest.raises(Problem) as caught:
        LOCAL.split(path, ROUTER)
    assert (caught.value.status, caught.value.failure_source) == (404, "visitor")


@pytest.mark.parametrize("path", ["show/route/origin/64500", "SHOW/ROUTE/ORIGIN", "ping/fast", "ping/fast/x"])
def test_command_of_another_router_is_no_target_here(path: str) -> None:
    both = Vocabulary.of([ROUTER, OTHER])
    with pytest.raises(Problem) as caught:
        both.split(path, ROUTER)
    assert caught.value.status == 404
    assert both.split(path, OTHER)[0] in (ROUTE, PING)


@pytest.mark.parametrize(("name", "target"), [("ping", "x"), ("show route", "192.0.2.0/24"), ("show", "")])
def test_path_of_a_command_leads_back_to_it(name: str, target: str) -> None:
    command, text = LOCAL.split(path_of(name, target), ROUTER)
    assert (command, text) == (ROUTER.commands[name], target)


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


def test_parser_offers_json_once() -> None:
    assert PING.formats == ("text/plain", "application/json")
    assert ROUTE.formats == ("text/plain",)
    assert ROUTE._replace(parser="bird").formats == ("text/plain", "application/json")


def test_target_is_one_argv_element_or_a_part_of_one() -> None:
    argv = ROUTER.argv(ROUTE.template(4), 4, "192.0.2.1", "")
    assert argv == ("birdc", "show route for 192.0.2.1 all")


def test_prefix_is_given_in_its_parts_where_a_router_wants_them() -> None:
    argv = ROUTER.argv(ROUTE.template(4, kind="prefix"), 4, "192.0.2.0/24", "")
    assert argv == ("ip", "192.0.2.0", "24", "255.255.255.0")


def test_value_that_looks_like_a_placeholder_is_not_replaced_again() -> None:
    template = Template(("x", "{{VRF}}", "{{TARGET}}"))
    argv = REMOTE._replace(via=()).argv(template, 4, "{{SOURCE}}", "{{TARGET}}")
    assert argv == ("x", "{{TARGET}}", "{{SOURCE}}")


def test_remote_argv_is_quoted_for_a_shell_or_joined_for_a_cli() -> None:
    template = Template(("show", "vrf {{VRF}}", "{{SOURCE}};$(id)"))
    assert REMOTE.argv(template, 4, "", "mgmt") == ("ssh", "lg@r1", "show 'vrf mgmt' '192.0.2.9;$(id)' 2>&1")
    silent = template._replace(stderr=False)
    assert REMOTE.argv(silent, 4, "", "mgmt")[2].endswith(" 2>/dev/null")
    assert REMOTE._replace(remote="cli").argv(template, 4, "", "mgmt")[2] == "show vrf mgmt 192.0.2.9;$(id)"


@pytest.mark.parametrize(
    ("router", "stderr", "expected"),
    [
        (ROUTER, True, subprocess.STDOUT),
        (ROUTER, False, subprocess.DEVNULL),
        (REMOTE, True, None),  # what leads to a router complains in the log
        (REMOTE, False, None),
    ],
)
def test_standard_error_is_the_commands_or_the_logs(
    router: Router, stderr: bool, expected: int | None
) -> None:
    invocation = router.invocation(Template(("x",), stderr, skip=3), 4, "", "", None)
    assert (invocation.stderr, invocation.skip) == (expected, 3)


def test_equal_invocations_are_one_key_and_others_are_not() -> None:
    base = Invocation(("ping", "192.0.2.1"))
    assert {base: 1}[Invocation(("ping", "192.0.2.1"))] == 1
    others = [
        base._replace(skip=1),
        base._replace(stderr=None),
        base._replace(stderr=subprocess.DEVNULL),
        Invocation(("ping", "192.0.2.2")),
    ]
    assert base not in others


@pytest.mark.parametrize(
    ("remote", "status", "text", "succeeded"),
    [
        ("shell", 0, "", True),
        ("shell", 255, "an answer", False),
        ("cli", 255, "an answer", True),
        ("cli", 255, " \n", False),
        ("cli", 1, "an answer", False),
        ("cli", None, "an answer", False),
        ("shell", None, "an answer", False),
    ],
)
def test_success_is_judged_by_status_and_by_what_a_cli_has_said(
    remote: str, status: int | None, text: str, succeeded: bool
) -> None:
    assert REMOTE._replace(remote=remote).succeeded(status, text) is succeeded


@pytest.mark.parametrize(
    ("status", "fails"), [(255, True), (127, True), (126, True), (1, False), (None, False)]
)
def test_exit_status_of_what_leads_to_a_router_is_no_fail_of_the_command(
    status: int | None, fails: bool
) -> None:
    assert bool(REMOTE.failure(status)) is fails
    assert not ROUTER.failure(status)
