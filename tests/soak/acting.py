"""The clients: each plays its plan over a socket of its own and judges what it gets."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import trio

from tests.chaos.clients import H1, Address, connect, open_h1, reset
from tests.h2client import H2Client, H2Stream, open_h2
from tests.soak.ledger import Ledger
from tests.soak.plans import BAD, LOOKS, Behaviour, Plan
from tests.soak.setup import Clocks
from tests.soak.truth import Judged, judge_answers, judge_part, judge_stream

__all__ = ["Clients", "Figures"]

COMPANION = 1_000_000_000
"""Added to a question's number for a second question over the same connection."""


@dataclass(slots=True)
class Figures:
    """What the clients have seen."""

    clients: Counter[str] = field(default_factory=Counter)
    """By behaviour, those that are through."""
    endings: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Models by kind of deed and how they ended, in streams that were read to their end."""
    comparisons: int = 0
    chunks: int = 0
    wrong: Counter[str] = field(default_factory=Counter)
    first_wrong: list[str] = field(default_factory=list)
    """What was wrong first, with all that is known; the rest is counted."""


class Clients:
    """Plays plans against the service at an address."""

    def __init__(
        self,
        seed: int,
        address: Address,
        clocks: Clocks,
        ledger: Ledger,
        figures: Figures,
        wrong: Callable[[str], None],
    ) -> None:
        self.seed = seed
        self.ledger = ledger
        self.figures = figures
        self.running: set[int] = set()
        """Questions whose clients are not through."""
        self.over: dict[int, float] = {}
        """When the clients of the last questions were through: nobody may work on them any more."""
        self._clocks = clocks
        self._address = address
        self._url = f"http://{address[0]}:{address[1]}"
        self._wrong = wrong
        self._acts: dict[Behaviour, Callable[[Plan], Awaitable[None]]] = {
            "reads over HTTP/1.1": self._reads,
            "reads over HTTP/2": self._reads_over_http2,
            "takes one answer": self._takes_one_answer,
            "reads slowly": self._reads_slowly,
            "leaves": self._leaves,
            "stops reading": self._stops_reading,
            "stops by DELETE": self._stops,
            "sends half a request": self._sends_half,
            "asks nonsense": self._asks_nonsense,
            "looks": self._looks,
        }

    async def act(self, plan: Plan) -> None:
        """Play one plan to its end; never raises for what the service does."""
        try:
            with self._asking(plan.number), trio.fail_after(self._clocks.longest):
                await self._acts[plan.behaviour](plan)
        except trio.TooSlowError:
            self._note(plan, f"took longer than {self._clocks.longest:g} s")
        except Exception as exc:
            words = str(exc).partition("\nassert ")[0]
            self._note(plan, words if isinstance(exc, AssertionError) else repr(exc))
        self.figures.clients[plan.behaviour] += 1

    def forget(self, before: float) -> None:
        """Questions that have been over since before that moment."""
        for number in [n for n, moment in self.over.items() if moment < before]:
            del self.over[number]

    # --- those that read to the end --------------------------------------------------------------

    async def _reads(self, plan: Plan) -> None:
        async with open_h1(self._address, {}) as client:
            await self._ask(client, plan)
            self._judge(plan, client, judge_stream(self.seed, plan, await client.whole()))
            if plan.way % 4 == 0:
                await client.request("GET", "/health")
                assert await client.whole() == b'{"status":"healthy"}'

    async def _reads_slowly(self, plan: Plan) -> None:
        async with open_h1(self._address, {}, receive_buffer=4096) as client:
            await self._ask(client, plan)
            while not client.ended:
                assert not client.closed, "it was cut, and reads"
                await client.receive(4096)
                await trio.sleep(0.01)
            self._judge(plan, client, judge_stream(self.seed, plan, bytes(client.body)))

    async def _reads_over_http2(self, plan: Plan) -> None:
        plans = [replace(plan, number=plan.number + n * COMPANION) for n in range(1 + plan.way % 3)]
        async with open_h2(await connect(self._address), self._url) as client:
            with self._asking(*(each.number for each in plans)):
                streams = [await client.post("/compare-stream", each.body) for each in plans]
                looked = await client.get("/health")
                await client.until(lambda: all(s.ended or s.reset for s in [*streams, looked]))
            for each, stream in zip(plans, streams, strict=True):
                assert stream.headers[":status"] == "200", f"{stream.headers} {stream.body!r}"
                assert stream.ended, f"its stream was reset with {stream.reset}"
                judged = judge_stream(self.seed, each, bytes(stream.body))
                self._take(each, stream.headers["x-comparison-id"], judged)

    async def _takes_one_answer(self, plan: Plan) -> None:
        async with open_h1(self._address, {}) as client:
            await self._ask(client, plan, path="/compare")
            body = await client.whole()
            assert client.status == 200, f"status {client.status}: {body[:200]!r}"
            self._judge(plan, client, judge_answers(self.seed, plan, body))

    async def _stops(self, plan: Plan) -> None:
        """Stop one model or all over another connection, and read to the end."""
        async with open_h1(self._address, {}) as client:
            await self._ask(client, plan)
            await client.until(lambda: client.status)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._delete, plan, client.headers["x-comparison-id"])
                body = await client.whole()
            self._judge(plan, client, judge_stream(self.seed, plan, body, stopped=True))

    async def _delete(self, plan: Plan, comparison: str) -> None:
        await trio.sleep(plan.moment)
        paths = [f"/comparisons/{comparison}"]
        if plan.way % 2:
            paths.insert(0, f"{paths[0]}/models/{plan.models[0]}")
        async with open_h1(self._address, {}) as client:
            for path in paths:
                await client.request("DELETE", path)
                answer = json.loads(await client.whole())
                late = answer.get("code") in ("comparison_not_running", "model_not_running")
                assert client.status == 202 or (client.status == 404 and late), answer
                await trio.sleep(0.3)

    # --- those that do not -----------------------------------------------------------------------

    async def _leaves(self, plan: Plan) -> None:
        if plan.way % 3 == 0:
            await self._leaves_over_http2(plan)
            return
        async with open_h1(self._address, {}) as client:
            await self._ask(client, plan)
            with trio.move_on_after(plan.moment):
                await client.whole()
            if client.ended:
                self._judge(plan, client, judge_stream(self.seed, plan, bytes(client.body)))
                return
            match plan.way % 4:
                case 0:
                    await reset(client.stream)
                case 1:
                    assert isinstance(client.stream, trio.SocketStream)
                    await client.stream.send_eof()  # counts as gone
                    await _closed(client, self._clocks.cut)
            self._part(plan, client.headers, bytes(client.body))

    async def _leaves_over_http2(self, plan: Plan) -> None:
        async with open_h2(await connect(self._address), self._url) as client:
            stream = await client.post("/compare-stream", plan.body)
            with trio.move_on_after(plan.moment):
                await client.finish(stream)
            if stream.ended:
                comparison = stream.headers["x-comparison-id"]
                self._take(plan, comparison, judge_stream(self.seed, plan, bytes(stream.body)))
                return
            match plan.way % 4:
                case 0:
                    await client.go_away()
                case 1 | 2:
                    await client.reset(stream)
                    looked = await client.get("/health")  # the connection goes on
                    await client.until(lambda: looked.ended)
            self._part(plan, stream.headers, bytes(stream.body))

    async def _stops_reading(self, plan: Plan) -> None:
        if plan.way % 2:
            stream = await connect(self._address, receive_buffer=4096)
            async with open_h2(stream, self._url) as client:
                asked = await client.post("/compare-stream", plan.body)
                await client.until(lambda: bool(asked.headers))
                await trio.sleep(self._clocks.cut)
                self._through(plan)
                with trio.fail_after(self._clocks.cut):
                    await _until_cut(client, asked)
                self._part(plan, asked.headers, bytes(asked.body))
            return
        async with open_h1(self._address, {}, receive_buffer=4096) as h1:
            await self._ask(h1, plan)
            await h1.until(lambda: h1.status)
            await trio.sleep(self._clocks.cut)
            self._through(plan)
            await _closed(h1, self._clocks.cut)
            assert not h1.ended, "it does not read, and its stream came to an end"
            self._part(plan, h1.headers, bytes(h1.body))

    async def _sends_half(self, plan: Plan) -> None:
        body = json.dumps(plan.body).encode()
        head = b"POST /compare-stream HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n"
        head += b"Content-Length: %d\r\n" % len(body)
        if plan.way % 4 == 3:
            head += b"Expect: 100-continue\r\n"
        whole = head + b"\r\n" + body
        stream = await connect(self._address)
        async with stream:
            await stream.send_all(whole[: 1 + plan.way % (len(whole) - 1)])
            await trio.sleep(plan.moment)
            if plan.way % 2:
                await reset(stream)

    async def _asks_nonsense(self, plan: Plan) -> None:
        body, status, code = BAD[plan.way % len(BAD)]
        path = ("/compare-stream", "/compare", "/api/compare-stream")[plan.way % 3]
        async with open_h1(self._address, {}) as client:
            try:
                await client.request("POST", path, body)
            except trio.BrokenResourceError:
                assert status == 413, "the connection was closed"
                return  # what is too long is read for a second, and this machine took longer
            answer = json.loads(await client.whole())
            assert (client.status, answer["code"]) == (status, code), f"{client.status} {answer}"
            assert isinstance(answer["detail"], str)

    async def _looks(self, plan: Plan) -> None:
        paths = [LOOKS[(plan.way + n) % len(LOOKS)] for n in range(3)]
        if plan.way % 2:
            async with open_h2(await connect(self._address), self._url) as client:
                streams = [await client.get(path) for path in paths]
                await client.finish(*streams)
                for path, stream in zip(paths, streams, strict=True):
                    self._look(path, int(stream.headers[":status"]), bytes(stream.body))
            return
        async with open_h1(self._address, {}) as h1:
            for path in paths:
                await h1.request("GET", path)
                self._look(path, 0, await h1.whole(), h1)

    # --- what they have in common ----------------------------------------------------------------

    @contextmanager
    def _asking(self, *questions: int) -> Iterator[None]:
        self.running.update(questions)
        try:
            yield
        finally:
            self._no_longer(questions)

    def _through(self, plan: Plan) -> None:
        """Nobody may work for this client any more, though it is still there."""
        self._no_longer([plan.number])

    def _no_longer(self, questions: Any) -> None:
        for number in questions:
            if number in self.running:
                self.running.discard(number)
                self.over[number] = trio.current_time()

    async def _ask(self, client: H1, plan: Plan, path: str = "/compare-stream") -> None:
        await client.request("POST", path, json.dumps(plan.body).encode())

    def _judge(self, plan: Plan, client: H1, judged: Judged) -> None:
        assert client.status == 200, f"status {client.status}: {bytes(client.body[:200])!r}"
        self._take(plan, client.headers["x-comparison-id"], judged)

    def _take(self, plan: Plan, comparison: str, judged: Judged) -> None:
        self.figures.comparisons += 1
        self.figures.chunks += judged.chunks
        self.figures.endings += judged.endings
        for problem in judged.wrong:
            self._note(plan, problem)
        if judged.codes:
            self.ledger.told(comparison, _who(plan), judged.codes)

    def _part(self, plan: Plan, headers: dict[str, str], body: bytes) -> None:
        self.figures.comparisons += 1
        self.figures.chunks += body.count(b'"type":"chunk"')
        for problem in judge_part(self.seed, plan, body):
            self._note(plan, problem)
        if comparison := headers.get("x-comparison-id"):
            self.ledger.left(comparison, _who(plan))

    def _look(self, path: str, status: int, body: bytes, h1: H1 | None = None) -> None:
        status = h1.status if h1 is not None else status
        # Where the service has no metrics yet, it says so as of any path that is not there.
        missing = "nothing" in path or "unknown" in path or (path == "/metrics" and status == 404)
        expected = (404, 405) if missing else (200,)
        assert status in expected, f"{path}: status {status}, {body[:100]!r}"

    def _note(self, plan: Plan, problem: str) -> None:
        self._wrong(f"{_who(plan)}: {problem}")


def _who(plan: Plan) -> str:
    return f"{plan.behaviour}, client {plan.number}"


async def _closed(client: H1, within: float) -> None:
    """Wait for the server to close the connection."""
    with trio.move_on_after(within):
        await client.receive()
        while not client.closed:
            await client.receive()
    assert client.closed, f"it was not closed within {within:g} s"


async def _until_cut(client: H2Client, stream: H2Stream) -> None:
    try:
        await client.until(lambda: stream.reset is not None)
    except (AssertionError, trio.BrokenResourceError):
        return  # the connection is gone, and the stream with it
    assert not stream.ended, "it does not read, and its stream came to an end"
