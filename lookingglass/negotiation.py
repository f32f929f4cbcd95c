"""Choose a representation by what a client accepts (RFC 9110 section 12.5); linear in a header's length."""

from __future__ import annotations

import functools
import math
import re

from webob.acceptparse import create_accept_header

from lookingglass.headers import TCHARS

KEPT_HEADERS = 64  # headers, of which nearly all clients send the same few
OURS = {("charset", "utf-8"), ("charset", '"utf-8"')}  # parameters that every text of ours has

# WebOb gives up a whole header for one element that it cannot read, and a range with parameters that an offer
# lacks matches nothing there. So the elements are read here, and WebOb gets what they mean.

# RFC 9110 section 5.6.4; possessive quantifiers keep the time linear for any header.
QUOTED = r'"(?:[^"\\]++|\\.)*+"'
# RFC 9110 section 12.4.2
WEIGHT = r"0(?:\.[0-9]{0,3})?+|1(?:\.0{0,3})?+"
# RFC 9110 section 5.6.1: a list has commas between its elements, and others in quotes; the last quoted string
# may lack its end.
ELEMENT = re.compile(r'(?:[^,"]++|"(?:[^"\\]++|\\.)*+"?+)++', re.DOTALL)
# RFC 9110 section 12.5.1, and section 5.6.6, by which a parameter may be missing. One without a value is
# accept-ext of RFC 7231 section 5.3.2.
PARAMETER = re.compile(rf"[ \t]*+;[ \t]*+(?:({TCHARS})(?:=({TCHARS}|{QUOTED}))?+)?+", re.DOTALL)
MEDIA_RANGE = re.compile(rf"[ \t]*+({TCHARS}/{TCHARS})((?:{PARAMETER.pattern})*+)[ \t]*+", re.DOTALL)
# RFC 9110 section 12.5.3
CODING = re.compile(rf"[ \t]*+({TCHARS})(?:[ \t]*+;[ \t]*+q=({WEIGHT}))?+[ \t]*+", re.IGNORECASE)
GZIP = ("gzip", "x-gzip")  # RFC 9110 section 8.4.1.3


@functools.lru_cache(KEPT_HEADERS)
def best_offer(accept: str, offers: tuple[str, ...]) -> str | None:
    """Return the media type of ``offers`` that an Accept header likes best, None when it accepts none.

    Of what it likes equally, and where it says nothing that can be read, the first is the best. A range with
    parameters is taken for one without them where nothing else accepts as much, but behind its equals.
    """
    ranges = [each for element in ELEMENT.findall(accept) if (each := _media_range(element))]
    if not ranges:
        return offers[0]
    exact: dict[str, float] = {}
    narrow: dict[str, float] = {}
    for media_range, weight, is_narrow in ranges:
        (narrow if is_narrow else exact).setdefault(media_range, weight)
    widened = {each: weight for each, weight in narrow.items() if weight > _weight_without(each, exact)}
    clean = ", ".join(f"{each};q={weight:.3f}" for each, weight in (exact | widened).items())
    found = create_accept_header(clean).acceptable_offers(offers)
    best = [str(offer) for offer, weight in found if weight == found[0][1]]
    return min(best, key=widened.__contains__, default=None)


@functools.lru_cache(KEPT_HEADERS)
def takes_gzip(accept_encoding: str) -> bool:
    """Tell whether a client takes gzip, and likes it as much as no coding where it names both."""
    weights: dict[str, float] = {}
    for element in accept_encoding.split(","):
        if match := CODING.fullmatch(element):
            weights.setdefault(match[1].lower(), float(match[2] or 1))
    weight = next((weights[name] for name in (*GZIP, "*") if name in weights), 0.0)
    return weight > 0 and weight >= weights.get("identity", 0)


def _media_range(element: str) -> tuple[str, float, bool] | None:
    """Return a media range without its parameters, its weight, and whether any of them narrow it."""
    match = MEDIA_RANGE.fullmatch(element)
    if not match:
        return None
    parameters = [(name.lower(), value.lower()) for name, value in PARAMETER.findall(match[2]) if name]
    weights = [value for name, value in parameters if name == "q"]
    if len(weights) > 1 or not all(re.fullmatch(WEIGHT, weight) for weight in weights):
        return None
    is_narrow = any(name != "q" for name, _ in set(parameters) - OURS)
    return match[1].lower(), float(weights[0]) if weights else 1.0, is_narrow


def _weight_without(media_range: str, exact: dict[str, float]) -> float:
    """Return the weight of a range by those without parameters: infinite where they have the range itself."""
    if media_range in exact:
        return math.inf
    return exact.get(f"{media_range.partition('/')[0]}/*", exact.get("*/*", 0.0))
