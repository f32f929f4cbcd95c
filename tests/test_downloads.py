"""Files: which are sent, which part of them, under which conditions; and what happens when they change."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from wsgiref.handlers import format_date_time
from wsgiref.util import FileWrapper
from wsgiref.validate import validator

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from webob import Request

from lookingglass.downloads import Part, is_fresh, send
from lookingglass.problems import Busy, HTTPProblem, NotFound
from tests.support import Reply, Serve, cpu_seconds

DATA = b"0123456789"
MODIFIED = 1_700_000_000  # Tue, 14 Nov 2023 22:13:20 GMT
DATE = "Tue, 14 Nov 2023 22:13:20 GMT"
EARLIER, LATER = "Tue, 14 Nov 2023 22:13:19 GMT", "Tue, 14 Nov 2023 22:13:21 GMT"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a file, beside one with a secret."""
    home = tmp_path_factory.mktemp("home")
    (home / "files").mkdir()
    (home / "secret").write_text("secret")
    (home / "files" / "ten").write_bytes(DATA)
    (home / "files" / "empty").touch()
    for name in ("ten", "empty"):
        os.utime(home / "files" / name, (MODIFIED, MODIFIED))
    return home / "files"


def get(folder: Path, name: str = "ten", method: str = "GET", **headers: str) -> Reply:
    environ: Any = {f"HTTP_{header.upper()}": value for header, value in headers.items()}
    request = Request.blank("/", method=method, environ=environ)
    response = request.get_response(validator(send(request, str(folder), name)))
    return Reply(response.status_code, dict(response.headers), response.body)


def body_of(folder: Path, name: str, environ: dict[str, Any] | None = None) -> Any:
    """Return what a server goes through and then closes."""
    return send(Request.blank("/", environ=environ), str(folder), name).app_iter


def etag_of(folder: Path) -> str:
    return get(folder).headers["ETag"]


def refusal(status: int, folder: Path, name: str = "ten", **headers: str) -> HTTPProblem:
    with pytest.raises(HTTPProblem) as caught:
        get(folder, name, **headers)
    assert caught.value.status == status
    return caught.value


def descriptors() -> set[str]:
    """Return the files that this process has open, but for those of the test's own machinery."""
    found = set()
    for each in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):
            found.add(os.readlink(f"/proc/self/fd/{each}"))
    return {each for each in found if "/files/" in each}


# ---- the whole


def test_whole_file_is_sent_with_what_a_later_request_needs(folder: Path) -> None:
    reply = get(folder)
    assert (reply.status, reply.body) == (200, DATA)
    assert dict(reply.headers) == {
        "Content-Type": "application/octet-stream",
        "Content-Length": "10",
        "Accept-Ranges": "bytes",
        "Cache-Control": "no-cache, no-transform",
        "ETag": reply.headers["ETag"],
        "Last-Modified": DATE,
    }
    assert reply.headers["ETag"].startswith('"')
    assert get(folder, "empty").body == b""
    assert get(folder, "empty").headers["Content-Length"] == "0"
    assert not descriptors()


@pytest.mark.parametrize("headers", [{}, {"Range": "bytes=2-4"}, {"Range": "bytes=20-"}, {"If_Range": '"x"'}])
def test_head_says_the_same_without_a_body(folder: Path, headers: dict[str, str]) -> None:
    reply = get(folder, method="HEAD", **headers)
    assert (reply.status, reply.body) == (200, b"")
    assert dict(reply.headers) == dict(get(folder).headers)
    assert not descriptors()


def test_etag_is_another_one_after_any_change(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "file"
    seen = set()
    for data, seconds in ((b"a", 1), (b"b", 1.5), (b"c", 2), (b"cc", 2)):
        file.write_bytes(data)
        os.utime(file, (seconds, seconds))
        seen.add(get(tmp_path, "file").headers["ETag"])
    assert len(seen) == 4


@pytest.mark.parametrize(("seconds", "date"), [(-1, 0), (0, 0), (1 << 33, None)])
def test_time_of_a_file_that_cannot_be_is_not_told(tmp_path: Path, seconds: int, date: int | None) -> None:
    (tmp_path / "file").write_bytes(DATA)
    os.utime(tmp_path / "file", (seconds, seconds))
    expected = {format_date_time(time.time() - ago if date is None else date) for ago in (0, 1)}
    assert get(tmp_path, "file").headers["Last-Modified"] in expected


# ---- ranges


@pytest.mark.parametrize(
    ("wanted", "part", "span"),
    [
        ("bytes=0-0", b"0", "0-0"),
        ("bytes=2-4", b"234", "2-4"),
        ("bytes=9-9", b"9", "9-9"),
        ("bytes=5-", b"56789", "5-9"),
        ("bytes=0-", DATA, "0-9"),
        ("bytes=-5", b"56789", "5-9"),
        ("bytes=-1", b"9", "9-9"),
        ("bytes=-10", DATA, "0-9"),
        # beyond the end, by however much
        ("bytes=-99", DATA, "0-9"),
        ("bytes=8-99", b"89", "8-9"),
        ("bytes=8-" + "9" * 5000, b"89", "8-9"),
        ("bytes=-" + "9" * 5000, DATA, "0-9"),
        (f"bytes=9-{(1 << 64) - 1}", b"9", "9-9"),
        # in any spelling
        ("bytes=" + "0" * 5000 + "8-09", b"89", "8-9"),
        ("BYTES=8-9", b"89", "8-9"),
        (" bytes= ,8-9 ,\t", b"89", "8-9"),
    ],
)
def test_range_is_the_part_that_is_sent(folder: Path, wanted: str, part: bytes, span: str) -> None:
    reply = get(folder, Range=wanted)
    assert (reply.status, reply.body) == (206, part)
    assert reply.headers["Content-Range"] == f"bytes {span}/10"
    assert reply.headers["Content-Length"] == str(len(part))
    assert {"ETag", "Last-Modified", "Cache-Control", "Accept-Ranges"} <= set(reply.headers)


@pytest.mark.parametrize(
    "wanted",
    ["bytes=-0", "bytes=-000", "bytes=10-", "bytes=10-10", "bytes=99-100", "bytes=" + "9" * 5000 + "-"],
)
def test_range_of_which_there_is_no_byte_is_416_with_the_size(folder: Path, wanted: str) -> None:
    problem = refusal(416, folder, Range=wanted)
    assert problem.headers == {"Content-Range": "bytes */10"}
    assert problem.failure_source == "visitor"
    assert not descriptors()


def test_file_of_one_byte_is_told_as_such(folder: Path) -> None:
    (folder / "one").write_bytes(b"x")
    assert str(refusal(416, folder, "one", Range="bytes=5-")) == "The file has 1 byte."


def test_empty_file_has_no_part_but_its_end(folder: Path) -> None:
    for wanted in ("bytes=0-", "bytes=0-0", "bytes=-0"):
        assert refusal(416, folder, "empty", Range=wanted).headers == {"Content-Range": "bytes */0"}
    reply = get(folder, "empty", Range="bytes=-5")  # satisfiable, but Content-Range cannot say it
    assert (reply.status, reply.body, reply.headers.get("Content-Range")) == (200, b"", None)


@pytest.mark.parametrize(
    "wanted",
    [
        # what is none
        *("", "bytes", "bytes=", "bytes=,", "bytes=-", "bytes=--5", "bytes=5", "bytes=4-2", "bytes=a-b"),
        *("bytes=0x1-2", "bytes=1-2-3", "bytes=+1-2", "bytes=1_0-", "bytes=1 -2", "bytes =1-2", "bytes:1-2"),
        *("2-4", "lines=1-2", "xbytes=1-2", "bytes=1-2;", "bytes=\xb2-3", "bytes=-1.5", "bytes=1-2\n"),
        # several
        *("bytes=0-0,2-2", "bytes=0-4, 5-9", "bytes=0-,0-", "bytes=-0,-0", "bytes=99-,1-2", "bytes=1-2,x"),
        "bytes=" + ",".join(["0-0"] * 2000),
    ],
)  # fmt: skip
def test_range_that_cannot_be_read_and_several_ranges_are_ignored(folder: Path, wanted: str) -> None:
    reply = get(folder, Range=wanted)
    assert (reply.status, reply.body) == (200, DATA)
    assert "Content-Range" not in reply.headers


def naive(spec: str, size: int) -> list[int] | None:
    """Return the places of the bytes that a valid range selects, by RFC 9110 section 14.1.2, one by one."""
    first, last = spec.split("-")
    if not first:
        return [place for place in range(size) if place >= size - int(last)]
    if last and int(last) < int(first):
        return None
    return [place for place in range(size) if place >= int(first) and (not last or place <= int(last))]


@settings(deadline=None)
@given(
    size=st.integers(0, 12),
    spec=st.one_of(
        st.builds("{}-{}".format, st.integers(0, 14), st.integers(0, 14)),
        st.builds("{}-".format, st.integers(0, 14)),
        st.builds("-{}".format, st.integers(0, 14)),
    ),
)
@example(size=0, spec="-1")
@example(size=1, spec="0-0")
@example(size=10, spec="-0")
def test_any_range_is_what_the_rfc_says(size: int, spec: str) -> None:
    data = bytes(range(size))
    with tempfile.TemporaryDirectory() as home:
        Path(home, "file").write_bytes(data)
        places = naive(spec, size)
        if places is None or (not size and spec.startswith("-") and spec != "-0"):
            assert get(Path(home), "file", Range=f"bytes={spec}").status == 200
        elif not places:
            assert (
                refusal(416, Path(home), "file", Range=f"bytes={spec}")
                .headers["Content-Range"]
                .endswith(f"*/{size}")
            )
        else:
            reply = get(Path(home), "file", Range=f"bytes={spec}")
            assert (reply.status, reply.body) == (206, bytes(places))
            assert reply.headers["Content-Range"] == f"bytes {places[0]}-{places[-1]}/{size}"


@settings(deadline=None)
@given(
    name=st.sampled_from(["Range", "If_Range", "If_Match", "If_None_Match", "If_Modified_Since"]),
    text=st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=40),
    head=st.sampled_from(["", "bytes=", 'W/"', '"', "Tue, 14 Nov 2023 22:13:20 GMT"]),
)
def test_no_header_is_stumbled_over(folder: Path, name: str, text: str, head: str) -> None:
    others = {"Range": "bytes=0-0"} if name == "If_Range" else {}
    with contextlib.suppress(HTTPProblem):
        reply = get(folder, **{name: head + text, **others})
        assert reply.body == {200: DATA, 304: b""}.get(reply.status, reply.body)
    assert not descriptors()


# ---- conditions


def test_if_range_of_the_same_file_sends_the_part(folder: Path) -> None:
    for same in (etag_of(folder), DATE, "Tuesday, 14-Nov-23 22:13:20 GMT", "Tue Nov 14 22:13:20 2023"):
        assert get(folder, Range="bytes=1-1", If_Range=same).body == b"1"
        refusal(416, folder, Range="bytes=10-", If_Range=same)


@pytest.mark.parametrize(
    "other", [EARLIER, LATER, '"other"', "*", "", "nonsense", "Tue, 14 Nov 2023 22:13:20 +0000"]
)
def test_if_range_of_another_file_sends_the_whole(folder: Path, other: str) -> None:
    for wanted in ("bytes=1-1", "bytes=10-", "bytes=-0"):
        reply = get(folder, Range=wanted, If_Range=other)
        assert (reply.status, reply.body) == (200, DATA)


def test_if_range_with_a_weak_tag_or_a_list_sends_the_whole(folder: Path) -> None:
    etag = etag_of(folder)
    for other in (f"W/{etag}", f'{etag}, "x"', etag.strip('"'), etag.upper().replace("-", "_")):
        assert get(folder, Range="bytes=1-1", If_Range=other).status == 200


def test_client_that_has_the_file_is_told_so(folder: Path) -> None:
    etag = etag_of(folder)
    for has in (etag, f"W/{etag}", f'"x", {etag}', f'W/"x,y" ,W/{etag},', "*", " * "):
        for also in ({}, {"Range": "bytes=20-"}, {"Range": "bytes=1-1"}, {"If_Modified_Since": EARLIER}):
            for method in ("GET", "HEAD"):
                reply = get(folder, method=method, If_None_Match=has, **also)
                assert (reply.status, reply.body) == (304, b"")
                assert dict(reply.headers) == {
                    "Accept-Ranges": "bytes",
                    "Cache-Control": "no-cache, no-transform",
                    "ETag": etag,
                    "Last-Modified": DATE,
                }
    assert not descriptors()


@pytest.mark.parametrize("other", ['"x"', 'W/"x"', "", "nonsense", '"x", "y"', "**", '"*"'])
def test_client_that_has_another_file_gets_this_one_whatever_its_date(folder: Path, other: str) -> None:
    assert get(folder, If_None_Match=other).body == DATA
    assert get(folder, If_None_Match=other, If_Modified_Since=LATER).body == DATA
    assert get(folder, If_None_Match=other, If_Modified_Since=LATER, Range="bytes=1-1").body == b"1"


@pytest.mark.parametrize(
    ("date", "status"),
    [
        (EARLIER, 200),
        (DATE, 304),
        (LATER, 304),
        ("Tuesday, 14-Nov-23 22:13:20 GMT", 304),
        ("Tue Nov 14 22:13:20 2023", 304),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 304),
    ],
)
def test_date_tells_whether_the_client_has_the_file(folder: Path, date: str, status: int) -> None:
    assert get(folder, If_Modified_Since=date).status == status


@pytest.mark.parametrize(
    "date",
    [
        *("", "nonsense", "0", "1800000000", "Tue, 14 Nov 2043 22:13:20", "Tue, 14 Nov 2043 22:13:20 +0100"),
        *("Tue, 14 Nov 99999999999 00:00:00 GMT", "Fri, 31 Dec 9999 23:59:59 -0100", "2043-11-14T22:13:20Z"),
        *("Tue, 31 Feb 2043 22:13:20 GMT", "Tue, 14 Nov 2043 25:13:20 GMT", "tue, 14 nov 2043 22:13:20 gmt"),
        *("Tue, 00 Nov 2043 22:13:20 GMT", "Tue, 14 Nov 0000 22:13:20 GMT", DATE + ", " + DATE),
    ],
)
def test_date_that_cannot_be_read_is_ignored(folder: Path, date: str) -> None:
    assert get(folder, If_Modified_Since=date).status == 200
    assert get(folder, If_Unmodified_Since=date).status == 200
    assert get(folder, If_Range=date, Range="bytes=1-1").status == 200


def test_file_that_the_client_does_not_want_is_412(folder: Path) -> None:
    etag = etag_of(folder)
    for unwanted in (
        *({"If_Match": '"x"'}, {"If_Match": f"W/{etag}"}, {"If_Match": ""}, {"If_Match": "nonsense"}),
        *({"If_Unmodified_Since": EARLIER}, {"If_Match": '"x"', "If_Unmodified_Since": LATER}),
        {"If_Match": '"x"', "If_None_Match": etag, "Range": "bytes=20-"},
    ):
        assert refusal(412, folder, **unwanted).failure_source == "visitor"
    assert not descriptors()


def test_file_that_the_client_wants_is_sent(folder: Path) -> None:
    etag = etag_of(folder)
    for wanted in (
        *({"If_Match": etag}, {"If_Match": f'W/"x" , {etag}'}, {"If_Match": "*"}),
        *({"If_Unmodified_Since": DATE}, {"If_Unmodified_Since": LATER}),
        {"If_Match": etag, "If_Unmodified_Since": EARLIER},
    ):
        assert get(folder, **wanted).body == DATA
        assert get(folder, Range="bytes=1-1", **wanted).body == b"1"


@pytest.mark.parametrize(
    ("if_none_match", "etag", "fresh"),
    [
        (None, '"a"', False),
        ("", '"a"', False),
        ('"a"', '"a"', True),
        ('W/"a"', '"a"', True),
        ('"a"', 'W/"a"', True),
        ('W/"a"', 'W/"a"', True),
        ("*", '"a"', True),
        ("\t* ", '"a"', True),
        ('"b", "a"', '"a"', True),
        ('"b",W/"a" , "c"', '"a"', True),
        ('"b,", "a"', '"a"', True),
        ('"b,\\", "a"', '"a"', True),  # RFC 9110 section 8.8.3: a backslash quotes nothing
        ('""', '""', True),
        ('"\xe9"', '"\xe9"', True),
        ('"A"', '"a"', False),
        ('w/"a"', '"b"', False),
        ("a", '"a"', False),
        ('"a', '"a"', False),
        ('"b", "c"', '"a"', False),
        ('"x*"', '"a"', False),
        ('"*"', '"a"', False),
        ('"ba"', '"a"', False),
        ('"b, "c"', '", "', False),
    ],
)
def test_freshness_is_by_weak_comparison(if_none_match: str | None, etag: str, fresh: bool) -> None:
    assert is_fresh(if_none_match, etag) is fresh


@pytest.mark.parametrize(
    "text", ['"' * 16384, '"a' * 8192, 'W/"' * 5461, '"a",' * 4096, "W/" * 8192, " " * 16384]
)
def test_no_condition_takes_long(text: str) -> None:
    began = time.thread_time()
    assert not is_fresh(text * 16, '"x"')
    assert time.thread_time() - began < 2


# ---- which files


@pytest.mark.parametrize(
    "path",
    [
        *("nothing", "", ".", "..", "/", "ten/", "/ten", "./ten", "a//ten", "../secret", "x/../ten", "ten/x"),
        *("/etc/passwd", "//etc/passwd", "ten\0", "\0", "\ud800", "a" * 300, "a/" * 3000 + "b", ".hidden"),
        *("folder", "folder/", "folder/.hidden", ".folder/ten", "~", "*"),
        *(
            "out",
            "out-relative",
            "out-folder/secret",
            "out-root/etc/passwd",
            "chain",
            "sibling",
            "loop",
            "broken",
        ),
        *("pipe", "to-pipe", "socket", "device"),
    ],
)
def test_what_is_no_file_of_the_folder_is_not_found(odd_folder: Path, path: str) -> None:
    with pytest.raises(NotFound) as caught:  # at once: a pipe waits for ever
        send(Request.blank("/"), str(odd_folder), path)
    assert str(caught.value) == "There is no such test file."
    assert not descriptors()


@pytest.fixture(scope="module")
def odd_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Yield a folder with all that is no regular file, and with links to all directions."""
    home = tmp_path_factory.mktemp("odd")
    folder = home / "files"
    for inner in (folder / "folder", folder / ".folder", home / "files-of-others"):
        inner.mkdir(parents=True)
    for each in ("secret", "files-of-others/ten", "files/ten", "files/folder/ten"):
        (home / each).write_bytes(DATA)
    for each in ("files/.hidden", "files/folder/.hidden", "files/.folder/ten"):
        (home / each).write_bytes(DATA)
    links: dict[str, str | Path] = {
        "out": home / "secret",
        "out-relative": "../secret",
        "out-folder": home,
        "out-root": "/",
        "chain": "out",
        "sibling": home / "files-of-others" / "ten",
        "loop": "loop",
        "broken": "nowhere",
        "to-pipe": "pipe",
        "device": "/dev/zero",
        # and these stay inside
        "inside": "ten",
        "inside-absolute": folder / "folder" / "ten",
        "inside-folder": "folder",
        "around": "../files/ten",
    }
    for name, where in links.items():
        (folder / name).symlink_to(where)
    os.mkfifo(folder / "pipe")
    with socket.socket(socket.AF_UNIX) as listening, contextlib.chdir(folder):
        listening.bind("socket")
        yield folder


@pytest.mark.parametrize(
    "path", ["ten", "folder/ten", "inside", "inside-absolute", "inside-folder/ten", "around"]
)
def test_links_that_stay_inside_are_followed(odd_folder: Path, path: str) -> None:
    assert get(odd_folder, path).body == DATA


def test_folder_may_be_a_link_itself(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(folder)
    assert get(tmp_path / "link").body == DATA


def test_who_waits_to_write_into_a_pipe_is_not_woken_up(odd_folder: Path) -> None:
    opened = threading.Event()

    def write() -> None:
        with open(odd_folder / "pipe", "wb"):
            opened.set()

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    time.sleep(0.1)
    for path in ("pipe", "to-pipe"):
        with pytest.raises(NotFound):
            send(Request.blank("/"), str(odd_folder), path)
    assert not opened.wait(0.2)
    with open(odd_folder / "pipe", "rb"):
        writer.join(60)
    assert opened.is_set()


def test_no_folder_means_no_files() -> None:
    with pytest.raises(NotFound, match="No test files are offered"):
        send(Request.blank("/"), None, "ten")


def test_file_that_may_not_be_read_is_not_found() -> None:
    with tempfile.TemporaryDirectory() as home:
        os.chmod(home, 0o755)
        Path(home, "locked").mkdir(mode=0o700)
        for name in ("unreadable", "locked/ten"):
            Path(home, name).write_bytes(DATA)
        Path(home, "unreadable").chmod(0)
        with as_nobody():
            for name in ("unreadable", "locked/ten"):
                with pytest.raises(NotFound):
                    send(Request.blank("/"), home, name)


@contextlib.contextmanager
def as_nobody() -> Iterator[None]:
    """Give up root's right to read everything for a while."""
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_too_many_open_files_are_no_missing_file(folder: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = max(map(int, os.listdir("/proc/self/fd"))) + 1
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
            stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
            for _ in range(limit):
                stack.callback(os.close, os.open("/dev/null", os.O_RDONLY))
        with pytest.raises(Busy) as caught:
            send(Request.blank("/"), str(folder), "ten")
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.__cause__.errno == errno.EMFILE
    assert get(folder).body == DATA


def test_file_is_closed_with_the_body_and_no_child_inherits_it(folder: Path) -> None:
    body = body_of(folder, "ten")
    (opened,) = [each for each in map(int, os.listdir("/proc/self/fd")) if is_open(each, folder / "ten")]
    assert not os.get_inheritable(opened)
    body.close()
    body.close()
    assert not descriptors()


def is_open(descriptor: int, path: Path) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return os.readlink(f"/proc/self/fd/{descriptor}") == str(path)
    return False


# ---- files that change while they are sent


def shrink(path: Path) -> None:
    os.truncate(path, 100_000)


def grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def overwrite(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"b" * 200_000)


@pytest.mark.parametrize("change", [shrink, grow, overwrite, lambda path: os.truncate(path, 0)])
@pytest.mark.parametrize(
    "environ", [{}, {"waitress.client_disconnected": bool, "wsgi.file_wrapper": FileWrapper}]
)
def test_file_that_changes_while_it_is_sent_ends_in_an_error(
    tmp_path: Path, change: Any, environ: dict[str, Any]
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"a" * 200_000)
    os.utime(path, (1, 1))
    body = body_of(tmp_path, "file", environ)
    pieces = iter(body)
    assert next(pieces).strip(b"a") == b""
    change(path)
    with pytest.raises(OSError, match="has changed"):
        next(pieces)
    body.close()


def test_file_that_is_replaced_or_removed_is_sent_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for change in (lambda: (tmp_path / "other").rename(path), path.unlink):
        path.write_bytes(b"a" * 200_000)
        (tmp_path / "other").write_bytes(b"b" * 200_000)
        body = body_of(tmp_path, "file")
        pieces = iter(body)
        received = next(pieces)
        change()
        assert received + b"".join(pieces) == b"a" * 200_000
        body.close()


@pytest.mark.parametrize("change", [shrink, overwrite])
def test_connection_ends_with_the_file_that_has_changed(serve: Serve, tmp_path: Path, change: Any) -> None:
    (tmp_path / "files").mkdir()
    path = tmp_path / "files" / "big"
    with path.open("wb") as file:
        file.truncate(32 << 20)
    server = serve(testfiles=str(tmp_path / "files"))
    received = 0
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        request = b"GET /testfiles/big HTTP/1.1\r\nHost: lg\r\n\r\n"
        connection.sendall(request)
        assert connection.recv(15) == b"HTTP/1.1 200 OK"
        change(path)
        with contextlib.suppress(ConnectionResetError):
            while data := connection.recv(1 << 20):
                assert b"b" not in data.rpartition(b"\r\n\r\n")[2]
                received += len(data)
    assert received < 32 << 20
    assert server.get("/healthz")[0] == 200
    before = cpu_seconds(server.process.pid)
    time.sleep(0.5)
    assert cpu_seconds(server.process.pid) - before < 0.2  # nothing goes round in circles


@pytest.mark.parametrize("wanted", ["", "bytes=100000-20000000", "bytes=-5"])
def test_server_sends_every_byte_of_the_part_and_goes_on(serve: Serve, tmp_path: Path, wanted: str) -> None:
    (tmp_path / "files").mkdir()
    data = os.urandom(1 << 16) * 400
    (tmp_path / "files" / "big").write_bytes(data)
    server = serve(testfiles=str(tmp_path / "files"))
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        ask = f"GET /testfiles/big HTTP/1.1\r\nHost: lg\r\nRange: {wanted}\r\n\r\n".encode()
        last = b"GET /healthz HTTP/1.1\r\nHost: lg\r\nConnection: close\r\n\r\n"
        connection.sendall(ask + last)
        with connection.makefile("rb") as file:
            received = file.read()
    _, _, rest = received.partition(b"\r\n\r\n")
    start, end = {"": (0, len(data)), "bytes=-5": (len(data) - 5, len(data))}.get(wanted, (100000, 20000001))
    assert rest[: end - start] == data[start:end]
    assert rest[end - start :].startswith(b"HTTP/1.1 200 OK")
    assert rest.endswith(b"\r\n\r\nok")


# ---- a part, as a file


@settings(deadline=None)
@given(
    start=st.integers(0, 10),
    length=st.integers(0, 10),
    steps=st.lists(st.tuples(st.sampled_from(["read", "seek", "skip"]), st.integers(-1, 12)), max_size=8),
)
def test_part_behaves_as_a_file_of_its_own(start: int, length: int, steps: list[tuple[str, int]]) -> None:
    with tempfile.TemporaryDirectory() as home:
        whole, own = Path(home, "whole"), Path(home, "own")
        whole.write_bytes(DATA * 2)
        own.write_bytes((DATA * 2)[start : start + length])
        file = whole.open("rb", buffering=0)
        part = Part(file, os.fstat(file.fileno()), start, start + length)
        with own.open("rb") as expected, contextlib.closing(part):
            for step, number in steps:
                left = length - expected.tell()
                if step == "read":
                    assert part.read(number) == expected.read(number)
                elif step == "seek":
                    assert part.seek(max(0, min(number, length))) == expected.seek(
                        max(0, min(number, length))
                    )
                else:
                    assert part.seek(min(1, left), os.SEEK_CUR) == expected.seek(min(1, left), os.SEEK_CUR)
                assert part.tell() == expected.tell()
            assert part.seek(0, os.SEEK_END) == expected.seek(0, os.SEEK_END) == length
