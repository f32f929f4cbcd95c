"""What the soak's clients do: ask well and badly, and note what they have a right to."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from tests.soak.wire import Answer, Cut, Wire
from tests.support import MEDIA, V1

PATIENCE = 40.0  # seconds in which whatever a client does has come to its end
NETWORKS = 10  # /48s, over which the clients are spread
TIRED = 3  # refusals with 429 in a row, after which a client becomes another one of its network
NAMES = ("localhost", "127.0.0.1", "127.0.0.2", "127.0.0.3", "::1")
PLAIN = ("sleep", "stubborn", "flood", "stream", "mute", "mute/long", "orphan", "fail", "die", "missing")
AIMED = ("ping", "echo", "lines")
LISTS = (
    *("/", "/style.css", "/healthz", "/api/info", "/api/capabilities", "/openapi.json", "/no/such/path"),
    *(f"{V1}/cmd", f"{V1}/routers", f"{V1}/routers/1", f"{V1}/routers/7", f"{V1}/cmd?router=r2.example.net"),
)
FILE = "/testfiles/1MB.bin"
BROKEN = (
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    b"GET  /  HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
    b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n",
    b"GET / HTTP/1.1\r\nContent-Length: 1000000\r\n\r\n",
    b"GET / HTTP/1.1\r\nTransfer-Encoding: nonsense\r\n\r\n",
    b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzzz\r\n",
    b"GET /" + b"a" * 20000 + b" HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nX: " + b" " * 20000 + b"\r\n\r\n",
    b"\0" * 100 + b"\r\n\r\n",
)
STATUS = {200, 429, 502, 503, 504}  # of a question that could be run


class Question(NamedTuple):
    request: bytes
    who: str  # the address that its record has; nobody else ever has it
    accept: str


class Tally:
    """Note what all clients have done, and what was wrong."""

    def __init__(self) -> None:
        self.acts: Counter[str] = Counter()
        self.statuses: Counter[int] = Counter()
        self.answered: set[str] = set()  # addresses whose question certainly leaves one record
        self.possible: set[str] = set()  # those that leave one, or none if the server has not read them
        self.wrong: list[str] = []
        self.is_restarting = False  # so that a broken connection is nobody's fault


class Client:
    """One client: it does one thing after the other, at random."""

    def __init__(self, number: int, port: int, seed: int, tally: Tally, pause: float) -> None:
        self.random = random.Random(f"{seed} {number}")
        self._number = number
        self.port = port
        self.tally = tally
        self._pause = pause
        self._life = seed % 1000 * 50  # it begins a new one when it is refused again and again
        self._refusals = 0
        self._asked = 0

    async def run(self, is_over: asyncio.Event) -> None:
        """Act until it is over."""
        acts, weights = list(ACTS), [ACTS[act] for act in ACTS]
        while not is_over.is_set():
            await asyncio.sleep(self.random.uniform(0, 2 * self._pause))
            act = self.random.choices(acts, weights)[0]
            name = act.__name__
            try:
                async with asyncio.timeout(PATIENCE):
                    await act(self)
                self.tally.acts[name] += 1
            except TimeoutError:
                self.tally.wrong.append(f"{name}: has no end after {PATIENCE:g} s")
            except (OSError, Cut, ValueError) as error:
                if not self.tally.is_restarting:
                    self.tally.wrong.append(f"{name}: {type(error).__name__}: {error}")

    # --- what can be asked

    def question(self, path: str = "", accept: str = "") -> Question:
        """Return a question that has a record."""
        choose = self.random.choice
        if not path:
            path = choose(PLAIN) if self.random.random() < 0.5 else f"{choose(AIMED)}/{choose(NAMES)}"
        accept = accept or choose(MEDIA)
        query = choose(["", "", "runtime=0.5", "runtime=1", "router=r2.example.net", "routerindex=1"])
        return self._question(f"{V1}/{path}?{query}", accept)

    def from_page(self) -> Question:
        """Return the question that the page's form asks without JavaScript."""
        command, target = self.random.choice(AIMED), self.random.choice(NAMES[1:4])
        return self._question(f"/?cmd={command}&ip={target}&run=1", "text/html")

    def senseless(self) -> Question:
        """Return a question that is refused, and has a record."""
        paths = ("nothing", "ping", "ping/-c", "sleep/127.0.0.1", "ping/127.1", "ping/127.0.0.1?protocol=9")
        return self._question(f"{V1}/{self.random.choice(paths)}", "*/*")

    def plain(self, path: str, more: str = "", method: str = "GET") -> bytes:
        """Return a request that has no record."""
        return request(path, "*/*", f"{self._me(0)}{more}", method)

    def _question(self, path: str, accept: str) -> Question:
        self._asked += 1
        me = self._me(self._asked)
        return Question(request(path, accept, me), canonical(me.split()[1]), accept)

    def _me(self, number: int) -> str:
        """Return the header with an address of the client's /64: a new one for each question."""
        network, host = self._number % NETWORKS + 1, self._number + 1000 * (self._life % 60)
        low = f"0:{self._life:x}:{number >> 16:x}:{number & 0xFFFF:x}"
        return f"X-Forwarded-For: 2001:db8:{network:x}:{host:x}:{low}\r\n"

    # --- what comes of it

    async def put(self, wire: Wire, question: Question) -> None:
        """Send a question, of which we do not know yet whether the server reads it."""
        self.tally.possible.add(question.who)
        await wire.send(question.request)

    def heard(self, question: Question) -> None:
        """Note that the server has begun to answer."""
        self.tally.answered.add(question.who)

    async def take(self, wire: Wire, question: Question, allowed: set[int] = STATUS) -> Answer:
        """Read an answer to its end, and judge it."""
        if await wire.first():
            self.heard(question)
        answer = await wire.answer()
        self._judge(question, answer, allowed)
        return answer

    def _judge(self, question: Question, answer: Answer, allowed: set[int]) -> None:
        self.tally.statuses[answer.status] += 1
        self._refusals = self._refusals + 1 if answer.status == 429 else 0
        if self._refusals >= TIRED:
            self._life, self._refusals = self._life + 1, 0
        line = question.request.partition(b"\r\n")[0].decode()
        about = f"{line} as {question.accept}: {answer.status} {answer.media} {answer.body[-200:]!r}"
        is_cut = answer.status == 500 and b"is longer than" in answer.body
        if answer.status not in allowed and not is_cut:
            self.tally.wrong.append(f"status of {about}")
        elif not is_whole(answer):
            self.tally.wrong.append(f"end of {about}")

    def later(self, most: float = 1.0) -> Awaitable[None]:
        return asyncio.sleep(self.random.uniform(0, most))


def request(path: str, accept: str = "*/*", more: str = "", method: str = "GET") -> bytes:
    return f"{method} {path} HTTP/1.1\r\nHost: lg\r\nAccept: {accept}\r\n{more}\r\n".encode()


def canonical(address: str) -> str:
    """Return an address as the journal has it."""
    return str(ipaddress.ip_address(address))


def is_whole(answer: Answer) -> bool:
    """Tell whether an answer is complete in itself."""
    if answer.media == "application/json":
        return "status" in json.loads(answer.body)
    if answer.media == "text/event-stream":
        last = answer.body.decode().rstrip("\n").split("\n\n")[-1]
        return last.startswith("event: result\ndata: {") and last.endswith("}")
    if answer.media == "text/html":
        return answer.body.rstrip().endswith(b"</html>")
    return True


# --- acts


async def asks(client: Client) -> None:
    async with Wire(client.port) as wire:
        question = client.question()
        await client.put(wire, question)
        await client.take(wire, question)


async def shares(client: Client) -> None:
    """Ask what many ask."""
    async with Wire(client.port) as wire:
        question = client.question("lines/127.0.0.9")
        await client.put(wire, question)
        await client.take(wire, question)


async def asks_from_the_page(client: Client) -> None:
    async with Wire(client.port) as wire:
        question = client.from_page()
        await client.put(wire, question)
        await client.take(wire, question)


async def asks_nonsense(client: Client) -> None:
    async with Wire(client.port) as wire:
        question = client.senseless()
        await client.put(wire, question)
        await client.take(wire, question, {400, 404})


async def reads_lists(client: Client) -> None:
    async with Wire(client.port) as wire:
        for _ in range(client.random.randint(1, 5)):
            path, method = client.random.choice(LISTS), client.random.choice(["GET", "GET", "HEAD"])
            await wire.send(client.plain(path, method=method))
            answer = await wire.answer(method == "GET")
            if answer.status not in {200, 404, 429}:
                client.tally.wrong.append(f"{method} {path}: {answer.status}")


async def stays(client: Client) -> None:
    """Ask several times on one connection."""
    async with Wire(client.port) as wire:
        for _ in range(client.random.randint(2, 4)):
            question = client.question(f"echo/{client.random.choice(NAMES)}")
            await client.put(wire, question)
            if (await client.take(wire, question)).is_last:
                break


async def leaves(client: Client) -> None:
    async with Wire(client.port) as wire:
        question = client.question()
        await client.put(wire, question)
        await client.later()


async def leaves_after_the_first_piece(client: Client) -> None:
    async with Wire(client.port) as wire:
        question = client.question(client.random.choice(["stream", "sleep", "lines/127.0.0.9"]), MEDIA[2])
        await client.put(wire, question)
        if await wire.first():
            client.heard(question)


async def resets(client: Client) -> None:
    async with Wire(client.port) as wire:
        await client.put(wire, client.question())
        await client.later()
        wire.reset()


async def closes_half(client: Client) -> None:
    async with Wire(client.port) as wire:
        question = client.question()
        await client.put(wire, question)
        if client.random.random() < 0.5:
            await client.later(0.5)
        wire.say_no_more()
        try:
            if await wire.drain():
                client.heard(question)
        except ConnectionError:
            pass  # as the server may


async def reads_slowly(client: Client) -> None:
    async with Wire(client.port, delay=0.02, size=2000) as wire:
        question = client.question(client.random.choice(["flood", "lines/127.0.0.9", "stream"]))
        await client.put(wire, question)
        await client.take(wire, question)


async def never_reads(client: Client) -> None:
    async with Wire(client.port, delay=1) as wire:
        await client.put(wire, client.question("flood", "text/plain"))
        await client.later(4)


async def pipelines(client: Client) -> None:
    async with Wire(client.port) as wire:
        questions = [client.question() for _ in range(client.random.randint(2, 4))]
        client.tally.possible.update(question.who for question in questions)
        await wire.send(b"".join(question.request for question in questions))
        if client.random.random() < 0.4:
            await client.later()
            return
        for question in questions:
            if (await client.take(wire, question)).is_last:
                break


async def pipelines_too_much(client: Client) -> None:
    async with Wire(client.port) as wire:
        try:
            await wire.send(request("/healthz") * client.random.choice([16, 40]))
            await wire.first()
        except ConnectionError:
            pass  # as the server may


async def sends_half(client: Client) -> None:
    async with Wire(client.port) as wire:
        whole = client.plain(f"{V1}/echo/127.0.0.1")
        await wire.send(whole[: client.random.randrange(len(whole))])
        await client.later(3)


async def sends_byte_by_byte(client: Client) -> None:
    async with Wire(client.port) as wire:
        question = client.question("echo/127.0.0.1")
        client.tally.possible.add(question.who)
        for start in range(0, len(question.request), 7):
            await wire.send(question.request[start : start + 7])
            await asyncio.sleep(0.005)
        await client.take(wire, question)


async def breaks_http(client: Client) -> None:
    async with Wire(client.port) as wire:
        try:
            await wire.send(client.random.choice(BROKEN))
            wire.say_no_more()
            answer = await wire.drain()
        except ConnectionError:
            return  # as the server may
        if answer and not answer.startswith((b"HTTP/1.1 4", b"HTTP/1.0 4", b"HTTP/1.1 501", b"HTTP/1.0 501")):
            client.tally.wrong.append(f"broken HTTP is answered with {answer[:100]!r}")


async def says_nothing(client: Client) -> None:
    async with Wire(client.port):
        await client.later(3)


async def downloads(client: Client) -> None:
    start = client.random.randrange(1 << 20)
    is_slow = client.random.random() < 0.3
    async with Wire(client.port, delay=0.01 * is_slow) as wire:
        await wire.send(client.plain(FILE, f"Range: bytes={start}-\r\n"))
        if client.random.random() < 0.3:
            await wire.first()
            return
        answer = await wire.answer()
        is_refused = answer.status in {429, 503} and is_whole(answer)
        if not is_refused and (answer.status, len(answer.body)) != (206, (1 << 20) - start):
            client.tally.wrong.append(f"download: {answer.status}, {len(answer.body)} bytes from {start}")


async def heads(client: Client) -> None:
    """Ask for the head of a run, which runs nothing and leaves no record."""
    async with Wire(client.port) as wire:
        await wire.send(client.plain(f"{V1}/sleep", method="HEAD"))
        answer = await wire.answer(False)
        if answer.status != 200:
            client.tally.wrong.append(f"HEAD: {answer.status}")


ACTS: dict[Callable[[Client], Awaitable[None]], float] = {
    asks: 8,
    shares: 3,
    asks_from_the_page: 2,
    asks_nonsense: 1,
    reads_lists: 3,
    stays: 2,
    leaves: 3,
    leaves_after_the_first_piece: 2,
    resets: 2,
    closes_half: 2,
    reads_slowly: 1,
    never_reads: 1,
    pipelines: 2,
    pipelines_too_much: 0.5,
    sends_half: 1,
    sends_byte_by_byte: 1,
    breaks_http: 2,
    says_nothing: 1,
    downloads: 1,
    heads: 1,
}
FAULTS = {
    *(leaves, leaves_after_the_first_piece, resets, closes_half, reads_slowly, never_reads, pipelines),
    *(pipelines_too_much, sends_half, sends_byte_by_byte, breaks_http, says_nothing),
}
