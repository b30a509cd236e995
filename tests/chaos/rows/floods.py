"""Too much of one thing, or too little: frames without end, heads and handshakes that never end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress

import trio
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from tests.chaos.clients import PREFACE, RawH2, connect
from tests.chaos.fault import fault
from tests.chaos.rows.asking import outcome, said_to, status_of
from tests.chaos.scene import Scene
from tests.chaos.waiting import comes

ENHANCE_YOUR_CALM = 11
MEBI = 1 << 20


# --- slow ones ----------------------------------------------------------------------------------


async def all_closed(clients: Sequence[trio.SocketStream], *, within: float) -> None:
    """The server closes every one of them."""

    async def end_of(client: trio.SocketStream) -> None:
        try:
            while await client.receive_some():
                pass
        except trio.BrokenResourceError:
            pass

    with trio.move_on_after(within) as patience:
        async with trio.open_nursery() as nursery:
            for client in clients:
                nursery.start_soon(end_of, client)
    assert not patience.cancelled_caught, f"not all of {len(clients)} were closed in {within:g} s"


async def held_open(scene: Scene, count: int, first: bytes, *, drip: bytes = b"") -> float:
    """So many connections that begin like this and then drip; the seconds until all are closed."""
    clients: list[trio.SocketStream] = []

    async def one() -> None:
        client = await connect(scene.service.address)
        clients.append(client)
        await client.send_all(first)

    try:
        for _ in range(0, count, 50):
            async with trio.open_nursery() as nursery:
                for _ in range(min(count, 50)):
                    nursery.start_soon(one)
        began = trio.current_time()
        async with trio.open_nursery() as nursery:

            async def drop() -> None:
                while drip:
                    await trio.sleep(0.3)
                    for client in clients:
                        try:
                            await client.send_all(drip)
                        except (trio.BrokenResourceError, trio.ClosedResourceError):
                            continue

            nursery.start_soon(drop)
            await all_closed(clients, within=8)
            nursery.cancel_scope.cancel("all are closed")
        return trio.current_time() - began
    finally:
        for client in clients:
            client.socket.close()


SHORT_CLOCKS = "the clocks that are no settings shortened to 1 s in the process"


@fault(
    "X-02",
    "slow heads",
    did=f"1000 connections that send a header's line every 0.3 s; {SHORT_CLOCKS}",
    expected="each is closed when the head's time is over, whatever it drips",
    meddling="short-clocks",
    limit=60,
    gap=3,
    budget=160 * MEBI,
)
async def slow_heads(scene: Scene) -> str:
    took = await held_open(
        scene, 1000, b"GET /health HTTP/1.1\r\nHost: test\r\n", drip=b"X-A: b\r\n"
    )
    await scene.healthy()
    return f"1000 closed after {took:.1f} s"


@fault(
    "X-03",
    "silence behind the preface",
    did="100 HTTP/2 connections of each kind: only the preface; preface and SETTINGS; a head whose "
    f"CONTINUATION never comes; {SHORT_CLOCKS}",
    expected="closed when the idle time is over",
    meddling="short-clocks",
)
async def silent_behind_the_preface(scene: Scene) -> str:
    settings = PREFACE + SettingsFrame().serialize()
    half = HeadersFrame(1, RawH2.plain_block((b":method", b"GET")), flags=["END_STREAM"])
    times = [
        await held_open(scene, 100, first)
        for first in (PREFACE, settings, settings + half.serialize())
    ]
    return "closed after " + ", ".join(f"{took:.1f} s" for took in times)


@fault(
    "X-04",
    "TLS handshakes that are never finished",
    did=f"1000 connections to the TLS port that send half a ClientHello; {SHORT_CLOCKS}",
    expected="closed when the handshake's time is over",
    tls=True,
    meddling="short-clocks",
    limit=60,
    gap=3,
    budget=160 * MEBI,
)
async def half_handshakes(scene: Scene) -> str:
    took = await held_open(scene, 1000, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
    return f"1000 closed after {took:.1f} s"


# --- floods -------------------------------------------------------------------------------------


async def flooded(
    scene: Scene, burst: Callable[[int], list[Frame]], *, seconds: float = 2, most: int = 30_000
) -> str:
    """Send bursts until cut; what became of the connection, and what it cost the processor."""
    async with scene.raw_h2() as client, trio.open_nursery() as nursery:
        await client.begin(initial_window_size=2**31 - 1)

        async def read() -> None:
            while not client.closed:
                await client.receive()

        nursery.start_soon(read)
        sent = 0
        before, began = scene.service.processor_seconds(), trio.current_time()
        with suppress(trio.BrokenResourceError):
            while sent < most and not (client.closed or client.goaways()):
                if trio.current_time() - began > seconds:
                    break
                frames = burst(sent)
                await client.send(*frames)
                sent += len(frames)
        took = trio.current_time() - began
        busy = scene.service.processor_seconds() - before
        await comes(lambda: client.goaways() or client.closed, within=0.5)
        nursery.cancel_scope.cancel("seen enough")
    codes = [goaway.error_code for goaway in client.goaways()]
    cut = f"GOAWAY {codes[0]}" if codes else "closed" if client.closed else "served on"
    share = busy / max(took, 0.01)
    assert busy < 1.5, f"{cut} after {sent} frames and {busy:.2f} s of processor"
    return f"{cut} after {sent} frames, {busy:.2f} s of processor ({100 * share:.0f} %)"


@fault(
    "X-05",
    "rapid reset",
    did="questions of one model, each with RST_STREAM right behind it, for 3 s at most",
    expected="GOAWAY with ENHANCE_YOUR_CALM after about a hundred; no provider asked beyond them",
    short=True,
)
async def rapid_reset(scene: Scene) -> str:
    stream_id = 1
    async with scene.raw_h2() as client, trio.open_nursery() as nursery:
        await client.begin()

        async def read() -> None:
            while not client.closed:
                await client.receive()

        nursery.start_soon(read)
        gives_up_at = trio.current_time() + 3
        with suppress(trio.BrokenResourceError):
            while trio.current_time() < gives_up_at and not (client.goaways() or client.closed):
                frames: list[Frame] = []
                for _ in range(20):
                    frames += client.post(stream_id, "fake:silent")
                    frames.append(RstStreamFrame(stream_id, error_code=8))
                    stream_id += 2
                await client.send(*frames)
        await comes(lambda: client.goaways() or client.closed, within=1)
        nursery.cancel_scope.cancel("seen enough")
    assert client.goaways(), "no GOAWAY came"
    assert client.goaways()[0].error_code == ENHANCE_YOUR_CALM, client.goaways()
    asked = scene.upstream.accepted
    assert asked <= scene.config.resets_per_connection + 40, f"{asked} requests to the provider"
    line = await scene.service.logged("client cut", within=1)
    assert str(line["reason"]).startswith("resets"), line
    await scene.upstream.quiet(within=1)
    await scene.healthy()
    return f"GOAWAY after {stream_id // 2} requests at most, {asked} at the provider"


@fault(
    "X-06a",
    "CONTINUATION flood",
    did="a head and up to 30 000 CONTINUATION frames of 1 KiB that never end it",
    expected="connection error, memory flat",
    short=True,
)
async def continuation_flood(scene: Scene) -> str:
    block = RawH2.plain_block((b":method", b"GET"))

    def burst(sent: int) -> list[Frame]:
        first: list[Frame] = [] if sent else [HeadersFrame(1, block, flags=["END_STREAM"])]
        return first + [ContinuationFrame(1, b"\x00\x01a\x01b" * 200)] * 20

    said = await flooded(scene, burst)
    assert "served on" not in said, said
    return said


@fault(
    "X-06b",
    "HPACK bomb",
    did="a header of 4000 bytes put into the table, then 3000 references to it in one head",
    expected="stream or connection error, or 431; memory flat",
    short=True,
)
async def hpack_bomb(scene: Scene) -> str:
    async with scene.raw_h2() as client:
        await client.begin()
        value = b"a" * 4000
        # Literal with incremental indexing: name "x", a value of 4000 bytes (127 + 3873).
        entry = b"\x40\x01x" + b"\x7f" + bytes([3873 & 0x7F | 0x80, 3873 >> 7]) + value
        block = RawH2.plain_block(
            (b":method", b"GET"),
            (b":scheme", b"http"),
            (b":authority", b"test"),
            (b":path", b"/health"),
        )
        bomb = block + entry + b"\xbe" * 3000  # 0xbe: index 62, the newest in the table
        await client.send(HeadersFrame(1, bomb, flags=["END_HEADERS", "END_STREAM"]))
        told = await outcome(client)
    assert "with 200" not in told, told
    return told


@fault(
    "X-06c",
    "a head of 64 KiB",
    did="over HTTP/1.1 in one write and in pieces; over HTTP/2 in CONTINUATION frames",
    expected="431 or 400 and closed; a reset, a connection error or 431",
    short=True,
)
async def long_heads(scene: Scene) -> str:
    head = b"GET /health HTTP/1.1\r\nHost: test\r\n" + b"X-Long: " + b"a" * 65536 + b"\r\n\r\n"
    said = await said_to(scene, head)
    assert status_of(said) in (400, 431), said[:100]
    assert not said.endswith(b"<open>"), "the connection stays open"
    many = b"".join(b"X-%d: %s\r\n" % (n, b"a" * 100) for n in range(600))
    said = await said_to(scene, b"GET /health HTTP/1.1\r\nHost: test\r\n" + many + b"\r\n")
    assert status_of(said) in (400, 431), said[:100]
    async with scene.raw_h2() as client:
        await client.begin()
        block = RawH2.plain_block(
            (b":method", b"GET"),
            (b":scheme", b"http"),
            (b":authority", b"test"),
            (b":path", b"/health"),
            *[(b"x-%d" % n, b"a" * 1000) for n in range(64)],
        )
        pieces = [block[n : n + 16000] for n in range(0, len(block), 16000)]
        frames: list[Frame] = [HeadersFrame(1, pieces[0], flags=["END_STREAM"])]
        frames += [ContinuationFrame(1, piece) for piece in pieces[1:]]
        frames[-1].flags.add("END_HEADERS")
        await client.send(*frames)
        told = await outcome(client)
    assert "with 200" not in told, told
    return f"431 twice, {told}"


FLOODS: dict[str, tuple[str, Callable[[int], list[Frame]]]] = {
    "a": ("PING", lambda _: [PingFrame(opaque_data=b"12345678")] * 100),
    "b": ("SETTINGS", lambda _: [SettingsFrame(settings={4: 65535})] * 100),
    "c": ("WINDOW_UPDATE", lambda _: [WindowUpdateFrame(0, window_increment=1)] * 100),
    "d": (
        "PRIORITY",
        lambda n: [PriorityFrame(2 * (n + m) % 2000 + 1, stream_weight=1) for m in range(100)],
    ),
}


def flood_of(letter: str, name: str, burst: Callable[[int], list[Frame]]) -> None:
    @fault(
        f"X-07{letter}",
        f"{name} flood",
        did="as fast as the socket takes them, 30 000 frames or 2 s at most",
        expected="the connection is cut, or it costs processor time and nobody else anything",
        short=True,
    )
    async def floods(scene: Scene) -> str:
        return await flooded(scene, burst)


for _letter, (_name, _burst) in FLOODS.items():
    flood_of(_letter, _name, _burst)


@fault(
    "X-07e",
    "empty DATA flood",
    did="a request's head, then empty DATA frames without END_STREAM, 30 000 or 2 s at most",
    expected="the connection is cut, or it costs processor time and nobody else anything",
    short=True,
)
async def empty_data_flood(scene: Scene) -> str:
    head = RawH2.plain_block(
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":authority", b"test"),
        (b":path", b"/compare-stream"),
        (b"content-type", b"application/json"),
    )

    def burst(sent: int) -> list[Frame]:
        first: list[Frame] = [] if sent else [HeadersFrame(1, head, flags=["END_HEADERS"])]
        return first + [DataFrame(1, b"")] * 100

    return await flooded(scene, burst)


@fault(
    "X-09",
    "a refusal, and chunks without an end behind it",
    did="POST to an address that is none, then chunks of one byte as fast as they are taken, for "
    "5 s at most",
    expected="404, closed soon after; memory flat",
    short=True,
)
async def endless_chunks(scene: Scene) -> str:
    async with scene.h1() as client:
        before, began = scene.service.processor_seconds(), trio.current_time()
        head = b"POST /nowhere HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n"
        await client.send_as_is(head)
        sent = 0

        async def read() -> None:
            while not client.closed:
                await client.receive()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            with suppress(trio.BrokenResourceError):
                while trio.current_time() - began < 5:
                    await client.stream.send_all(b"1\r\nx\r\n" * 1000)
                    sent += 1000
            took = trio.current_time() - began
            nursery.cancel_scope.cancel("it was cut")
        busy = scene.service.processor_seconds() - before
        assert client.status == 404, client.status
        assert took < 4, f"it went on for {took:.1f} s"
    return f"404, cut after {took:.1f} s and {sent} chunks, {busy:.2f} s of processor"
