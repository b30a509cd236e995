"""Healthy comparisons that go on during a fault, from a process of their own.

`python -m tests.chaos.canary` prints the port of its control and that of its provider. Each
connection to the control is one watch: the first line says, as JSON, whom to watch; `running` comes
back when every model writes; the end of our sending ends the watch, and its report is the answer.

One client speaks HTTP/1.1 and one HTTP/2. Each compares two models that count aloud, fifty numbers
a second. A process of its own, because what the harness itself does must not count as a gap.
"""

from __future__ import annotations

import json
import math
import ssl
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import trio
from hyperframe.frame import WindowUpdateFrame

from tests.chaos.clients import H1, Address, RawH2, Transport, connect, connect_tls
from tests.chaos.upstream import DONE, HEAD_CLOSE, Talk, Upstream, text_event
from tests.chaos.waiting import comes
from tests.grammar import check_stream

__all__ = ["Canary", "Report", "Watching"]

TOKEN_SECONDS = 0.02
LETTERS = "ab"
START_SECONDS = 10
STOP_SECONDS = 10
WIDE = 2**31 - 1
"""The largest window there is: the canary reads everything."""


@dataclass(slots=True)
class Report:
    """What the canary has to say of a fault."""

    gap: float = 0.0
    """The longest that any of its models was silent, in seconds."""
    tokens: int = 0
    wrong: list[str] = field(default_factory=list)
    """What was lost, doubled, out of order, or cut."""
    accepted: dict[str, list[str]] = field(default_factory=dict)
    """Its comparisons: id and models."""


class Watch:
    """One watch: two clients, their models, and what the models have really said."""

    def __init__(self, name: str, asked: dict[str, Any]) -> None:
        self.name = name
        host, port = asked["address"]
        self.address: Address = (host, port)
        self.lap = float(asked.get("lap") or math.inf)
        self.may_end_in: list[str] = asked.get("may_end_in") or []
        self.authority: str | None = asked.get("authority")
        """Whom to trust; None: no TLS."""
        self.report = Report()
        self.stopped = trio.Event()
        self.said: dict[str, list[int]] = {}
        """How far each model has counted, in each lap."""
        self.writing: set[str] = set()

    def models(self, client: str) -> list[str]:
        return [f"canary:{self.name}-{client}-{letter}" for letter in LETTERS]

    async def script(self, talk: Talk) -> None:
        """Count until the watch is over, or the lap."""
        counts = self.said.setdefault(talk.model, [])
        counts.append(0)
        lap = len(counts) - 1
        # Its connections are not kept, so that none of them is left to count afterwards.
        await talk.send(HEAD_CLOSE)
        began = trio.current_time()
        while not self.stopped.is_set() and trio.current_time() < began + self.lap:
            await talk.send(text_event(f"{counts[lap] + 1} "))
            counts[lap] += 1
            await trio.sleep_until(began + counts[lap] * TOKEN_SECONDS)
        await talk.send(DONE)
        await talk.close()


class Listener:
    """Hears one comparison: when each of its models speaks, and at the end whether all is there."""

    def __init__(self, watch: Watch, client: str) -> None:
        self._watch = watch
        self._models = watch.models(client)
        self._last: dict[str, float] = {}
        self._read = 0
        self._client = client

    def hear(self, body: bytearray) -> None:
        """Look at what is new in the body."""
        now = trio.current_time()
        end = body.rfind(b"\n\n") + 2
        if end <= self._read:
            return
        for block in bytes(body[self._read : end]).split(b"\n\n"):
            if not block.startswith(b"data: "):
                continue
            event = json.loads(block[6:])
            if event["type"] == "chunk":
                model = event["model"]
                self._watch.writing.add(model)
                report = self._watch.report
                report.gap = max(report.gap, now - self._last.get(model, now))
                report.tokens += 1
                self._last[model] = now
        self._read = end

    def judge(self, body: bytes, lap: int) -> None:
        """Hold the whole comparison against what the models have said."""
        if b'"server_shutdown"' in body:
            self._watch.stopped.set()  # nobody is there who could be asked again
        wrong = self._watch.report.wrong
        try:
            texts = check_stream(body, self._models)
        except AssertionError as exc:
            wrong.append(f"{self._client}: {exc}")
            return
        codes = {event["model"]: event["code"] for event in _dones(body)}
        for model in self._models:
            said = self._watch.said[model.partition(":")[2]][lap]
            ended = codes[model] in self._watch.may_end_in
            numbers = texts[model].split()
            heard = len(numbers)
            if numbers != [str(n) for n in range(1, heard + 1)]:
                wrong.append(f"{self._client}: not in order, or twice: {texts[model][:80]!r}")
            elif heard != said and not ended:
                wrong.append(f"{self._client}: {said} numbers were said, {heard} arrived")
            if codes[model] is not None and not ended:
                wrong.append(f"{self._client}: it ended in {codes[model]}")


def _dones(body: bytes) -> list[dict[str, Any]]:
    blocks = [json.loads(b[6:]) for b in body.split(b"\n\n") if b.startswith(b"data: ")]
    return [event for event in blocks if event["type"] == "done"]


async def _by_http1(watch: Watch) -> None:
    stream = await _transport(watch, "http/1.1")
    try:
        client = H1(stream, watch.report.accepted)
        lap = 0
        while not watch.stopped.is_set():
            listener = Listener(watch, "h1")
            await client.ask(*watch.models("h1"))
            while not client.ended:
                assert not client.closed, "its stream was cut"
                await client.receive()
                assert client.status in (0, 200), f"status {client.status}: {client.body!r}"
                listener.hear(client.body)
            listener.judge(bytes(client.body), lap)
            lap += 1
    finally:
        await trio.aclose_forcefully(stream)  # noqa: ASYNC102  # closes at once


async def _by_http2(watch: Watch) -> None:
    stream = await _transport(watch, "h2")
    try:
        client = RawH2(stream)
        await client.begin(initial_window_size=WIDE)
        await client.send(WindowUpdateFrame(0, window_increment=WIDE - 65535))
        lap = 0
        while not watch.stopped.is_set():
            listener = Listener(watch, "h2")
            models = watch.models("h2")
            number = 2 * lap + 1
            await client.send(*client.post(number, *models))
            while not client.ended(number):
                assert not client.closed, "its stream was cut"
                assert not client.resets(number), f"its stream was reset: {client.resets(number)}"
                await client.receive()
                listener.hear(client.data.get(number, bytearray()))
            headers = client.headers[number]
            assert headers[":status"] == "200", headers
            watch.report.accepted[headers["x-comparison-id"]] = models
            listener.judge(bytes(client.data[number]), lap)
            lap += 1
    finally:
        await trio.aclose_forcefully(stream)  # noqa: ASYNC102  # closes at once


async def _transport(watch: Watch, protocol: str) -> Transport:
    if watch.authority is None:
        return await connect(watch.address)
    context = ssl.create_default_context(cadata=watch.authority)
    context.set_alpn_protocols([protocol])
    return await connect_tls(watch.address, context)


async def _contained(client: str, watch: Watch, act: Callable[[Watch], Awaitable[None]]) -> None:
    """A client's failure belongs into the report, whatever it is."""
    try:
        await act(watch)
    except Exception as exc:
        watch.report.wrong.append(f"{client}: {str(exc) or type(exc).__name__}")


async def _watch(control: trio.SocketStream, upstream: Upstream, number: int) -> None:
    """Serve one connection to the control."""
    received = b""
    while b"\n" not in received:
        data = await control.receive_some()
        if not data:
            return
        received += data
    watch = Watch(str(number), json.loads(received))
    names = [model.partition(":")[2] for client in ("h1", "h2") for model in watch.models(client)]
    upstream.scripts.update(dict.fromkeys(names, watch.script))
    async with trio.open_nursery() as clients:
        clients.start_soon(_contained, "h1", watch, _by_http1)
        clients.start_soon(_contained, "h2", watch, _by_http2)
        await comes(
            lambda: len(watch.writing) == len(names) or watch.report.wrong, within=START_SECONDS
        )
        await control.send_all(b"running\n")
        while await control.receive_some():
            pass
        watch.stopped.set()
        clients.cancel_scope.deadline = trio.current_time() + STOP_SECONDS
    if clients.cancel_scope.cancelled_caught:
        watch.report.wrong.append(f"a comparison went on {STOP_SECONDS} s after its models' end")
    report = watch.report
    await control.send_all(
        json.dumps(
            {
                "gap": report.gap,
                "tokens": report.tokens,
                "wrong": report.wrong,
                "accepted": report.accepted,
            }
        ).encode()
    )
    for name in names:
        del upstream.scripts[name]


async def main() -> None:
    """Watch for whoever asks, until standard input ends."""
    upstream = Upstream()
    [provider] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    [control] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    watches = 0

    async def serve_control(stream: trio.SocketStream) -> None:
        nonlocal watches
        watches += 1
        try:
            async with stream:
                await _watch(stream, upstream, watches)
        except* (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # the harness did not wait for the report

    async with trio.open_nursery() as nursery:
        nursery.start_soon(upstream.serve, provider)
        nursery.start_soon(trio.serve_listeners, serve_control, [control])
        print(control.socket.getsockname()[1], provider.socket.getsockname()[1], flush=True)
        await trio.to_thread.run_sync(sys.stdin.read, abandon_on_cancel=True)
        nursery.cancel_scope.cancel("nobody asks any more")


class Watching:
    """A watch under way, seen from the harness."""

    def __init__(self) -> None:
        self.report = Report()
        """Filled when the watch is over."""


@dataclass(frozen=True, slots=True)
class Canary:
    """The process, by its two ports."""

    control_port: int
    provider_port: int

    @property
    def base_url(self) -> str:
        """Its provider, for the service's settings."""
        return f"http://127.0.0.1:{self.provider_port}/v1"

    @asynccontextmanager
    async def watching(
        self,
        address: Address,
        *,
        authority: str | None = None,
        lap: float | None = None,
        may_end_in: Sequence[str] = (),
    ) -> AsyncIterator[Watching]:
        """Watch the service at `address` during the block; afterwards the report is there.

        `lap`: no comparison lasts longer, the next one follows at once. `may_end_in`: codes by
        which its models may be ended.
        """
        watching = Watching()
        async with await connect(("127.0.0.1", self.control_port)) as control:
            asked = {
                "address": address,
                "authority": authority,
                "lap": lap,
                "may_end_in": list(may_end_in),
            }
            await control.send_all(json.dumps(asked).encode() + b"\n")
            answer = await control.receive_some()
            assert answer.startswith(b"running"), "the canary did not start"
            yield watching
            await control.send_eof()
            told = json.loads(b"".join([bytes(part) async for part in control]))
            watching.report = Report(**told)


if __name__ == "__main__":
    trio.run(main)
