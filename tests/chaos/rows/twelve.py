"""X-01: the twelve requests that ended Hypercorn's whole process."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio
from hyperframe.frame import DataFrame, PriorityFrame

from tests.chaos.fault import fault
from tests.chaos.rows.asking import WEBSOCKET, outcome, said_to, status_of, until_draining
from tests.chaos.rows.process import REFUSED_STREAM
from tests.chaos.scene import Scene
from tests.chaos.service_under_test import Config

TWELVE = {
    "fault": "input that ended the process",
    "expected": "the connection closed, the stream reset or a 4xx; the process lives",
}


def twelfth(letter: str, did: str) -> Callable[[Callable[[Scene], Awaitable[str]]], object]:
    return fault(f"X-01{letter}", TWELVE["fault"], did=did, expected=TWELVE["expected"], short=True)


@twelfth("a", "HTTP/2 DATA behind an early 413")
async def data_behind_a_refusal(scene: Scene) -> str:
    async with scene.raw_h2() as client:
        await client.begin()
        head, _ = client.post(1, "fake:ok")
        await client.send(head)
        told = ""
        piece = b" " * 16384
        for _ in range(70):  # more than max_body_bytes; the window is opened as it is used
            while not client.resets(1) and not client.headers and client.window < len(piece):
                await client.receive()
            if client.headers or client.resets(1):
                break
            client.window -= len(piece)
            await client.send(DataFrame(1, piece))
        await client.send(*[DataFrame(1, b"x" * 100)] * 20)
        told = await outcome(client)
    assert "413" in told or "reset" in told, told
    return told


async def headers_are_odd(scene: Scene, *headers: tuple[bytes, bytes]) -> str:
    async with scene.raw_h2() as client:
        await client.begin()
        await client.send(client.opening(1, *headers))
        return await outcome(client)


@twelfth("b", "HTTP/2 `:path` with a byte above 0x7f")
async def path_is_not_ascii(scene: Scene) -> str:
    return await headers_are_odd(
        scene,
        (b":method", b"GET"),
        (b":scheme", b"http"),
        (b":authority", b"test"),
        (b":path", b"/h\xe4lth"),
    )


@twelfth("c", "HTTP/2 `:method` with a byte above 0x7f")
async def method_is_not_ascii(scene: Scene) -> str:
    return await headers_are_odd(
        scene,
        (b":method", b"G\xffT"),
        (b":scheme", b"http"),
        (b":authority", b"test"),
        (b":path", b"/health"),
    )


@twelfth("d", "HTTP/2 CONNECT")
async def connects(scene: Scene) -> str:
    return await headers_are_odd(scene, (b":method", b"CONNECT"), (b":authority", b"test:443"))


@twelfth("e", "HTTP/2 query with the byte 0xff")
async def query_is_not_ascii(scene: Scene) -> str:
    return await headers_are_odd(
        scene,
        (b":method", b"GET"),
        (b":scheme", b"http"),
        (b":authority", b"test"),
        (b":path", b"/health?q=\xff"),
    )


async def http1_is_odd(scene: Scene, data: bytes) -> str:
    said = await said_to(scene, data)
    status = status_of(said)
    assert status in (0, 200, 400, 404, 426), said[:200]
    return f"status {status}" if status else "closed"


UPGRADE = (
    b"GET /health HTTP/1.1\r\nHost: test\r\nConnection: Upgrade, HTTP2-Settings\r\n"
    b"Upgrade: h2c\r\nHTTP2-Settings: "
)


@twelfth("f", "`Upgrade: h2c` with `HTTP2-Settings` that are no base64")
async def settings_are_no_base64(scene: Scene) -> str:
    return await http1_is_odd(scene, UPGRADE + b"!!!\r\n\r\n")


@twelfth("g", "`Upgrade: h2c` with `HTTP2-Settings: AAAA`")
async def settings_are_too_short(scene: Scene) -> str:
    return await http1_is_odd(scene, UPGRADE + b"AAAA\r\n\r\n")


@fault(
    "X-01h",
    TWELVE["fault"],
    did="a `Host` that is no UTF-8, where `hosts` are set and looked at",
    expected=TWELVE["expected"],
    short=True,
    config=Config(hosts=("test",)),
)
async def host_is_not_utf8(scene: Scene) -> str:
    said = await said_to(scene, b"GET /models HTTP/1.1\r\nHost: t\xffst\r\n\r\n")
    assert status_of(said) in (0, 400, 421), said[:200]
    return f"status {status_of(said)}"


@twelfth("i", "a websocket upgrade, and bytes behind it")
async def bytes_behind_an_upgrade(scene: Scene) -> str:
    return await http1_is_odd(scene, WEBSOCKET + b"\r\n" + b"\x81\x85garbage" * 10)


@twelfth("j", "a websocket upgrade with a header of 0xff")
async def upgrade_with_odd_headers(scene: Scene) -> str:
    return await http1_is_odd(
        scene, WEBSOCKET + b"Sec-WebSocket-Protocol: \xff\xff\r\nX-A: \xff\r\n\r\n"
    )


@twelfth("k", "1100 HTTP/2 PRIORITY frames")
async def many_priorities(scene: Scene) -> str:
    async with scene.raw_h2() as client:
        await client.begin()
        frames = [PriorityFrame(2 * n + 1, depends_on=0, stream_weight=9) for n in range(1100)]
        await client.send(*frames)
        await client.send(client.get(2301))
        return await outcome(client, 2301)


@fault(
    "X-01l",
    TWELVE["fault"],
    did="an HTTP/2 POST while the service drains, on a connection that a stream keeps",
    expected="RST_STREAM with REFUSED_STREAM; the drain goes on, exit 0",
    short=True,
    ends=True,
    config=Config(drain=6),
)
async def posts_in_the_drain(scene: Scene) -> str:
    async with scene.raw_h2() as client:
        await client.begin()
        await client.send(*client.post(1, "fake:steady"))
        with trio.fail_after(5):
            await client.until(lambda: 1 in client.data)
            scene.service.process.terminate()
            await until_draining(scene)
            for stream_id in range(3, 23, 2):
                await client.send(*client.post(stream_id, "fake:ok"))
            await client.until(lambda: len(client.resets()) == 10 and client.ended(1))
        assert set(client.resets()) == {REFUSED_STREAM}
    return "10 of 10 refused"
