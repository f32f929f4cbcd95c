"""Try every property of the tests with many more examples, and print how many were tried."""

from __future__ import annotations

import argparse
import re
import sys
from collections import Counter

import pytest

PROFILE = "fuzz"
COUNTS = re.compile(r"(\d+)\s+(passing|failing|invalid)\b")


class Fuzz:
    """Have so many examples tried, and gather what Hypothesis says of each property: a plugin of pytest."""

    def __init__(self, examples: int) -> None:
        self.properties: dict[str, Counter[str]] = {}
        self._examples = examples

    def pytest_configure(self) -> None:
        """Set the profile, before any test is imported."""
        from hypothesis import HealthCheck, settings  # which pytest has to import first

        settings.register_profile(
            PROFILE,
            max_examples=self._examples,
            deadline=None,
            print_blob=True,
            suppress_health_check=[HealthCheck.too_slow],
        )
        settings.load_profile(PROFILE)

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
    fuzz = Fuzz(options.examples)
    status = pytest.main(["-q", "-m", "hypothesis", "-k", options.words, "--timeout=7200"], plugins=[fuzz])
    for name, counts in sorted(fuzz.properties.items()):
        print(f"{counts['passing']:>9,} passing {counts['invalid']:>7,} invalid  {name}")
    total = sum(fuzz.properties.values(), Counter())
    print(f"{total.total():,} examples of {len(fuzz.properties)} properties, {total['failing']} failing")
    return int(status)


if __name__ == "__main__":
    sys.exit(main())
