"""Facts of ping in, a strip with one slot a probe out."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from lookingglass.facts.common import Facts
from lookingglass.pictures import values
from lookingglass.pictures.axis import exact_percent, ms, round_above, tick
from lookingglass.pictures.markup import escape, figures, plain

MOST = 300  # slots that are drawn
WIDE, NARROW = 24, 8  # pixels of a slot, at most and at least
HEIGHT = 64  # pixels from nothing to the top of the axis
ABOVE = 8  # pixels, for half of the label there
BELOW = 18  # pixels, for the numbers of the probes
AXIS = 46  # pixels to the left of the strip, at least
DIGIT = 7  # pixels, of the widest fonts
OUTLIER = 3  # times the median, above which a bar would flatten all others
FEW = 10  # slots, which all have their numbers
LISTED = 12  # probes that words name
SCROLLS = 270  # pixels that a phone has for the strip

ANSWERED, UNTIMED, LOST, OVERDUE, OPEN = "answered", "untimed", "lost", "overdue", "open"


class Slot(NamedTuple):
    """Say what is known of a probe; an UNTIMED one was answered, but its time is not known."""

    seq: int
    state: str
    rtt: float | None = None  # ms
    note: str = ""


class Echoes(NamedTuple):
    """Hold what is known of all probes."""

    slots: list[Slot]  # the first MOST of them
    probes: int  # slots, also those that are not drawn
    sent: int | None  # None: not known
    lost: int | None
    lost_seqs: list[int]
    overdue: int  # that are not lost yet
    times: tuple[float | None, float | None, float | None]  # min, avg, max
    address: str


def read(facts: Facts, is_over: bool, planned: int | None) -> Echoes:
    """Return what facts of ping say, while it runs and afterwards."""
    replies = values.rows(facts.get("replies"))
    rtts: dict[int, float | None] = {}
    for reply in replies:
        if (seq := values.whole(reply.get("seq"))) is not None:
            rtts.setdefault(seq, values.number(reply.get("rtt")))
    errors = _complaints(facts)
    silent = dict.fromkeys(seq for seq in values.wholes(facts.get("overdue")) if seq not in rtts)
    overdue = silent if is_over else [seq for seq in silent if seq < max(rtts, default=0)]
    lost = dict.fromkeys(
        seq for seq in (*values.wholes(facts.get("lost")), *errors, *overdue) if seq not in rtts
    )
    states = {**dict.fromkeys(silent, OVERDUE), **dict.fromkeys(lost, LOST)}
    sent, received = values.whole(facts.get("sent")), values.whole(facts.get("received"))
    missing = max(0, sent - received) if sent is not None and received is not None else None
    known = rtts.keys() | states.keys()
    if sent is None and known:
        sent, missing = len(known), len(lost)
    first = 0 if 0 in known else 1
    # Without a list of probes, as after -q, none is drawn.
    told = max(max(known) + 1 - first, sent or 0) if known else sent if missing and missing == sent else 0
    count = max(told or 0, 0 if is_over else planned or 0)
    shown = range(first, first + min(count, MOST))
    if not known and told:
        states = dict.fromkeys(shown, LOST)
    elif is_over and missing:  # without -O, ping does not tell of what is lost at the end
        states |= {seq: LOST for seq in shown if seq not in known}
        lost = {**lost, **dict.fromkeys(seq for seq in shown if states.get(seq) == LOST)}
    slots = [_slot(seq, rtts, states.get(seq, OPEN), errors.get(seq, "")) for seq in shown]
    late = len(silent.keys() - lost.keys())
    times = _times(facts, rtts.values())
    return Echoes(slots, count, sent, missing, sorted(lost), late, times, _address(replies))


def _complaints(facts: Facts) -> dict[int, str]:
    """Return what routers said of probes, by their numbers."""
    found = {}
    for error in values.rows(facts.get("errors")):
        if (seq := values.whole(error.get("seq"))) is not None:
            found[seq] = as_said(plain(values.text(error.get("message"))), error)
    return found


def as_said(words: str, error: Facts) -> str:
    """Return the words of an error, and who says so where that is known."""
    who = plain(values.text(error.get("address")))
    return f"{words}, says {who}" if who else words


def _address(replies: list[Facts]) -> str:
    """Return the address that answered most often."""
    addresses = Counter(filter(None, (values.text(reply.get("address")) for reply in replies)))
    return next((address for address, _ in addresses.most_common(1)), "")


def _slot(seq: int, rtts: dict[int, float | None], state: str, note: str) -> Slot:
    if seq not in rtts:
        return Slot(seq, state, note=note)
    rtt = rtts[seq]
    return Slot(seq, UNTIMED if rtt is None else ANSWERED, rtt)


def _times(facts: Facts, rtts: Iterable[float | None]) -> tuple[float | None, float | None, float | None]:
    known = [rtt for rtt in rtts if rtt is not None]
    found = [values.number(facts.get(key)) for key in ("min", "avg", "max")]
    if known and not any(each is not None for each in found):
        found = [min(known), statistics.fmean(known), max(known)]
    return found[0], found[1], found[2]


def scale_of(facts: Facts) -> float | None:
    """Return the top of the axis (ms): above all but outliers."""
    replies = values.rows(facts.get("replies"))
    rtts = [rtt for reply in replies if (rtt := values.number(reply.get("rtt"))) is not None]
    return round_above(min(max(rtts), OUTLIER * statistics.median(rtts))) if rtts else None


def figures_of(echoes: Echoes) -> str:
    """Return address, counts and times as a list in a line."""
    low, mean, high = echoes.times
    lost = f"{echoes.lost}" if echoes.lost is not None else ""
    if lost and echoes.sent:
        lost += f" ({exact_percent(100 * (echoes.lost or 0) / echoes.sent)})"
    return figures(
        (
            ("address", echoes.address),
            ("sent", "" if echoes.sent is None else str(echoes.sent)),
            ("lost", lost),
            ("no answer yet", str(echoes.overdue or "")),
            *((key, _ms(value)) for key, value in (("min", low), ("avg", mean), ("max", high))),
        )
    )


def _ms(value: float | None) -> str:
    return "" if value is None else f"{ms(value)} ms"


def words_of(echoes: Echoes) -> str:
    """Return it as text: "30 sent, 11 lost (probes 1, 2, 4), 17.7/18.3/19.6 ms"."""
    parts = []
    if echoes.sent is not None:
        parts.append(f"{echoes.sent} sent")
    if echoes.lost:
        parts.append(f"{echoes.lost} lost{_listed(echoes.lost_seqs)}")
    elif echoes.lost == 0 and not echoes.overdue:
        parts.append("none lost")
    if echoes.overdue:
        parts.append(f"{echoes.overdue} without an answer yet")
    known = [ms(value) for value in echoes.times if value is not None]
    if known:
        parts.append(f"{'/'.join(known)} ms")
    return ", ".join(parts)


def _listed(seqs: list[int]) -> str:
    if not seqs:
        return ""
    more = len(seqs) - LISTED
    named = ", ".join(map(str, seqs[:LISTED]))
    return f" (probe{'s' if len(seqs) > 1 else ''} {named}{f' and {more} more' if more > 0 else ''})"


def picture(echoes: Echoes, top: float | None) -> str:
    """Return the strip beside its axis, in a box that scrolls where it is too wide."""
    if not echoes.probes:
        return ""
    slots, left = len(echoes.slots), axis_width(top)
    height = ABOVE + HEIGHT + BELOW
    focus = ' tabindex="0" role="group" aria-label="Probes"' if slots * NARROW > SCROLLS else ""
    strip = (
        f'<div class="strip"><svg class="axis" width="{left}" height="{height}" aria-hidden="true">'
        f"{axis(top)}</svg>"
        f'<div class="scroll"{focus}><div><svg width="{slots * NARROW}" height="0" aria-hidden="true"></svg>'
        f'<svg class="probes" width="{slots * WIDE}" height="{height}" role="img" '
        f'aria-label="{escape(words_of(echoes))}">{shapes(echoes.slots, top)}</svg></div></div></div>'
    )
    more = echoes.probes - slots
    return strip + (
        f'<p class="more">The first {slots} of {echoes.probes} probes are drawn.</p>' if more else ""
    )


def axis_width(top: float | None) -> int:
    """Return the pixels that the labels to the left of the strip need."""
    return max([AXIS, *(6 + DIGIT * len(label) for label, _ in _labels(top))])


def axis(top: float | None) -> str:
    """Return the labels to the left of the strip."""
    right = axis_width(top) - 6
    return " ".join(f'<text class="to" x="{right}" y="{y + 4}">{label}</text>' for label, y in _labels(top))


def _labels(top: float | None) -> list[tuple[str, int]]:
    levels = [] if top is None else [(top, ABOVE), (top / 2, ABOVE + HEIGHT // 2)]
    return [(f"{tick(value)} ms", y) for value, y in levels]


def shapes(slots: list[Slot], top: float | None) -> str:
    """Return grid, slots and numbers, in percent of the width that there will be."""
    width = 100 / len(slots)
    levels = () if top is None else (ABOVE, ABOVE + HEIGHT // 2)
    grid = "".join(f'<line class="grid" x2="100%" y1="{y}" y2="{y}"/>' for y in levels)
    drawn = "".join(
        f'<svg class="slot" x="{place * width:.4g}%" y="{ABOVE}" width="{width:.4g}%" height="{HEIGHT}">'
        f"<title>{escape(_title(slot))}</title>{''.join(_shape(slot, top))}</svg>"
        for place, slot in enumerate(slots)
    )
    ground = ABOVE + HEIGHT
    return f'{grid}{drawn}<line class="ground" x2="100%" y1="{ground}" y2="{ground}"/>{_numbers(slots)}'


def _numbers(slots: list[Slot]) -> str:
    """Return the numbers below the strip: of all probes if they are few, else of each tenth and the last."""
    y, width = ABOVE + HEIGHT + 13, 100 / len(slots)
    is_few = len(slots) <= FEW
    last = len(slots) - 1
    found = " ".join(
        f'<text class="mid" x="{(place + 0.5) * width:.4g}%" y="{y}">{slot.seq}</text>'
        for place, slot in enumerate(slots)
        if is_few or not place or (slot.seq % FEW == 0 and place < last - FEW // 2)
    )
    return found if is_few else f'{found}<text class="to" x="100%" y="{y}">{slots[last].seq}</text>'


def _title(slot: Slot) -> str:
    told = {ANSWERED: f"{ms(slot.rtt or 0)} ms", UNTIMED: "answered", LOST: "lost", OVERDUE: "no answer yet"}
    return f"probe {slot.seq}: {told.get(slot.state, 'to come')}{f', {slot.note}' if slot.note else ''}"


def _shape(slot: Slot, top: float | None) -> Iterator[str]:
    if slot.state in {LOST, OVERDUE}:
        yield f'<rect class="{slot.state}" width="100%" height="{HEIGHT}"/>'
        if slot.state == LOST:
            cross = '<path class="cross" d="M-3-3l6 6M-3 3l6-6"/>'
            yield f'<svg x="50%" y="{HEIGHT - 8}" class="over">{cross}</svg>'
    elif slot.state == OPEN:
        yield f'<rect class="open" y="{HEIGHT - 2}" width="100%" height="2"/>'
    elif slot.rtt is None:
        yield f'<rect class="untimed" y="{HEIGHT - 12}" width="100%" height="12"/>'
    elif top is None or slot.rtt <= top:
        height = max(2.0, HEIGHT * slot.rtt / (top or 1))
        yield f'<rect class="echo" y="{HEIGHT - height:.4g}" width="100%" height="{height:.4g}"/>'
    else:
        yield f'<rect class="echo" width="100%" height="{HEIGHT}"/>'
        yield '<path class="notch" d="M-2 14l4-4 4 4 4-4 4 4 4-4 4 4 4-4"/>'
        turn = f"translate(3 {HEIGHT - 4}) rotate(-90)"
        value = f'<text class="value" transform="{turn}">{ms(slot.rtt)}</text>'
        yield f'<svg x="50%" class="over">{value}</svg>'
