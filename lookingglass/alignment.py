"""What comparisons share: two rows of things laid side by side, and how differences are written."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

from lookingglass.facts.common import Facts

MOST_ALIGNED = 256  # things of a side that are aligned; the cost is the product of both
LONGEST_SAYING = 80  # characters of what a tool said that a sentence repeats
SAME, ONLY_A, ONLY_B = "same", "− only A", "+ only B"
# A difference of times matters from MATTERS on, and is told from NOTABLE on: ms, and a part of A's time.
MATTERS = (5.0, 0.2)
NOTABLE = (1.0, 0.1)
FEW_WORDS = 16  # words that a sentence lists

T = TypeVar("T")


class SideCell(NamedTuple):
    """Hold what one side has in a row."""

    text: str
    figures: str = ""
    facts: Any = None  # the same for programs


class SideRow(NamedTuple):
    """Hold two things side by side; None: this side has nothing there."""

    label: str
    a: SideCell | None
    b: SideCell | None
    change: str  # in words
    matters: bool = False


class Differences(NamedTuple):
    """Say what two answers have in common and what differs: a sentence first, then the rows."""

    sentence: str
    is_same: bool
    rows: list[SideRow]
    figures: str = ""  # what the cells' figures are


class Setting(NamedTuple):
    """Say what two answers have in common before they are compared."""

    same_router: bool
    same_target: bool
    is_later: bool  # B is younger

    @property
    def is_now(self) -> bool:
        """Tell whether B is the same question as A, asked later: then B is "now"."""
        return self.same_router and self.same_target and self.is_later


def align(
    a: Sequence[T], b: Sequence[T], weight: Callable[[T, T], int]
) -> Iterator[tuple[T | None, T | None]]:
    """Pair the things of two sides, in their order, so that the sum of weights is the largest.

    Things of weight 0 are not paired; between pairs, those of A come first. Of each side, MOST_ALIGNED are
    looked at.
    """
    a, b = a[:MOST_ALIGNED], b[:MOST_ALIGNED]
    weights = [[weight(one, other) for other in b] for one in a]
    sums = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i in range(len(a) - 1, -1, -1):
        below, row, here = sums[i + 1], sums[i], weights[i]
        for j in range(len(b) - 1, -1, -1):
            paired = here[j] + below[j + 1] if here[j] else 0
            row[j] = max(paired, below[j], row[j + 1])
    i = j = 0
    while i < len(a) or j < len(b):
        if i < len(a) and j < len(b) and weights[i][j] and sums[i][j] == weights[i][j] + sums[i + 1][j + 1]:
            yield a[i], b[j]
            i, j = i + 1, j + 1
        elif j == len(b) or (i < len(a) and sums[i][j] == sums[i + 1][j]):
            yield a[i], None
            i += 1
        else:
            yield None, b[j]
            j += 1


def of_both(label: str, a: SideCell | None, b: SideCell | None) -> SideRow:
    """Return a row that says whether two cells are the same."""
    change = only_in(a, b)
    if a is not None and b is not None and a.text != b.text:
        change = "differs"
    return SideRow(label, a, b, change, matters=change != SAME)


def only_in(a: object, b: object) -> str:
    """Return which side alone has something there: ONLY_A or ONLY_B; SAME: both have."""
    return ONLY_B if a is None else ONLY_A if b is None else SAME


def is_more(bounds: tuple[float, float], a: float | None, b: float | None) -> bool:
    """Tell whether two times (ms) differ by more than MATTERS or NOTABLE say."""
    if a is None or b is None:
        return False
    return abs(b - a) > bounds[0] and abs(b - a) > bounds[1] * a


def difference(a: float, b: float) -> str:
    """Return a difference with its sign."""
    return f"{b - a:+.1f}".replace("-", "−")


def listed(words: Iterable[str], separator: str = " ") -> str:
    """Join some words of hostile length: the first FEW_WORDS of them."""
    some = [*itertools.islice(words, FEW_WORDS + 1)]
    return separator.join([*some[:FEW_WORDS], "…"] if len(some) > FEW_WORDS else some)


def sentence_of(*parts: str) -> str:
    """Join the parts of a sentence that are not empty, and begin it with a capital."""
    text = "; ".join(filter(None, parts))
    return text[:1].upper() + text[1:]


def saying(data: Facts) -> str:
    """Return what a tool said first, for an answer in which nothing was understood; "" for nothing."""
    output = data.get("output")
    lines = [line.strip() for line in output if str(line).strip()] if isinstance(output, list) else []
    return f'it says "{lines[0][:LONGEST_SAYING]}"' if lines else ""
