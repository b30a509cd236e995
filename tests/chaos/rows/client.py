"""Clients that leave, stall, trickle, or take back what they asked."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import trio
from hyperframe.frame import WindowUpdateFrame

from tests.chaos.clients import H1, connect, question, reset
from tests.chaos.fault import fault
from tests.chaos.namespace import IN_NAMESPACE, OUTSIDE, in_namespace, open_namespace
from tests.chaos.scene import Scene, Stage
from tests.chaos.service_under_test import Config
from tests.chaos.upstream import Talk, Upstream, chunked, counting, text_event
from tests.chaos.waiting import comes, until
from tests.clients import asking
from tests.grammar import check_stream

NINE = ("fake:endless",) * 9
SILENT = ("fake:silent",) * 9
MEBI = 1 << 20


def milliseconds(seconds: float) -> str:
    return f"{1000 * seconds:.0f} ms"


async def cancelled(scene: Scene, models: int, *, comparisons: int = 1) -> list[dict[str, object]]:
    """The log's lines of these models, which were cancelled, in comparisons that were left."""
    # A line leaves the service by a thread, and may still be on its way.
    left = partial(scene.service.lines, "comparison ended", outcome="client_gone")
    await comes(lambda: len(left()) >= comparisons, within=1)
    ended = [
        line
        for line in scene.service.lines("model ended", code="cancelled")
        if line["provider"] == "fake"
    ]
    assert len(ended) == models, f"{len(ended)} of {models} models were cancelled"
    assert len(left()) == comparisons, f"{len(left())} comparisons were left"
    return ended


# --- leaving ------------------------------------------------------------------------------------


@fault(
    "C-01",
    "FIN before the headers are whole",
    did="half a request's head, then close; ten times",
    expected="nothing is started, no request to a provider, the connection is gone",
    short=True,
)
async def leaves_in_the_headers(scene: Scene) -> str:
    request = question(*NINE)
    for _ in range(10):
        async with scene.connect() as client:
            await client.send_all(request[: request.index(b"\r\n\r\n") - 5])
    await scene.healthy()
    assert scene.upstream.accepted <= 2
    return "no request reached the provider"


@fault(
    "C-02",
    "FIN in the middle of the body",
    did="a request but for its last five bytes, then close; ten times",
    expected="nothing was accepted: no request to a provider, and no line in the log",
    short=True,
)
async def leaves_in_the_body(scene: Scene) -> str:
    for _ in range(10):
        async with scene.connect() as client:
            await client.send_all(question(*NINE)[:-5])
    await scene.healthy()
    assert scene.upstream.asked.keys() == {"ok"}
    return "no request reached the provider"


@fault(
    "C-03",
    "FIN right after the request",
    did="9 models that stay silent; close at once five times, and once when all were asked",
    expected="every request to a provider closed within 1 s",
    short=True,
)
async def leaves_after_the_request(scene: Scene) -> str:
    for _ in range(5):
        async with scene.connect() as client:
            await client.send_all(question(*SILENT))
    async with scene.connect() as client:
        await client.send_all(question(*SILENT))
        await until(
            lambda: scene.upstream.connections("busy") >= 9, within=1, what="9 models are asked"
        )
        before = trio.current_time()
    await scene.upstream.quiet(within=1)
    return f"closed after {milliseconds(trio.current_time() - before)}"


async def left_in_the_flow(scene: Scene, leave: str) -> str:
    async with scene.h1() as client:
        await client.ask(*NINE)
        await client.until(lambda: all(f"#{n}" in client.body.decode() for n in range(2, 10)))
        await client.seen(b'"chunk"', times=30)
        assert scene.upstream.connections("busy") == 9
        before = trio.current_time()
        match leave:
            case "fin":
                await client.stream.aclose()
            case "rst":
                await reset(client.stream)
            case "half":
                await client.stream.send_eof()
        await scene.upstream.quiet(within=1)
        took = trio.current_time() - before
        if leave == "half":
            await client.until(lambda: client.closed)
    await scene.service.logged("comparison ended", within=1, outcome="client_gone")
    ended = await cancelled(scene, 9)
    partial = [int(str(line["output_tokens"])) for line in ended]
    assert all(partial), f"no partial usage in the log: {partial}"
    return f"9 closed after {milliseconds(took)}, {sum(partial)} tokens in the log"


@fault(
    "C-04",
    "FIN in the middle of the stream",
    did="9 models that write for ever; close after 30 chunks",
    expected="every request to a provider closed within 1 s, what was written is in the log",
    short=True,
)
async def leaves_in_the_flow(scene: Scene) -> str:
    return await left_in_the_flow(scene, "fin")


@fault(
    "C-05",
    "RST in the middle of the stream",
    did="the same with SO_LINGER 0",
    expected="the same",
    short=True,
)
async def resets_in_the_flow(scene: Scene) -> str:
    return await left_in_the_flow(scene, "rst")


@fault(
    "C-06",
    "RST behind pipelined bytes",
    did="a question and behind it a second request, then RST while the models pause",
    expected="every request to a provider closed within two heartbeats (1 s here)",
    short=True,
    config=Config(idle=30),
)
async def resets_behind_pipelined_bytes(scene: Scene) -> str:
    async def one_word(talk: Talk) -> None:
        await talk.begin()
        await talk.say("word")
        await trio.sleep_forever()

    scene.upstream.scripts["pauses"] = one_word
    async with scene.h1() as client:
        models = ["fake:pauses"] * 9
        behind = b"GET /health HTTP/1.1\r\nHost: test\r\n\r\n"
        await client.send_as_is(question(*models) + behind, *models)
        await scene.upstream.busy(9)
        await trio.sleep(0.1)
        before = trio.current_time()
        await reset(client.stream)
        await scene.upstream.quiet(within=2 * scene.config.heartbeat + 0.3)
    return f"closed after {milliseconds(trio.current_time() - before)}"


@fault(
    "C-07",
    "half-close",
    did="9 models that write for ever; shutdown(WR) after 30 chunks",
    expected="counts as gone (documented): every model cancelled within 1 s, our half closed too",
    short=True,
)
async def half_closes(scene: Scene) -> str:
    return await left_in_the_flow(scene, "half")


@fault(
    "C-17",
    "1000 clients leave in the same millisecond",
    did="1000 comparisons of one model each; all sockets closed without a pause between them",
    expected="everything is back at the base line within 2 s",
    config=Config(max_comparisons=1100, connect=20, first_token=30, idle=30),
    limit=60,
    gap=5,
    budget=160 * MEBI,
)
async def a_thousand_leave(scene: Scene) -> str:
    clients: list[trio.SocketStream] = []

    async def one(stack: list[trio.SocketStream]) -> None:
        stream = await connect(scene.service.address)
        stack.append(stream)
        await stream.send_all(question("fake:silent"))

    try:
        for _ in range(20):
            async with trio.open_nursery() as nursery:
                for _ in range(50):
                    nursery.start_soon(one, clients)
        await scene.upstream.busy(1000, within=20)
        held = scene.service.descriptors()
        before = trio.current_time()
    finally:
        for client in clients:
            client.socket.close()
    await scene.upstream.quiet(within=4)
    took = trio.current_time() - before
    await until(
        lambda: len(scene.service.lines("comparison ended", outcome="client_gone")) == 1000,
        within=2,
        what="a thousand comparisons are told as left",
    )
    assert took < 2, f"it took {took:.1f} s"
    return f"{held} descriptors open, all requests closed after {milliseconds(took)}"


@fault(
    "C-18",
    "a next request on the same connection",
    did="three comparisons one after the other on one HTTP/1.1 connection",
    expected="each is served whole; the idle clock's re-arming is tests/edge/'s",
    short=True,
)
async def asks_again(scene: Scene) -> str:
    async with scene.h1() as client:
        for _ in range(3):
            await client.ask("fake:ok", "fake:ok")
            body = await client.whole()
            check_stream(body, ["fake:ok", "fake:ok"])
            assert not client.closed
    return "3 of 3 whole"


# --- not reading --------------------------------------------------------------------------------


async def stalled(scene: Scene, stall: trio.abc.ReceiveStream) -> str:
    """A client that has asked three floods and reads nothing: what the service does about it."""
    del stall  # it only has to be there
    timeout = scene.config.write_timeout
    await until(lambda: scene.upstream.sent > 0, within=2, what="the models write")
    base = scene.service.resident()
    began = trio.current_time()
    # What is on its way fills the buffers of three sockets each; then nothing may move any more.
    await trio.sleep(timeout / 2)
    paused_at = scene.upstream.sent
    busy = scene.upstream.connections("busy")
    await trio.sleep(timeout / 4)
    meanwhile = scene.upstream.sent - paused_at
    await scene.upstream.quiet(within=timeout + 1.5)
    took = trio.current_time() - began
    grown = scene.service.resident_peak() - base
    assert meanwhile < MEBI, f"{meanwhile} bytes were taken from the provider meanwhile"
    assert busy == 3, f"{busy} of 3 models were still being asked: it was cut too early"
    assert grown < 24 * MEBI, f"memory grew by {grown >> 20} MiB"
    return f"cut after {took:.1f} s, memory +{grown / MEBI:.1f} MiB"


FLOODS = ("fake:flood",) * 3


@fault(
    "C-09a",
    "stops reading at once, HTTP/1.1",
    did="3 models that flood, a receive buffer of 4 KiB, nothing is read",
    expected="cut after write_timeout (1 s), the providers paused meanwhile, memory flat",
    short=True,
)
async def stops_reading_http1(scene: Scene) -> str:
    async with scene.connect(receive_buffer=4096) as client:
        await client.send_all(question(*FLOODS))
        said = await stalled(scene, client)
        await scene.service.logged("client cut", within=1, reason="write_timeout")
    return said


@fault(
    "C-09b",
    "stops reading at once, TLS",
    did="the same over TLS",
    expected="the same",
    short=True,
    tls=True,
)
async def stops_reading_tls(scene: Scene) -> str:
    async with scene.h1(tls=True, receive_buffer=4096) as client:
        await client.send_as_is(question(*FLOODS), *FLOODS)
        said = await stalled(scene, client.stream)
        await scene.service.logged("client cut", within=1, reason="write_timeout")
    return said


@fault(
    "C-09c",
    "stops reading at once, HTTP/2",
    did="the same over HTTP/2 with windows that never end; the socket is not read",
    expected="the same",
    short=True,
)
async def stops_reading_http2(scene: Scene) -> str:
    async with scene.raw_h2(receive_buffer=4096) as client:
        await client.begin(initial_window_size=2**31 - 1)
        await client.send(WindowUpdateFrame(0, window_increment=2**31 - 1 - 65535))
        await client.send(*client.post(1, *FLOODS))
        said = await stalled(scene, client.stream)
        await scene.service.logged("client cut", within=1, reason="write_timeout")
    return said


@fault(
    "C-10",
    "reads a byte at a time",
    did="3 models that flood, a receive buffer of 4 KiB, one byte read every 0.1 s",
    expected="cut: what counts is what is taken per write_timeout, not that something is",
)
async def reads_a_byte_at_a_time(scene: Scene) -> str:
    async with scene.connect(receive_buffer=4096) as client, trio.open_nursery() as nursery:

        async def sip() -> None:
            byte = bytearray(b"-")
            while byte:
                await trio.sleep(0.1)
                byte[:] = await client.receive_some(1)

        await client.send_all(question(*FLOODS))
        nursery.start_soon(sip)
        began = trio.current_time()
        await until(lambda: scene.upstream.sent > 0, within=2, what="the models write")
        await scene.upstream.quiet(within=5 * scene.config.write_timeout)
        took = trio.current_time() - began
        await scene.service.logged("client cut", within=1, reason="write_timeout")
        nursery.cancel_scope.cancel("it was cut")
    return f"cut after {took:.1f} s"


@fault(
    "C-11",
    "stops reading, and goes on after 2 s",
    did="3 models with 20 000 numbers each, a receive buffer of 4 KiB, nothing read for 2 s",
    expected="every number arrives, in order",
    config=Config(write_timeout=6),
)
async def reads_on_later(scene: Scene) -> str:
    async def count(talk: Talk) -> None:
        await talk.begin()
        for begin in range(0, 20_000, 100):
            numbers = b"".join(text_event(f"{n} ") for n in range(begin, begin + 100))
            await talk.send(chunked(numbers))
        await talk.finish()

    scene.upstream.scripts["many"] = count
    models = ["fake:many"] * 3
    async with scene.h1(receive_buffer=4096) as client:
        await client.ask(*models)
        await trio.sleep(2)
        assert scene.upstream.in_use == 3, "the models did not wait for the client"
        texts = check_stream(await client.whole(), models)
    expected = [str(n) for n in range(20_000)]
    assert all(text.split() == expected for text in texts.values())
    return "60 000 numbers, none lost"


VANISHING = """
import socket, sys, time
client = socket.create_connection((sys.argv[1], int(sys.argv[2])))
client.sendall(bytes.fromhex(sys.argv[3]))
received = b""
while received.count(b'"chunk"') < 9:
    received += client.recv(65536)
print("reading", flush=True)
while client.recv(65536):
    pass
"""


@asynccontextmanager
async def a_network(_: Stage) -> AsyncIterator[dict[str, str | Upstream]]:
    async with open_namespace():
        yield {}


@fault(
    "C-08",
    "vanishes without FIN",
    did="a client in a network namespace reads 9 models; then a blackhole route there swallows "
    "every packet of its, and it is killed (needs root)",
    expected="every request to a provider closed within write_timeout (1 s) and 2 s",
    others=a_network,
    options=("--bind", f"{OUTSIDE}:0"),
)
async def vanishes(scene: Scene) -> str:
    host, port = scene.service.address
    command = ["-c", VANISHING, host, str(port), question(*NINE).hex()]
    client = await trio.lowlevel.open_process(
        [*IN_NAMESPACE, sys.executable, *command], stdout=subprocess.PIPE
    )
    try:
        assert client.stdout is not None
        with trio.fail_after(10):
            assert await client.stdout.receive_some() == b"reading\n"
        await in_namespace("ip", "route", "add", "blackhole", OUTSIDE)
        before = trio.current_time()
    finally:
        client.kill()
        with trio.CancelScope(shield=True):
            await client.wait()
            if client.stdout is not None:
                await client.stdout.aclose()
    await scene.upstream.quiet(within=scene.config.write_timeout + 2)
    took = trio.current_time() - before
    await scene.service.logged("comparison ended", within=1, outcome="client_gone")
    await cancelled(scene, 9)
    return f"9 closed after {took:.1f} s"


# --- HTTP/2 -------------------------------------------------------------------------------------


@fault(
    "C-13",
    "HTTP/2 with a window of zero",
    did="3 models that flood, initial window 0, no WINDOW_UPDATE; the socket is read",
    expected="no data, the providers paused, the stream reset after write_timeout (1 s), "
    "the connection goes on",
    short=True,
)
async def opens_no_window(scene: Scene) -> str:
    async with scene.raw_h2() as client:
        await client.begin(initial_window_size=0)
        await client.send(*client.post(1, *FLOODS))
        with trio.fail_after(5):
            await client.until(lambda: 1 in client.headers)
            assert client.headers[1][":status"] == "200"
            base = scene.service.resident()
            began = trio.current_time()
            await client.until(lambda: client.resets(1))
        took = trio.current_time() - began
        grown = scene.service.resident_peak() - base
        await scene.upstream.quiet(within=1)
        assert not client.data.get(1), "data without a window"
        assert grown < 16 * MEBI, f"memory grew by {grown >> 20} MiB"
        await client.send(client.get(3))
        with trio.fail_after(2):
            await client.until(lambda: 3 in client.headers)
    return f"reset after {took:.1f} s, memory +{grown / MEBI:.1f} MiB"


@fault(
    "C-14",
    "HTTP/2 window in steps of one byte",
    did="initial window 0, then WINDOW_UPDATE of 1 every 5 ms for 2 s",
    expected="a byte each, or cut; the processor is not busy with it",
)
async def opens_the_window_by_bytes(scene: Scene) -> str:
    async with scene.raw_h2() as client, trio.open_nursery() as nursery:
        await client.begin(initial_window_size=0)
        await client.send(*client.post(1, *FLOODS))
        with trio.fail_after(5):
            await client.until(lambda: 1 in client.headers)

        async def read() -> None:
            while not client.closed:
                await client.receive()

        nursery.start_soon(read)
        before, began = scene.service.processor_seconds(), trio.current_time()
        for _ in range(400):
            if client.resets(1) or client.closed:
                break
            await client.send(WindowUpdateFrame(1, window_increment=1))
            await trio.sleep(0.005)
        busy = scene.service.processor_seconds() - before
        share = busy / (trio.current_time() - began)
        outcome = "reset" if client.resets(1) else "closed" if client.closed else "served"
        taken = len(client.data.get(1, b""))
        assert share < 0.7, f"the processor was busy for {100 * share:.0f} %"
        nursery.cancel_scope.cancel("seen enough")
    await scene.upstream.quiet(within=1.5)
    return f"{taken} bytes, {outcome}, processor {100 * share:.0f} %"


@fault(
    "C-15",
    "HTTP/2: one of ten streams is reset",
    did="10 comparisons of 2 models on one connection; RST_STREAM for the fifth",
    expected="its 2 requests closed within 1 s, the other nine comparisons whole",
    short=True,
)
async def resets_one_of_ten(scene: Scene) -> str:
    scene.upstream.scripts["long"] = counting(75, gap=0.02)
    models = ["fake:long", "fake:long"]
    async with scene.h2() as client:
        streams = [await client.post("/compare-stream", asking(*models)) for _ in range(10)]
        await client.until(lambda: all(s.body.count(b'"chunk"') >= 10 for s in streams))
        given_up = streams.pop(4)
        assert scene.upstream.connections("busy") == 20
        await client.reset(given_up)
        took = await until(
            lambda: scene.upstream.connections("busy") == 18,
            within=1,
            what="2 of 20 requests closed",
        )
        with trio.fail_after(10):
            await client.finish(*streams)
        expected = "".join(f"{n} " for n in range(1, 76))
        for stream in streams:
            scene.accepted[stream.headers["x-comparison-id"]] = models
            texts = check_stream(bytes(stream.body), models)
            assert set(texts.values()) == {expected}
    await cancelled(scene, 2)
    return f"closed after {milliseconds(took)}, 9 of 9 whole"


@fault(
    "C-16",
    "HTTP/2: GOAWAY from the client",
    did="3 comparisons of 3 models that write for ever; GOAWAY, the socket stays open",
    expected="all 9 requests closed within 1 s",
    short=True,
)
async def goes_away(scene: Scene) -> str:
    async with scene.h2() as client:
        streams = [
            await client.post("/compare-stream", asking(*["fake:endless"] * 3)) for _ in range(3)
        ]
        await client.until(lambda: all(s.body.count(b'"chunk"') >= 5 for s in streams))
        assert scene.upstream.connections("busy") == 9
        await client.go_away()
        took = await scene.upstream.quiet(within=1)
    await until(
        lambda: len(scene.service.lines("comparison ended", outcome="client_gone")) == 3,
        within=1,
        what="3 comparisons are told as left",
    )
    await cancelled(scene, 9, comparisons=3)
    return f"closed after {milliseconds(took)}"


# --- not sending --------------------------------------------------------------------------------


@fault(
    "C-19",
    "a body of 1 MiB at 10 bytes a second",
    did="the head and then a byte every 0.1 s",
    expected="408 after the body's time (10 s), connection closed, no request to a provider",
)
async def trickles_its_body(scene: Scene) -> str:
    async with scene.h1() as client, trio.open_nursery() as nursery:
        head = b"POST /compare-stream HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n"
        began = trio.current_time()
        await client.send_as_is(head + b"Content-Length: 1048576\r\n\r\n{")

        async def trickle() -> None:
            while True:
                await client.stream.send_all(b" ")
                await trio.sleep(0.1)

        nursery.start_soon(trickle)
        await refused(client, 408, within=15)
        nursery.cancel_scope.cancel("it was refused")
        took = trio.current_time() - began
    assert not scene.upstream.asked
    return f"408 and closed after {took:.1f} s"


@fault(
    "C-20",
    "Expect: 100-continue, then silence",
    did="the head with Expect, and no body",
    expected="408 after the body's time (10 s), connection closed",
)
async def expects_and_is_silent(scene: Scene) -> str:
    async with scene.h1() as client:
        head = b"POST /compare-stream HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n"
        began = trio.current_time()
        await client.send_as_is(head + b"Expect: 100-continue\r\nContent-Length: 1000\r\n\r\n")
        await refused(client, 408, within=15)
        took = trio.current_time() - began
    return f"408 and closed after {took:.1f} s"


async def refused(client: H1, status: int, *, within: float) -> None:
    """The answer has this status, and the connection is closed behind it."""
    with trio.fail_after(within):
        await client.until(lambda: client.status)
        assert client.status == status, client.status
        while not client.closed:
            await client.receive()
