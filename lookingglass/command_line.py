"""The command line as data: actions and their options in, what was asked out."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

Act = Callable[[argparse.Namespace], int]  # returns an exit status
Options = Mapping[str, Mapping[str, Any]]  # a flag or a name, and what argparse is told of it
SERVE = "serve"  # the action without a name

LISTEN = "127.0.0.1:8080"
EVERY: Options = {
    "--config": {
        "metavar": "FILE",
        "help": "default: $TINYTRACER_CONFIG, else config.json, else this machine",
    }
}
OPTIONS: Mapping[str, Options] = {  # by the name of an action
    "serve": {
        "--listen": {
            "action": "append",
            "metavar": "ADDRESS",
            "help": "HOST:PORT or unix:PATH, several times if need be; "
            f"default: systemd's sockets, else {LISTEN}",
        }
    },
    "check": {
        "--run": {"action": "store_true", "help": "ask every command of every router something harmless"},
        "--json": {"action": "store_true", "help": "print what is found as JSON"},
    },
    "migrate": {"old": {"metavar": "OLD", "help": "the old file, which stays as it is"}},
}


def open_streams() -> None:
    """Open those of the three standard streams that are closed: else a connection gets the number of one."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # which gets the lowest number that is free
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115 - it stays open
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115


def parse(given: Sequence[str], version: str, actions: Iterable[Act]) -> argparse.Namespace:
    """Return what was asked: ``act`` and its options. An action is told of by its docstring.

    Ends the program when it was asked wrongly.
    """
    if not given or (given[0].startswith("-") and given[0] not in {"-h", "--help", "--version"}):
        given = [SERVE, *given]
    parser = argparse.ArgumentParser(
        prog="tinytracer",
        description="A network looking glass. Without an action it serves.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"TinyTracer {version}")
    subparsers = parser.add_subparsers(metavar="ACTION", required=True)
    for act in actions:
        told = act.__doc__ or ""
        summary = told.partition("\n")[0]
        action = subparsers.add_parser(act.__name__, help=summary, description=told, allow_abbrev=False)
        action.set_defaults(act=act)
        for name, settings in {**OPTIONS.get(act.__name__, {}), **EVERY}.items():
            action.add_argument(name, **settings)
    return parser.parse_args(given)
