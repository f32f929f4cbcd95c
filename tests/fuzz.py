"""Try every property of the tests with many more examples, and print how many were tried."""

from __future__ import annotations

import argparse
import re
import sys
from collections import Counter

import pytest
from hypothesis import HealthCheck, settings

PROFILE = "fuzz"
COUNTS = re.compile(r"(\d+) (passing|failing|invalid) examples")


class Figures:
    """Gather what Hypothesis says of each property: a plugin of pytest."""

    def __init__(self) -> None:
        self.properties: dict[str, Counter[str]] = {}

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> None:
        """Read the statistics that a property has left."""
        counts: Counter[str] = Counter()
        for number, word in COUNTS.findall(getattr(item, "hypothesis_statistics", "")):
            counts[word] += int(number)
        name = item.nodeid.partition("[")[0]
        self.properties[name] = self.properties.get(name, Counter()) + counts


def main() -> int:
    """Fuzz, print the figures, and return 0 when every property holds."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("examples", nargs="?", type=int, default=3000, help="of each property; default: 3000")
    parser.add_argument(
        "-k", dest="words", default="", help="only properties whose names match, as in pytest"
    )
    options = parser.parse_args()
    settings.register_profile(
        PROFILE,
        max_examples=options.examples,
        deadline=None,
        print_blob=True,
        suppress_health_check=[HealthCheck.too_slow],
    )
    figures = Figures()
    argv = [
        "-q",
        "-m",
        "hypothesis",
        "-k",
        options.words,
        f"--hypothesis-profile={PROFILE}",
        "--timeout=7200",
    ]
    status = pytest.main(argv, plugins=[figures])
    for name, counts in sorted(figures.properties.items()):
        print(f"{counts['passing']:>9,} passing {counts['invalid']:>7,} invalid  {name}")
    total = sum(figures.properties.values(), Counter())
    print(f"{total.total():,} examples of {len(figures.properties)} properties, {total['failing']} failing")
    return int(status)


if __name__ == "__main__":
    sys.exit(main())
