"""Accept and Accept-Encoding: what is chosen, by RFC 9110 section 12.5, and in what time."""

from __future__ import annotations

import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lookingglass.negotiation import best_offer, takes_gzip

OFFERS = ("application/json", "text/plain", "text/event-stream")
JSON, TEXT, EVENTS = OFFERS


# ---- media types


@pytest.mark.parametrize(
    ("accept", "offer"),
    [
        ("text/plain", TEXT),
        ("*/*", JSON),
        ("text/*", TEXT),
        ("TEXT/Event-Stream", EVENTS),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", JSON),
        ("text/event-stream;q=0.5, text/plain", TEXT),
        ("text/plain;q=0.001,application/json;q=0", TEXT),
        # the most specific range counts, wherever it stands
        ("*/*, application/json;q=0.1", TEXT),
        ("text/*;q=0.5, text/plain;q=0, */*;q=0.1", EVENTS),
        ("*/*;q=0.2, text/*;q=0, text/event-stream;q=0.1", JSON),
        # of two for the same, the first
        ("text/plain;q=0.1, text/plain, text/event-stream;q=0.5", EVENTS),
    ],
)
def test_best_offer_is_what_the_client_likes_most(accept: str, offer: str) -> None:
    assert best_offer(accept, OFFERS) == offer


@pytest.mark.parametrize(
    "accept", ["text/html", "image/*", "*/*;q=0", "application/json;q=0.000", "a/b;q=0.1,,"]
)
def test_nothing_acceptable_is_none(accept: str) -> None:
    assert best_offer(accept, OFFERS) is None


@pytest.mark.parametrize(
    "accept", ["", ",", " \t, ,", "nonsense", "text", "/", "text/", "*", "text/plain/x", "\x00"]
)
def test_header_that_says_nothing_leaves_the_choice_to_us(accept: str) -> None:
    assert best_offer(accept, OFFERS) == JSON
    assert best_offer(accept, (EVENTS, JSON)) == EVENTS


@pytest.mark.parametrize(
    "broken",
    ["text/plain;q=2", "text/plain;q=0.0001", "text/plain;q=", "text/plain;q=-1", "text/plain;q=1;q=1"],
)
def test_element_that_cannot_be_read_does_not_spoil_the_others(broken: str) -> None:
    assert best_offer(f"{broken}, text/event-stream;q=0.1", OFFERS) == EVENTS
    assert best_offer(f"text/event-stream;q=0.1,{broken}", OFFERS) == EVENTS
    assert best_offer(f"text plain, nonsense, {broken}", OFFERS) == JSON


@pytest.mark.parametrize(
    ("accept", "offer"),
    [
        ('text/plain;a=", "', TEXT),
        ('text/plain;q=0.5;a=", ", text/event-stream', EVENTS),
        ('text/plain;a=", ", text/event-stream;q=0.9', TEXT),
        ('text/plain;a=",text/event-stream"', TEXT),
        ('text/html;a="\\",text/plain,\\"", text/event-stream;q=0.1', EVENTS),
        ('text/html;a="\\\\",text/plain', TEXT),
        ('text/html;a="x;q=0";b=",";q=0.1, text/plain;q=0.2', TEXT),
        ('application/json;q=0.1, text/plain;a=";q=0,";q=0.9', TEXT),
        # a quoted string without an end takes what comes behind it along
        ('text/event-stream, text/plain;a="', EVENTS),
        ('text/event-stream;q=0.1, text/html;a=", text/plain', EVENTS),
        ('text/event-stream;q=0.1, text/html;a="\\', EVENTS),
    ],
)
def test_comma_in_quotes_is_no_end_of_an_element(accept: str, offer: str) -> None:
    assert best_offer(accept, OFFERS) == offer


@pytest.mark.parametrize(
    ("accept", "offer"),
    [
        ("text/plain;charset=utf-8", TEXT),
        ('text/plain; charset="UTF-8", */*;q=0.1', TEXT),
        ("text/plain ;\tcharset=utf-8\t; Q=0.2, application/json;q=0.1", TEXT),
        ("text/plain;format=flowed", TEXT),
        ("text/plain;;q=0.5;, application/json;q=0.4", TEXT),
        ("text/plain;flag;q=0.5, application/json;q=0.4", TEXT),
        # what is asked for exactly comes first, or has the last word
        ("text/plain;format=flowed, text/event-stream", EVENTS),
        ('text/plain;a=", ", text/event-stream', EVENTS),
        ("text/plain;charset=utf-8, text/event-stream", TEXT),
        ("text/plain;format=flowed, text/plain;q=0, text/event-stream;q=0.1", EVENTS),
        # we have no flowed text to refuse, or to like less
        ("text/plain;format=flowed;q=0, text/*", TEXT),
        ("text/plain;format=flowed;q=0.1, application/json;q=0.5, */*;q=0.9", TEXT),
        ("text/plain;format=flowed;q=0.9, application/json;q=0.5, */*;q=0.1", TEXT),
    ],
)
def test_parameter_that_we_do_not_have_narrows_but_does_not_exclude(accept: str, offer: str) -> None:
    assert best_offer(accept, OFFERS) == offer


def test_only_range_is_one_that_is_refused() -> None:
    assert best_offer("text/plain;format=flowed;q=0", OFFERS) is None


RANGES = st.sampled_from([*OFFERS, "text/*", "application/*", "*/*", "text/html", "image/svg+xml"])
WEIGHTS = st.sampled_from(["", ";q=0", ";q=0.1", " ; Q=0.50", ";q=0.999", ";q=1", "; q=1.000", ";q=0."])
ELEMENTS = st.lists(st.tuples(RANGES, WEIGHTS), min_size=1, max_size=8)


def naive(elements: list[tuple[str, str]]) -> str | None:
    """Choose by RFC 9110 section 12.5.1, one offer after the other."""
    weights: dict[str, float] = {}
    for media_range, weight in elements:
        weights.setdefault(media_range, float(weight.partition("=")[2] or 1))
    liked = {}
    for offer in OFFERS:
        matching = (offer, offer.partition("/")[0] + "/*", "*/*")
        liked[offer] = next((weights[each] for each in matching if each in weights), 0.0)
    best = max(OFFERS, key=lambda offer: liked[offer])  # the first of equals
    return best if liked[best] else None


@settings(deadline=None)
@given(elements=ELEMENTS, separator=st.sampled_from([",", ", ", " ,\t", ",,", ", nonsense,"]))
def test_choice_is_that_of_the_rfc(elements: list[tuple[str, str]], separator: str) -> None:
    assert best_offer(separator.join(map("".join, elements)), OFFERS) == naive(elements)


@settings(deadline=None)
@given(elements=ELEMENTS, value=st.text(st.characters(codec="latin-1", exclude_characters="\\"), max_size=12))
@example(elements=[("text/plain", ";q=0.1"), ("text/event-stream", ";q=0.2")], value=', application/json;q="')
def test_no_quoted_text_changes_the_choice(elements: list[tuple[str, str]], value: str) -> None:
    value = value.replace('"', '\\"')
    plain, quoted = (
        ", ".join(f"{media_range};a={text}{weight}" for media_range, weight in elements)
        for text in ("x", f'"{value}"')
    )
    assert best_offer(quoted, OFFERS) == best_offer(plain, OFFERS)


@settings(deadline=None)
@given(st.one_of(st.text(max_size=60), st.text('/,;="\\ \tq0.1*textplain', max_size=60)))
def test_any_header_is_answered(text: str) -> None:
    assert best_offer(text, OFFERS) in {*OFFERS, None}
    assert takes_gzip(text) in {True, False}


# ---- codings


@pytest.mark.parametrize(
    "accept_encoding",
    [
        *("gzip", "GZIP", "x-gzip", "*", "gzip, deflate, br, zstd", "br;q=1.0, gzip;q=0.8, *;q=0.1"),
        *("identity;q=0.5, gzip", "identity, gzip", "gzip;q=0.001", "*;q=0, gzip", ",, gzip ,"),
        *("gzip ; Q=0.5", "nonsense here, gzip", "deflate;q=2, gzip", "gzip;q=1, gzip;q=0"),
    ],
)
def test_gzip_is_taken(accept_encoding: str) -> None:
    assert takes_gzip(accept_encoding)


@pytest.mark.parametrize(
    "accept_encoding",
    [
        *("", ",", "identity", "br, zstd", "gzip;q=0", "gzip;q=0.000", "x-gzip;q=0", "*;q=0", "gzip;q=0, *"),
        *(
            "identity, gzip;q=0.5",
            "gzip;q=0.1, identity;q=0.2",
            "gzip;q=",
            "gzip;q=2",
            "gzip x",
            "gzippy",
            "agzip",
        ),
        *("gzip;level=9", '"gzip"', "g\u017fip", "br;q=1, *;q=0", "gzip;q=0, gzip", "identity;q=0"),
    ],
)
def test_gzip_is_not_taken(accept_encoding: str) -> None:
    assert not takes_gzip(accept_encoding)


# ---- time

HOSTILE = [
    "," * 16384,
    ", " * 8192,
    " " * 16384,
    ("," + " " * 100) * 160,
    '"' * 16384,
    '"' + '\\"' * 8191,
    '"' + '\\"' * 8190 + "\\",
    'a/b;c="' + "\\" * 16377,
    'a/b;c="' + '\\"' * 8000 + '"',
    'a/b;c="' + "\\a" * 8000,
    ('a/b;c="\\' + '",') * 1600,
    "a" * 16384,
    "a/" * 8192,
    "a/b,a" * 3200,
    ";" * 16384,
    "a/b" + ";" * 16381,
    "a/b" + " ;" * 8190 + "x",
    "a/b" + ";a=b" * 4095 + "\x00",
    "a/b" + " " * 16380 + "x",
    "a/b;q=0." + "0" * 16376,
    "*/*;q=0.1," * 1638,
    "".join(f"a/{number:x}," for number in range(2700)),
    "gzip;q=0," * 1820,
    "gzip" + " " * 16000 + ";",
    ("gzip" + " " * 100 + ",") * 156,
]


@pytest.mark.parametrize("header", HOSTILE, ids=range(len(HOSTILE)))
def test_no_header_takes_long(header: str) -> None:
    def seconds(text: str) -> float:
        began = time.thread_time()
        best_offer(text, OFFERS)
        takes_gzip(text)
        return time.thread_time() - began

    assert seconds(header) < 1  # it is some milliseconds
    assert seconds(header * 16) < 10  # with quadratic effort more than a minute for the worst
