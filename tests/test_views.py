"""What the page shows of an answer: views, live and at the end, the streamed panel, and the picture alone."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
import time
import weakref
from typing import Any

import pytest
from webob import Request

from lookingglass import panels, pictures
from lookingglass.panels import Heading, Moment
from lookingglass.pictures import Drawing, verdicts
from lookingglass.pictures.verdicts import Verdict
from tests.support import GENEROUS, SAMPLES, V1, asker, at_once, build, python, soon
from tinytracer import TinyTracer

EVENTS, SVG = "text/event-stream", "image/svg+xml"
REPLY = "64 bytes from 192.0.2.1: icmp_seq={} ttl=60 time=1.5 ms"
SLOWLY = f"import time\nfor n in range(1, 7): print('{REPLY}'.format(n), flush=True); time.sleep(0.2)"
QUICKLY = f"import time\nfor n in range(1, 301): print('{REPLY}'.format(n), flush=True); time.sleep(0.005)"
PINGED = ["cat", str(SAMPLES / "ping4-ok.out")]
COMMANDS: dict[str, Any] = {
    "ping": {"cmd": [*PINGED, "/dev/null"], "parser": "ping"},
    "slow": {"cmd": list(python(SLOWLY)), "parser": "ping"},
    "quick": {"cmd": list(python(QUICKLY)), "parser": "ping"},
    "mtr": {"cmd": ["cat", str(SAMPLES / "mtr4-raw.out")], "parser": "mtr"},
    "odd": {"cmd": ["echo", "nothing that a parser knows"], "parser": "ping"},
    "fail": {"cmd": ["sh", "-c", "echo no; exit 1"], "parser": "ping"},
    "plain": {"cmd": ["echo", "<b>"]},
    "name": {"cmd": ["echo", "to {{TARGET}}"], "argument": "addr"},
    "missing": {"cmd": ["/no/such/program"], "parser": "ping"},
    "short": {"cmd": ["sh", "-c", "echo begin; sleep 1000"], "runtime": 0.5, "parser": "ping"},
}
ROUTER = {"name": "lg.example", "city": "Berlin <b>", "country": "de"}


@pytest.fixture(scope="module")
def application() -> TinyTracer:
    return build({"routers": [{**ROUTER, "commands": COMMANDS}]})


@pytest.fixture(scope="module")
def ask(application: TinyTracer) -> Any:
    return asker(application)


def events(reply: Any) -> list[tuple[str, Any]]:
    found = re.findall(r"^event: (\w+)\ndata: (.*)\n\n", reply.text, re.MULTILINE)
    return [(name, json.loads(data)) for name, data in found]


def views(reply: Any) -> list[str]:
    return [data["html"] for name, data in events(reply) if name == "view"]


# --- views


def test_first_view_says_running_and_the_last_one_the_verdict_before_the_result(ask: Any) -> None:
    reply = ask(f"{V1}/slow?view=1", EVENTS)
    names = [name for name, _ in events(reply)]
    assert names[-2:] == ["view", "result"]
    assert names.index("view") <= 2  # only what was there at once comes before it
    first, *_, last = views(reply)
    assert re.search(
        r'<strong class="verdict running"[^>]*><span[^>]*>●</span> running, 0\.\d of 30 s', first
    )
    assert "verdict running" not in last
    for each in (first, last):
        assert each.startswith(
            '<header class="bar"><h2>slow</h2> <span class="place">lg.example, Berlin &lt;b'
        )
    result = events(reply)[-1][1]["data"]
    assert f'<time datetime="{result["performed_at"]}">' in last
    assert f"</time>, {result['runtime']:.1f} s</span></header>" in last
    assert "<time" not in first


def test_ping_is_drawn_reply_by_reply(ask: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def draw(facts: Any, is_over: bool, **more: Any) -> Drawing:
        seen.append(len(facts.get("replies", ())))
        return Drawing("", f"<svg>{seen[-1]}</svg>", "")

    monkeypatch.setattr("lookingglass.output.draw", draw)
    shown = views(ask(f"{V1}/slow?view=1", EVENTS))
    assert sorted(set(seen) - {0}) == [1, 2, 3, 4, 5, 6]
    assert [each.rpartition("</header>")[2] for each in shown[-7:]] == [
        f"<svg>{number}</svg>" for number in (1, 2, 3, 4, 5, 6, 6)
    ]


def test_views_are_at_most_eight_a_second_however_fast_the_output(ask: Any) -> None:
    began = time.monotonic()
    shown = views(ask(f"{V1}/quick?view=1", EVENTS))
    assert 3 <= len(shown) <= 3 + 8 * (time.monotonic() - began)


def test_viewers_of_a_run_have_it_drawn_once(
    application: TinyTracer, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[tuple[int, bool]] = []

    def draw(facts: Any, is_over: bool, **more: Any) -> Drawing:
        drawn.append((len(facts.get("replies", ())), is_over))
        return pictures.draw(facts, is_over, **more)

    monkeypatch.setattr("lookingglass.output.draw", draw)
    runs = application._glass.runs
    replies = at_once(20, lambda number: asker(application)(f"{V1}/slow?view=1", EVENTS))
    assert all(len(views(each)) >= 7 for each in replies)
    assert soon(lambda: not runs.alive)
    assert len(drawn) <= 2 * 8  # as many Runs as did not find one under way: one, or two on a busy machine


def test_viewers_of_a_run_have_its_end_judged_once_and_it_keeps_nothing_for_them(
    application: TinyTracer, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged: list[int] = []

    def of_outcome(status: int, envelope: Any) -> Verdict:
        judged.append(status)
        return judge(status, envelope)

    judge = verdicts.of_outcome
    monkeypatch.setattr(verdicts, "of_outcome", of_outcome)
    bodies = [_begin(application, f"{V1}/slow?view=1", 21 + number) for number in range(3)]
    told = [b"".join(body).rpartition(b"event: view")[2] for body in bodies]
    views, results = zip(*(each.split(b"event: result") for each in told), strict=True)
    assert judged == [200]
    assert len({*views}) == 1
    assert len({*results}) == 3  # each is kept by a name of its own
    made = weakref.ref(bodies[0]._answer.viewer.run.once)
    for body in bodies:
        assert made()
        body.close()
    assert made() is None


def test_slow_viewer_gets_only_the_newest(application: TinyTracer) -> None:
    given = Request.blank(f"{V1}/slow?view=1", headers={"Accept": EVENTS}).environ
    given["REMOTE_ADDR"] = "198.51.100.7"
    body: Any = application(given, lambda status, headers: None)
    read = [next(body), next(body)]
    time.sleep(0.9)
    read.append(next(body))
    assert sum(each.count(b"event: view") for each in read) <= 2
    assert read[-1].count(b"event: view") == 1
    body.close()


def test_viewers_in_step_are_told_by_the_same_bytes_and_each_by_what_is_right_for_it(
    application: TinyTracer,
) -> None:
    bodies = [_begin(application, f"{V1}/slow?view=1{more}", 11) for more in ("", "", "&runtime=20")]
    told: list[list[bytes]] = []
    while len(told) < 1000 and not any(b"event: result" in each for row in told for each in row):
        row = [body.pull() for body in bodies]
        told.append(row)
        time.sleep(0 if any(row) else 0.01)
    shared = [one for one, two, _ in told if one is two and b"event: view" in one]
    assert any(b"event: output" in each and b"event: facts" in each for each in shared)
    for number, ceiling in enumerate(("30", "30", "20")):
        body = b"".join([row[number] for row in told] + [*iter(bodies[number].pull, None)]).decode()
        texts = re.findall(r"^event: output\ndata: (.*)$", body, re.MULTILINE)
        assert "".join(json.loads(each)["text"] for each in texts).count("\n") == 6
        assert {*re.findall(r"running, [0-9.]+ of (\d+) s", body)} == {ceiling}
        bodies[number].close()


@pytest.mark.parametrize("command", ["plain", "odd", "name/192.0.2.1"])
def test_answer_without_facts_has_a_heading_and_a_verdict(ask: Any, command: str) -> None:
    *running, last = views(ask(f"{V1}/{command}?view=1", EVENTS))
    assert len(running) <= 1  # none, where it has ended at once
    assert 'class="verdict good"' in last
    assert last.endswith("</header>")
    assert f"<h2>{command.replace('/', ' ')}</h2>" in last


def test_views_tell_of_a_run_that_did_not_begin_or_was_stopped(ask: Any) -> None:
    assert ask(f"{V1}/missing?view=1", EVENTS).status == 502
    reply = ask(f"{V1}/short?view=1", EVENTS)
    assert "<time" in views(reply)[-1]
    assert events(reply)[-1][1]["code"] == 504


@pytest.mark.parametrize("accept", ["application/json", "text/plain"])
def test_other_representations_ignore_view(ask: Any, accept: str) -> None:
    with_it, without = ask(f"{V1}/plain?view=1", accept), ask(f"{V1}/plain", accept)
    if accept == "text/plain":
        assert with_it.body == without.body == b"<b>\n"
    else:
        assert with_it.json["data"]["output"] == without.json["data"]["output"]


def test_events_without_view_are_as_they_were(ask: Any) -> None:
    for query in ("", "?view=0"):
        names = {name for name, _ in events(ask(f"{V1}/slow{query}", EVENTS))}
        assert names == {"output", "facts", "result"}
    assert ask(f"{V1}/slow?view=yes", EVENTS).status == 400
    assert ask(f"{V1}/slow?view=1&VIEW=1", EVENTS).status == 400


def test_names_and_verdicts_of_others_are_inert() -> None:
    evil = '<img src=x onerror="1">\u202e\n\x1b'
    heading = Heading(f"ping {evil}", evil, evil)
    shown = panels.bar(heading, Verdict(evil, "bad", evil, evil), Moment(evil, 1.0))
    shown += panels.panel(heading, "", evil) + panels.begin_streamed(heading)
    assert "<img" not in shown
    assert '"1"' not in shown
    assert not set("\u202e\x1b") & set(shown.replace(html.escape(evil), ""))  # text was neutralised before


def test_panel_is_the_markup_that_script_and_styles_expect() -> None:
    heading = Heading("ping a.example", "lg.example", "Berlin DE")
    verdict = Verdict("◐", "lossy", "37 % lost", "37 percent lost")
    moment = Moment("2026-11-25T15:44:25Z", 9.12)
    bar = panels.bar(heading, verdict, moment, "<a>Link</a>")
    view = panels.view(bar, Drawing("<dl></dl>", "<svg/>", ""))
    assert panels.panel(heading, view, "a < b\n") == (
        '<article class="answer" data-router="lg.example"><div class="view">'
        '<header class="bar"><h2>ping a.example</h2> <span class="place">lg.example, Berlin DE</span>'
        ' <strong class="verdict lossy" data-spoken="37 percent lost">'
        '<span aria-hidden="true">◐</span> 37 % lost</strong>'
        ' <span class="when"><time datetime="2026-11-25T15:44:25Z">2026-11-25 15:44:25 UTC</time>, 9.1 s'
        '</span><p class="actions"><a>Link</a></p></header><dl></dl><svg/></div>'
        '<details class="text" open><summary>Text</summary><pre tabindex="0">a &lt; b\n</pre>'
        "</details></article>"
    )


# --- the page without a script


def test_streamed_panel_has_text_first_and_then_what_a_view_has(ask: Any) -> None:
    page = ask("/?cmd=slow&run=1").text
    text, view = page.index("<pre tabindex"), page.index('<div class="view">')
    assert text < page.index("icmp_seq=6") < view < page.index("</article>")
    last = views(ask(f"{V1}/slow?view=1", EVENTS))[-1]
    times = re.compile(r'<span class="when">.*?</span>|<dd>[0-9.]+</dd>|<p class="actions">.*?</p>')
    streamed = page[view + len('<div class="view">') : page.index("</div></article>", view)]
    assert times.sub("", streamed) == times.sub("", last)


def test_streamed_page_tells_why_there_is_no_answer(ask: Any) -> None:
    reply = ask("/?cmd=short&run=1")
    assert 'class="verdict late"' in reply.text
    assert reply.text.count('class="verdict') == 1


# --- the picture alone


def test_picture_of_a_ping_stands_alone_and_any_site_may_show_it(ask: Any) -> None:
    reply = ask(f"{V1}/ping", SVG)
    assert reply.status == 200
    assert reply.headers["Content-Type"] == "image/svg+xml; charset=utf-8"
    assert reply.text.startswith("<svg ")
    assert "ping, lg.example, Berlin" in html.unescape(reply.text)
    (style,) = re.findall(r"<style>(.*?)</style>", reply.text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = reply.headers["Content-Security-Policy"]
    assert f"style-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert "script-src" not in policy
    assert reply.headers["Cross-Origin-Resource-Policy"] == "cross-origin"


@pytest.mark.parametrize("command", ["mtr", "plain"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_what_has_no_picture_is_406_and_does_not_run(
    application: TinyTracer, command: str, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[Any] = []
    monkeypatch.setattr(application._glass.runs, "view", lambda *asked: ran.append(asked))
    reply = asker(application)(f"{V1}/{command}", SVG, method)
    assert reply.status == 406
    assert reply.headers["Content-Type"] == "application/json"
    assert ran == []
    if method == "GET":
        assert reply.json["code"] == 406


def test_answer_that_turns_out_to_have_no_picture_says_so(ask: Any) -> None:
    for command, status in (("odd", 406), ("short", 504), ("missing", 502)):
        reply = ask(f"{V1}/{command}", SVG)
        assert reply.status == reply.json["code"] == status
    assert ask(f"{V1}/fail", SVG).status == 406


@pytest.mark.parametrize(
    ("accept", "media"),
    [
        ("*/*", "application/json"),
        ("text/html", "application/json"),
        # Firefox 128, whose users go to the URL of a run
        (
            "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/png,"
            "image/svg+xml,*/*;q=0.8",
            "application/json",
        ),
        ("image/svg+xml", "image/svg+xml; charset=utf-8"),
        ("image/avif,image/webp,image/*", "image/svg+xml; charset=utf-8"),
        ("text/html, text/plain;q=0.5", "application/json"),
        ("text/html,text/plain", "text/plain; charset=utf-8"),
    ],
)
def test_json_stays_what_browsers_get_when_they_go_there(ask: Any, accept: str, media: str) -> None:
    assert ask(f"{V1}/ping", accept).headers["Content-Type"] == media
    assert ask(f"{V1}/ping", accept, "HEAD").headers["Content-Type"] in {media, media.partition(";")[0]}


# --- several routers, and what waits


@pytest.fixture(scope="module")
def two() -> TinyTracer:
    second = {"name": "two.example", "commands": {"ping": COMMANDS["ping"]}}
    return build({"routers": [{**ROUTER, "commands": COMMANDS}, second]})


def test_each_of_several_routers_has_views_of_its_own(two: TinyTracer) -> None:
    reply = asker(two)(f"{V1}/ping?routers=lg.example,two.example&view=1", EVENTS)
    for router in ("lg.example", "two.example"):
        own = [(name, data) for name, data in events(reply) if data.get("router") == router]
        assert [name for name, _ in own][-2:] == ["view", "result"]
        assert f'<span class="place">{router}' in own[-2][1]["html"]
        assert '<div class="strip">' in own[-2][1]["html"]
    assert "view" not in {name for name, _ in events(asker(two)(f"{V1}/ping?routers=*", EVENTS))}


def test_router_without_the_command_has_a_view_that_says_so(two: TinyTracer) -> None:
    reply = asker(two)(f"{V1}/plain?routers=lg.example,two.example&view=1", EVENTS)
    shown = {data["router"]: data["html"] for name, data in events(reply) if name == "view"}
    assert "✓" in shown["lg.example"]
    assert "There is no such command" in shown["two.example"]
    assert "<h2>plain</h2>" in shown["two.example"]


def test_page_without_a_script_has_a_panel_for_each_router(two: TinyTracer) -> None:
    page = asker(two)("/?cmd=ping&routers=lg.example,two.example&run=1").text
    panels_of = re.findall(r'<article class="answer" data-router="(.*?)">.*?</article>', page, re.DOTALL)
    assert panels_of == ["lg.example", "two.example"]
    assert page.count('<div class="view"><header class="bar">') == 2


def test_waiting_answer_has_a_view_that_tells_its_place() -> None:
    limits = {**GENEROUS, "concurrent": 1}
    application = build({"routers": [{**ROUTER, "commands": COMMANDS}], "limits": limits})
    first, second = (
        _begin(application, f"{V1}/{command}?view=1", number)
        for number, command in enumerate(("slow", "plain"), start=1)
    )
    seen = b"".join(first.pull() or b"" for _ in range(3))
    assert b"verdict running" in seen
    waiting = b"".join(second.pull() or b"" for _ in range(3))
    assert b"event: waiting" in waiting
    (view,) = re.findall(rb"event: view\ndata: (.*)\n", waiting)
    assert "waits, 1st in the queue" in json.loads(view)["html"]
    first.close()
    rest = b"".join(second)
    assert b"verdict good" in rest.rpartition(b"event: view")[2]
    second.close()
    application.close()


def test_picture_of_several_routers_is_not_offered(two: TinyTracer) -> None:
    reply = asker(two)(f"{V1}/ping?routers=*", SVG)
    assert reply.headers["Content-Type"] == "application/json"


def _begin(application: TinyTracer, path: str, number: int) -> Any:
    given = Request.blank(path, headers={"Accept": EVENTS}).environ
    given["REMOTE_ADDR"] = f"198.51.100.{number}"
    return application(given, lambda status, headers: None)
