"""A request for a run in, its answer in progress out: whose pages may ask, and how it is represented."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from commands import EVENTS, JSON, SVG
from lookingglass import origins, several, several_answers, urls, visitors
from lookingglass.answers import (
    HTML,
    REPRESENTATIONS,
    Body,
    Environ,
    Pieces,
    Reply,
    Start,
    once_begun,
    problem_reply,
    starter,
)
from lookingglass.configuration import Configuration
from lookingglass.glass import Answer, Glass
from lookingglass.headers import FRESH, LIVE, SECURITY
from lookingglass.negotiation import best_offer
from lookingglass.problems import Problem
from lookingglass.questions import Question
from lookingglass.several import Several
from lookingglass.visitors import Visitor

Answering = Callable[[Environ, Any], Iterable[bytes]]  # a WSGI application that answers one request


class Asking:
    """Put questions of HTTP to a glass; errors are raised as Problem."""

    def __init__(self, configuration: Configuration, glass: Glass) -> None:
        self._configuration = configuration
        self._glass = glass

    def run(self, environ: Environ, visitor: Visitor, path: str, sharing: Mapping[str, str]) -> Answering:
        """Answer what the API is asked below …/v1/, with the headers ``sharing``."""
        problem = None
        try:
            question = Question(path, urls.query_of(environ))
        except Problem as error:
            question, problem = Question(path), error
        offered = several_answers.TOGETHER if several.is_asked(question) else REPRESENTATIONS
        media = best_offer(environ.get("HTTP_ACCEPT", ""), tuple(offered)) or JSON
        if media == SVG:
            question = question._replace(wants_picture=True)
        if environ["REQUEST_METHOD"] == "HEAD":
            if problem:
                raise problem
            return self._head(environ, question, media, sharing)
        refuse = functools.partial(problem_reply, headers=sharing)
        answer = self.ask(environ, visitor, question, problem)
        if isinstance(answer, Several):
            represent = several_answers.TOGETHER[JSON if answer.has_failed else media]
            return self.live(answer, represent, refuse, sharing)
        return self.live(answer, REPRESENTATIONS[media], refuse, sharing, tells_place=media == EVENTS)

    def ask(
        self, environ: Environ, visitor: Visitor, question: Question, problem: Problem | None = None
    ) -> Answer | Several:
        """Return the answer in progress; a refusal leaves a record, whoever refuses."""
        try:
            if problem:
                raise problem
            self._refuse_forged(environ)
            visitor = Visitor(visitor.address, visitor.key, urls.base_of(environ, self._configuration.host))
        except Problem as error:
            raise self._glass.refuse(question, visitor, error) from None
        if several.is_asked(question):
            return several.ask(self._glass, question, visitor)
        return self._glass.ask(question, visitor)

    def live(
        self,
        answer: Answer | Several,
        represent: Callable[[Any, Start], Pieces],
        refuse: Callable[[Problem], Reply],
        headers: Mapping[str, str],
        tells_place: bool = False,
    ) -> Answering:
        """Return what sends an answer in progress as it comes, or what ``refuse`` makes of a Problem."""

        def answering(environ: Environ, start_response: Any) -> Iterable[bytes]:
            task = environ.get("lookingglass.task")  # of our own server, see tasks.Task
            begin = task.begin if task else start_response
            start = starter(begin, answer, {**headers, **self._glass.headers(answer.quotas)})
            represented = represent(answer, start)
            send = functools.partial(Reply.send, start_response=start_response)
            pieces = once_begun(answer, represented, lambda problem: send(refuse(problem)), tells_place)
            connection = None if task else visitors.connection_of(environ)
            body = Body(answer, pieces, self._glass.runs.loop, connection)
            taken: Iterable[bytes] = task.take_over(body) if task else body
            return taken

        return answering

    def _head(
        self, environ: Environ, question: Question, media: str, sharing: Mapping[str, str]
    ) -> Answering:
        """Answer HEAD, which runs nothing and leaves no record."""
        self._refuse_forged(environ)
        check = several.check if several.is_asked(question) else Glass.check
        check(self._glass, question)
        shown = JSON if media == HTML else media
        return Reply(200, {"Content-Type": shown, **SECURITY, **FRESH, **LIVE, **sharing}, None)

    def _refuse_forged(self, environ: Environ) -> None:
        origins.refuse_forged(environ, self._configuration.host, self._configuration.cors)
