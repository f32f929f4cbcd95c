"""Argv templates: lists, the original program's strings, placeholders, and families that are off."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from commands import PLACEHOLDERS, Router
from lookingglass import configuration
from lookingglass.configuration import ConfigurationError
from tests.support import HERE, changed, errors_of

ORIGINAL = [
    (
        "mtr -4zboLDRSNBAWVGJMXI -rwc10 -i 0.2 -m 50 {{TARGET}} 2> /dev/null | tail -n+2",
        ("mtr", "-4zboLDRSNBAWVGJMXI", "-rwc10", "-i", "0.2", "-m", "50", "{{TARGET}}"),
        False,
        1,
    ),
    (
        "traceroute -A -q5 -w 2 -6 -m 50 '{{TARGET}}' 2> /dev/null",
        ("traceroute", "-A", "-q5", "-w", "2", "-6", "-m", "50", "{{TARGET}}"),
        False,
        0,
    ),
    ("ping6 -c 10 {{TARGET}} 2>&1", ("ping6", "-c", "10", "{{TARGET}}"), True, 0),
    ("birdc -r 'show route for {{TARGET}} all'", ("birdc", "-r", "show route for {{TARGET}} all"), True, 0),
    ("x \"{{TARGET}}\" 'a;b' c\\;d 2>&1 | tail -n +3", ("x", "{{TARGET}}", "a;b", "c;d"), True, 2),
]


@pytest.mark.parametrize(("text", "argv", "stderr", "skip"), ORIGINAL)
def test_command_string_of_the_original_is_translated(
    text: str, argv: tuple[str, ...], stderr: bool, skip: int
) -> None:
    read = configuration.read(changed("commands/ping/cmd4", text), HERE)
    template = read.routers[0].commands["ping"].template(4)
    assert template == (argv, stderr, skip)


SHELL = [
    ("cat /etc/passwd; ping {{TARGET}}", ";"),
    ("mtr '{{TARGET}}' 2> /dev/null | tail -n+2 | perl -pe 's/x/y/'", "|"),
    ("birdc 'show route for {{TARGET}}' | sed -r 's/a/b/'", "|"),
    ("rnd=$RANDOM; dig '@{{TARGET}}'", "rnd="),
    ("FOO=1 ping {{TARGET}}", "FOO="),
    ("ping $(id) {{TARGET}}", "$("),
    ("ping `id` {{TARGET}}", "`"),
    ('ping "$HOME" {{TARGET}}', "$"),
    ('ping "`id`" {{TARGET}}', "`"),
    ("ping {{TARGET}} && id", "&&"),
    ("ping {{TARGET}} || id", "||"),
    ("ping {{TARGET}} &", "&"),
    ("ping {{TARGET}} > /tmp/x", ">"),
    ("ping < /tmp/x {{TARGET}}", "<"),
    ("ping {{TARGET}} *", "*"),
    ("ping {{TARGET}} # why", "#"),
    ("a {{; id {{TARGET}}", "{"),
    ('ping "\\$5" {{TARGET}}', "\\\\$"),
    ("ping {{TARGET}} 2>/dev/null | sed s/a/b/", "|"),
    ("ping 2>/dev/null {{TARGET}}", "2>"),
    ("ping {{TARGET}}\nid", "\\n"),
    ("ping {a,b} {{TARGET}}", "{"),
    ("ping ~ {{TARGET}}", "~"),
    ("(ping {{TARGET}})", "("),
]


@pytest.mark.parametrize(("text", "named"), SHELL)
def test_command_that_needs_a_shell_is_refused_by_name(text: str, named: str) -> None:
    (error,) = errors_of(changed("commands/ping/cmd4", text))
    assert error.startswith("commands.ping.cmd4: ")
    assert f"'{named}' needs a shell" in error


@pytest.mark.parametrize(
    ("text", "argv"),
    [
        ("ping a=b {{TARGET}} ] x!", ("ping", "a=b", "{{TARGET}}", "]", "x!")),
        ("'a=b' {{TARGET}}", ("a=b", "{{TARGET}}")),
    ],
)
def test_what_only_looks_like_shell_is_taken(text: str, argv: tuple[str, ...]) -> None:
    read = configuration.read(changed("commands/ping/cmd4", text), HERE)
    assert read.routers[0].commands["ping"].template(4).argv == argv


def test_unbalanced_quote_is_refused() -> None:
    (error,) = errors_of(changed("commands/ping/cmd4", "ping '{{TARGET}}"))
    assert "cannot be split" in error


# --- placeholders

NOT_OURS = [
    ("{{ TARGET }}", "{{TARGET}}"),
    ("{{target}}", "{{TARGET}}"),
    ("{{Target }}", "{{TARGET}}"),
    ("{{\tTARGET}}", "{{TARGET}}"),
    ("{{TARGT}}", "{{TARGET}}"),
    ("{{HOST}}", "{{TARGET}}"),
    ("{{TARGET|quote}}", "{{TARGET}}"),
    ("{{TARGET", "{{TARGET}}"),
    ("{{TARGET}", "{{TARGET}}"),
    ("{{ TARGET", "{{TARGET}}"),
    ("{{TARGET -c 5", "{{TARGET}}"),
    ("{{{TARGET}}}", "{{TARGET}}"),
    ("{{{{TARGET}}}}", "{{TARGET}}"),
    ("{TARGET}", "{{TARGET}}"),
    ("{TARGET}}", "{{TARGET}}"),
    ("TARGET}}", "{{TARGET}}"),
    ("{{vrf}}", "{{VRF}}"),
    ("{{source4}}", "{{SOURCE}}"),
    ("{{NETMASK}}", "{{MASK}}"),
    ("{{WHO}}", None),
    ("{{}}", None),
    ("{{ }}", None),
    ("{{json .}}", None),
    ("{{print $1}}", None),
    ("{{%d}}", None),
    ("{{\u0422ARGET}}", "{{TARGET}}"),  # a Cyrillic letter
]


@pytest.mark.parametrize(("text", "likely"), NOT_OURS)
@pytest.mark.parametrize("around", ["{}", "--for={}:80", "a {} b"])
def test_double_braces_that_are_no_placeholder_are_refused_in_a_list(
    text: str, likely: str | None, around: str
) -> None:
    argv = ["ping", "-4", around.replace("{}", text), "{{TARGET}}"]
    (error,) = errors_of(changed("commands/ping/cmd4", argv))
    check_refusal(error, likely)


@pytest.mark.parametrize(("text", "likely"), [each for each in NOT_OURS if "$" not in each[0]])
@pytest.mark.parametrize("around", ["{}", "'{}'", '--for="{}:80"'])
def test_double_braces_that_are_no_placeholder_are_refused_in_a_string(
    text: str, likely: str | None, around: str
) -> None:
    (error,) = errors_of(
        changed("commands/ping/cmd4", f"ping -4 {around.replace('{}', text)} '{{{{TARGET}}}}' 2>&1")
    )
    check_refusal(error, likely)


def check_refusal(error: str, likely: str | None) -> None:
    assert error.startswith("commands.ping.cmd4: ")
    assert " is no placeholder" in error
    assert all(f"{{{{{name}}}}}" in error for name in PLACEHOLDERS)
    assert error.endswith(f"Did you mean {likely}?" if likely else "a script of your own.")


@pytest.mark.parametrize("key", ["cmd", "cmd6", "prefix4", "large6"])
@pytest.mark.parametrize("value", [["ping", "{{ TARGET }}"], "ping '{{ TARGET }}'"])
def test_placeholder_that_is_none_is_refused_in_every_template(key: str, value: Any) -> None:
    in_formats = changed("commands/ping/formats", {"application/json": {key: value}})
    for document, where in (
        (changed(f"commands/ping/{key}", value), f"commands.ping.{key}"),
        (in_formats, f"commands.ping.formats.application/json.{key}"),
    ):
        assert any(error.startswith(f"{where}: {{{{ TARGET }}}} is no") for error in errors_of(document))


@pytest.mark.parametrize(
    "argument",
    [
        "--format={json}",
        "{{TARGET}}",
        "[{{TARGET}}]:80",
        "{{TARGET}}{{TARGET}}",
        '{"host": {{TARGET}}}',
        '{"a": {"b": "{{TARGET}}"}}',
        "{ {TARGETS} }",
        "{ if (1) { print } }",
        "{if(1){print}}",
        "{target}",
        "}}",
        "}{",
    ],
)
def test_braces_that_are_nobodys_placeholder_are_taken_in_a_list(argument: str) -> None:
    read = configuration.read(changed("commands/ping/cmd4", ["ping", argument, "{{TARGET}}"]), HERE)
    template = read.routers[0].commands["ping"].template(4)
    assert template.argv == ("ping", argument, "{{TARGET}}")
    expanded = template.expand({"TARGET": "192.0.2.1"})
    assert expanded[1] == argument.replace("{{TARGET}}", "192.0.2.1")


def test_each_mistake_of_an_argv_is_named_once() -> None:
    argv = ["{{TARGET}}", "{{WHO}}", "{{WHO}}", "{{ TARGET }}"]
    errors = errors_of(changed("commands/ping/cmd4", argv))
    assert [error.split(" ")[1] for error in errors] == ["the", "{{WHO}}", "{{"]
    errors = errors_of(changed("commands/ping/cmd4", "ping {{WHO}}; ping '{{ TARGET }}'"))
    assert [error.split(" ")[1] for error in errors] == ["';'", "{{WHO}}", "{{"]


def test_braces_of_any_length_are_judged_at_once() -> None:
    for text in ("{{" * 50_000, "{{TARGET" * 20_000, "{" * 100_000 + "}" * 100_000, "{{ " + " " * 100_000):
        errors = errors_of(changed("commands/ping/cmd4", ["ping", text, "{{TARGET}}"]))
        assert all(len(error) < 300 for error in errors)


# --- families that are off

SETS = HERE / "examples" / "routers"
ONLY = {4: {"ipv6": False}, 6: {"ipv4": False}}


def routers_of(commands: Any, family: int, folder: Path = HERE, **more: Any) -> tuple[Router, ...]:
    document = {"capabilities": ONLY[family], "routers": [{"name": "r1", "commands": commands, **more}]}
    return configuration.read(document, folder).routers


@pytest.mark.parametrize("name", sorted(path.name for path in SETS.glob("*.json")))
@pytest.mark.parametrize(("family", "address"), [(4, "192.0.2.1"), (6, "2001:db8::1")])
def test_shipped_set_is_usable_as_it_is_with_one_family(name: str, family: int, address: str) -> None:
    (router,) = routers_of(name, family, SETS, **{f"source{family}": address})
    written = set(json.loads((SETS / name).read_text())) - {"$comment"}
    assert set(router.commands) == written
    other = str(10 - family)
    for command in router.commands.values():
        assert not [key for inner in command.templates.values() for key in inner if key.endswith(other)]


@pytest.mark.parametrize(
    "value",
    [
        ["ping6", "{{SOURCE}}", "{{TARGET}}"],
        ["ping6", "{{VRF}}", "{{TARGET}}"],
        ["ping6", "{{ TARGET }}"],
        ["ping6"],
        ["{{TARGET}}"],
        ["sh", "-c", "ping6 {{TARGET}}"],
        "ping6 {{TARGET}} | sed s/a/b/",
        "ping6 '",
        ["no-such-program", "{{TARGET}}"],
        [],
        5,
    ],
)
@pytest.mark.parametrize("key", ["cmd6", "prefix6", "large6"])
def test_template_of_a_family_that_is_off_is_not_looked_at(key: str, value: Any) -> None:
    four = {"cmd4": ["true", "{{TARGET}}"]}
    for command in ({**four, key: value}, {**four, "formats": {"application/json": {key: value}}}):
        document = {"commands": {"x": command}, "capabilities": ONLY[4]}
        read = configuration.read(document, HERE)
        assert read.routers[0].commands["x"].templates == {
            "text/plain": {"cmd4": (tuple(four["cmd4"]), True, 0)}
        }
        assert read.lacking() == []
        if value != ["no-such-program", "{{TARGET}}"]:
            assert errors_of({**document, "capabilities": {}})


def test_template_of_both_families_is_looked_at_for_the_one_that_is_on() -> None:
    commands = {"x": {"cmd": ["ping", "-I", "{{SOURCE}}", "{{TARGET}}"]}}
    assert routers_of(commands, 4, source4="192.0.2.1")
    assert routers_of(commands, 6, source6="2001:db8::1")
    with pytest.raises(ConfigurationError) as caught:
        routers_of(commands, 6, source4="192.0.2.1")
    (error,) = caught.value.errors
    assert error.startswith("routers[0].commands.x.cmd: {{SOURCE}} has no value; add routers[0].source6,")


def test_keys_beside_templates_that_are_off_are_known_keys_still() -> None:
    command = {"cmd4": ["x", "{{TARGET}}"], "cmd7": ["x"], "formats": {"application/json": {"cmd66": 5}}}
    errors = errors_of(
        {"commands": {"x": command, "y": {"cmd6": 5, "parsers": "ping"}}, "capabilities": ONLY[4]}
    )
    assert [error.partition(": ")[0] for error in errors] == [
        "commands.x.cmd7",
        "commands.x.formats.application/json.cmd66",
        "commands.y.parsers",
    ]


def test_command_without_a_template_for_this_looking_glass_is_left_out() -> None:
    commands = {"six": {"cmd6": ["x", "{{TARGET}}"]}, "four": {"cmd4": ["x", "{{TARGET}}"]}}
    (router,) = routers_of(commands, 4)
    assert list(router.commands) == ["four"]
    (router,) = routers_of(commands, 6)
    assert list(router.commands) == ["six"]


def test_router_that_would_have_no_command_left_is_refused() -> None:
    commands = {"six": {"cmd6": ["x", "{{TARGET}}"], "prefix4": ["x", "{{TARGET}}"], "argument": "addr"}}
    (error,) = errors_of({"commands": commands, "capabilities": ONLY[4]})
    assert error.startswith("commands: no command has a template for IPv4; ")
    (error,) = errors_of({"routers": [{"name": "a", "commands": commands}], "capabilities": ONLY[4]})
    assert error.startswith("routers[0].commands: no command has a template for IPv4; ")


@pytest.mark.parametrize("capabilities", [5, {"ipv4": 1}, {"ipv4": False, "ipv6": False}, {"ipv5": True}])
def test_broken_capabilities_do_not_hide_what_is_wrong_with_templates(capabilities: Any) -> None:
    errors = errors_of({"capabilities": capabilities, "commands": {"x": {"cmd4": ["{{A}}"], "cmd6": 5}}})
    beginnings = {error.partition(":")[0] for error in errors}
    assert {"commands.x.cmd4", "commands.x.cmd6"} < beginnings
    assert any(beginning.startswith("capabilities") for beginning in beginnings)
