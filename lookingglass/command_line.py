"""The command line as data: actions and their options in, what was asked out."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Act = Callable[[argparse.Namespace], int]  # returns an exit status
Options = Mapping[str, Mapping[str, Any]]  # a flag or a name, and what argparse is told of it
SERVE = "serve"  # the action without a name

EVERY: Options = {
    "--config": {
        "metavar": "FILE",
        "help": "default: $TINYTRACER_CONFIG, else config.json, else this machine",
    }
}


def parse(
    given: Sequence[str], version: str, actions: Mapping[Act, tuple[str, Options]]
) -> argparse.Namespace:
    """Return what was asked: ``act`` and its options. An action has a summary and options of its own.

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
    for act, (summary, options) in actions.items():
        action = subparsers.add_parser(act.__name__, help=summary, description=summary, allow_abbrev=False)
        action.set_defaults(act=act)
        for name, settings in {**options, **EVERY}.items():
            action.add_argument(name, **settings)
    return parser.parse_args(given)
