"""Stub until VIEW's is merged."""

from __future__ import annotations

from typing import NamedTuple

from lookingglass.pictures import Drawing
from lookingglass.pictures.markup import escape
from lookingglass.pictures.verdicts import Verdict


class Asked(NamedTuple):
    title: str
    router: str
    place: str


def view(
    asked: Asked, verdict: Verdict, drawing: Drawing, performed_at: str | None, runtime: float | None
) -> str:
    return f"<header class='bar'><h2>{escape(asked.title)}</h2> <strong class='verdict {verdict.kind}'>{verdict.mark} {escape(verdict.words)}</strong></header>{drawing.figures}{drawing.picture}"


def panel(asked: Asked, view: str, text: str, actions: str) -> str:
    return f"<article class='answer'><div class='view'>{view}</div><p class='actions'>{actions}</p><details class='text' open><summary>Text</summary><pre tabindex='0'>{text}</pre></details></article>"
