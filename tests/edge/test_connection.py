"""One connection, in memory and in virtual time: what it waits for, and what it holds."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
import trio
import trio.testing
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext

from service.edge.budget import Budget
from service.edge.connection import HEAD_SECONDS, LINGER_SECONDS, Connection
from service.edge.gate import Bounds, Gate

LogLines = list[dict[str, Any]]


class Socket:
    """What a connection asks of its socket."""

    family = socket.AF_INET

    def __init__(self, stream: trio.abc.Stream, address: str = "192.0.2.1") -> None:
        self._stream = stream
        self._address = address

    def getpeername(self) -> tuple[str, int]:
        return (self._address, 50000)

    def getsockname(self) -> tuple[str, int]:
        return ("192.0.2.2", 80)

    def fileno(self) -> int:
        return -1

    def close(self) -> None:
        stream: Any = self._stream
        stream.send_stream.close()
        stream.receive_stream.close()


def in_memory(address: str = "192.0.2.1") -> tuple[Any, Any]:
    """A client's end and a server's end; a send waits until it is received."""
    client, server = trio.testing.lockstep_stream_pair()
    stream: Any = server
    stream.socket = Socket(server, address)
    return client, stream


async def never(scope: Any, receive: Any, send: Any) -> None:
    """An application that answers nothing."""
    await trio.sleep_forever()


async def at_once(scope: Any, receive: Any, send: Any) -> None:
    """An application that answers everything with one word."""
    headers = [(b"content-length", b"2")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"ok"})


async def flooding(scope: Any, receive: Any, send: Any) -> None:
    """An application whose response has no end, until the client leaves."""

    async def write() -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while True:
            await send({"type": "http.response.body", "body": b"x" * 1000, "more_body": True})

    async with trio.open_nursery() as nursery:
        nursery.start_soon(write)
        while (await receive())["type"] != "http.disconnect":
            pass
        nursery.cancel_scope.cancel("the client has left")


def config_of(**bounds: Any) -> Config:
    config = Config()
    config.keep_alive_timeout = 75
    vars(config)["_gate"] = Gate(Bounds(**bounds))
    return config


@asynccontextmanager
async def open_connection(
    app: Any, config: Config | None = None, *, address: str = "192.0.2.1"
) -> AsyncIterator[Any]:
    """A client of a server that has this one connection; its `ended` says when that is over."""
    client, server = in_memory(address)
    wrapped: Any = ASGIWrapper(app)
    state: Any = {}
    connection = Connection(wrapped, config or config_of(), WorkerContext(None), state, server)
    client.ended = trio.Event()

    async def run() -> None:
        await connection.run()
        await server.aclose()  # as whoever accepted it would
        client.ended.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        yield client
        await trio.aclose_forcefully(client)
        nursery.cancel_scope.cancel("the test is over")


REQUEST = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n"


async def receive_until_closed(client: Any) -> bytes:
    received = b""
    try:
        while data := await client.receive_some():
            received += data
    except trio.BrokenResourceError:
        pass
    return received


# --- how long it waits --------------------------------------------------------------------------


async def test_a_reader_that_takes_nothing_is_cut_after_the_write_time_out(
    autojump_clock: trio.testing.MockClock, log_lines: LogLines
) -> None:
    async with open_connection(flooding, config_of(write_timeout=7)) as client:
        await client.send_all(REQUEST)
        await client.receive_some(1)
        await client.ended.wait()
        assert trio.current_time() == 7
    [cut] = [line for line in log_lines if line["event"] == "client cut"]
    assert (cut["reason"], cut["client"]) == ("write_timeout", "192.0.2.1")


async def test_a_reader_of_a_byte_a_second_is_cut_all_the_same(
    autojump_clock: trio.testing.MockClock, log_lines: LogLines
) -> None:
    async with open_connection(flooding, config_of(write_timeout=7)) as client:
        await client.send_all(REQUEST)

        async def read_slowly() -> None:
            while await client.receive_some(1):  # noqa: ASYNC110  # a reader is what this is
                await trio.sleep(1)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read_slowly)
            await client.ended.wait()
            assert trio.current_time() == 7
            nursery.cancel_scope.cancel("it is cut")
    assert [line["reason"] for line in log_lines] == ["write_timeout"]


async def test_a_reader_that_is_slow_and_steady_reads_a_long_answer_whole(
    autojump_clock: trio.testing.MockClock, log_lines: LogLines
) -> None:
    async def long_answer(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x" * 200_000})

    async with open_connection(long_answer, config_of(write_timeout=7)) as client:
        await client.send_all(REQUEST)
        received = b""
        while not received.endswith(b"0\r\n\r\n"):
            await trio.sleep(3)
            received += await client.receive_some(8 * 1024)
        assert received.count(b"x") == 200_000
        assert trio.current_time() > 70
    assert log_lines == []


async def test_a_line_break_behind_the_last_request_does_not_cut_its_answer(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def a_second_later(scope: Any, receive: Any, send: Any) -> None:
        await trio.sleep(1)
        await at_once(scope, receive, send)

    last = REQUEST.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    for together in (True, False):
        async with open_connection(a_second_later) as client:
            await client.send_all(last + b"\r\n" * together)
            if not together:
                await client.send_all(b"\r\n")
            assert (await receive_until_closed(client)).endswith(b"\r\n\r\nok")


async def test_a_reader_that_pauses_for_less_loses_nothing(
    autojump_clock: trio.testing.MockClock, log_lines: LogLines
) -> None:
    async with open_connection(flooding, config_of(write_timeout=7)) as client:
        await client.send_all(REQUEST)
        for _ in range(5):
            await trio.sleep(6.9)
            for _ in range(10):
                assert await client.receive_some(200)
    assert log_lines == []


async def test_half_a_head_is_waited_for_less_long_than_an_idle_connection(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_connection(at_once) as client:
        await trio.sleep(70)
        await client.send_all(REQUEST[:-2])
        for _ in range(int(HEAD_SECONDS) - 1):
            await trio.sleep(1)
            await client.send_all(b"X: y\r\n")
        assert await receive_until_closed(client) == b""
        assert trio.current_time() == 70 + HEAD_SECONDS


async def test_an_idle_connection_is_closed_after_its_keep_alive(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_connection(at_once) as client:
        for ended_at in (0, 60):
            await trio.sleep(ended_at - trio.current_time())
            await client.send_all(REQUEST)
            received = b""
            while not received.endswith(b"ok"):
                received += await client.receive_some()
        assert await receive_until_closed(client) == b""
        assert trio.current_time() == 60 + 75


async def test_a_request_that_comes_in_pieces_after_another_has_its_time_as_well(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_connection(at_once) as client:
        for _ in range(3):
            await client.send_all(REQUEST[:20])
            await trio.sleep(HEAD_SECONDS - 1)
            await client.send_all(REQUEST[20:])
            received = b""
            while not received.endswith(b"ok"):
                received += await client.receive_some()
            await trio.sleep(20)


async def test_the_rest_of_a_refused_request_is_read_for_a_moment_so_that_the_refusal_arrives(
    autojump_clock: trio.testing.MockClock,
) -> None:
    head = (
        b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    async with open_connection(never) as client, trio.open_nursery() as nursery:
        nursery.start_soon(client.send_all, head + b"x" * 200_000)
        assert b" 400 " in await receive_until_closed(client)
        await trio.testing.wait_all_tasks_blocked()
        assert nursery.child_tasks == frozenset()  # all of it was read
        await client.ended.wait()
        assert trio.current_time() == LINGER_SECONDS


# --- what it holds ------------------------------------------------------------------------------


async def test_a_status_has_words_beside_it(autojump_clock: trio.testing.MockClock) -> None:
    async with open_connection(at_once) as client:
        await client.send_all(REQUEST)
        assert (await client.receive_some()).startswith(b"HTTP/1.1 200 OK\r\n")


async def test_requests_sent_ahead_are_answered_in_their_order(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def path_after_a_second(scope: Any, receive: Any, send: Any) -> None:
        await trio.sleep(1)
        headers = [(b"content-length", b"2")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": scope["path"].encode()})

    async with open_connection(path_after_a_second) as client:
        await client.send_all(b"".join(REQUEST.replace(b"/ ", b"/%d " % n) for n in range(5)))
        received = b""
        while received.count(b"\r\n\r\n") < 5 or not received.endswith(b"/4"):
            received += await client.receive_some()
        assert trio.current_time() == 5
        assert [received.index(b"\r\n\r\n/%d" % n) for n in range(5)] == sorted(
            received.index(b"\r\n\r\n/%d" % n) for n in range(5)
        )


async def test_what_is_sent_ahead_is_read_only_so_far_and_leaving_is_seen_with_the_next_write(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def writes_later(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await trio.sleep(20)
        await send({"type": "http.response.body", "body": b"x", "more_body": True})
        assert (await receive())["type"] == "http.request"
        assert (await receive())["type"] == "http.disconnect"

    async with open_connection(writes_later, config_of(write_timeout=7)) as client:
        sent = 0
        await client.send_all(REQUEST)
        assert await client.receive_some()
        with trio.move_on_after(1):
            while True:
                await client.send_all(REQUEST * 100)
                sent += len(REQUEST) * 100
        assert sent < 128 * 1024
        await trio.aclose_forcefully(client)
        await client.ended.wait()


async def test_a_body_that_nobody_reads_any_more_holds_up_nobody(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_connection(at_once) as client:
        head = b"POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n"
        await client.send_all(head)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive_until_closed, client)
            with suppress(trio.BrokenResourceError):
                while True:
                    await client.send_all(b"1\r\nx\r\n")
                    await trio.sleep(0.01)
        assert trio.current_time() == pytest.approx(LINGER_SECONDS, abs=0.02)


async def test_a_refusal_that_is_not_read_and_a_body_that_is_not_heard_end_with_their_client(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def deaf(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 401, "headers": []})
        await send({"type": "http.response.body", "body": b"no"})

    head = b"POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with open_connection(deaf, config_of(write_timeout=7)) as client:
        await client.send_all(head + b"1\r\nx\r\n" * 20)
        await client.ended.wait()
        assert trio.current_time() <= 7 + LINGER_SECONDS


async def test_half_a_head_behind_another_request_has_no_more_time(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_connection(at_once) as client:
        await client.send_all(REQUEST + REQUEST[:20])
        assert (await receive_until_closed(client)).endswith(b"ok")
        assert trio.current_time() == HEAD_SECONDS


async def test_what_was_sent_ahead_is_not_begun_when_its_client_has_left(
    autojump_clock: trio.testing.MockClock,
) -> None:
    begun: list[str] = []

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        begun.append(scope["path"])
        with trio.CancelScope(shield=True):
            await trio.sleep(1)
        await at_once(scope, receive, send)

    async with open_connection(slow) as client:
        await client.send_all(REQUEST + REQUEST.replace(b"/ ", b"/second "))
        await client.aclose()
        await client.ended.wait()
    assert begun == ["/"]


async def test_only_the_preface_of_http_2_is_one(autojump_clock: trio.testing.MockClock) -> None:
    odd = b"PRI /x HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
    async with open_connection(at_once) as client:
        await client.send_all(odd)
        assert (await client.receive_some()).startswith(b"HTTP/1.1 200 OK")


async def test_a_fault_outside_the_framework_is_logged(
    autojump_clock: trio.testing.MockClock, log_lines: LogLines
) -> None:
    async def breaks(scope: Any, receive: Any, send: Any) -> None:
        raise RuntimeError("a bug")

    async with open_connection(breaks) as client:
        await client.send_all(REQUEST)
        assert (await client.receive_some()).startswith(b"HTTP/1.1 500 ")
    assert [line["event"] for line in log_lines] == ["request failed"]


@pytest.mark.parametrize("kind", [Connection, TCPServer])
async def test_what_waits_for_its_turn_to_be_sent_is_sent_though_its_task_is_cancelled(
    kind: type[TCPServer], autojump_clock: trio.testing.MockClock
) -> None:
    # Else bytes of HTTP/2 would be missing between those that were sent, and end the connection.
    client, server = in_memory()
    nothing: Any = None
    connection = kind(nothing, config_of(write_timeout=7), nothing, nothing, server)
    received = b""

    async def take() -> None:
        nonlocal received
        await trio.sleep(2)
        while True:
            received += await client.receive_some()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(take)
        nursery.start_soon(connection.protocol_send, RawData(b"first "))
        await trio.testing.wait_all_tasks_blocked()
        with trio.move_on_after(1):
            await connection.protocol_send(RawData(b"second"))
        await trio.sleep(3)
        nursery.cancel_scope.cancel("the test is over")
    assert received == (b"first second" if kind is Connection else b"first ")


# --- what it lets happen ------------------------------------------------------------------------


async def test_a_fault_of_one_connection_is_logged_and_goes_no_further(
    log_lines: LogLines,
) -> None:
    async def odd(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b":no", b"")]})

    class Odd(Connection):
        async def protocol_send(self, event: Event) -> None:
            if isinstance(event, RawData):
                raise RuntimeError("a bug of the server's own")  # noqa: TRY004
            await super().protocol_send(event)

    client, server = in_memory()
    wrapped: Any = ASGIWrapper(at_once)
    config = config_of()
    state: Any = {}
    async with client, trio.open_nursery() as nursery:
        nursery.start_soon(Odd(wrapped, config, WorkerContext(None), state, server).run)
        await client.send_all(REQUEST)
    [line] = [line for line in log_lines if line["event"] == "connection failed"]
    assert (line["contained"], line["client"]) == (1, "192.0.2.1")
    assert isinstance(line["exc_info"], BaseExceptionGroup)


async def test_an_interrupt_is_no_fault_of_a_connection() -> None:
    class Interrupted(Connection):
        async def protocol_send(self, event: Event) -> None:
            raise KeyboardInterrupt

    client, server = in_memory()
    wrapped: Any = ASGIWrapper(at_once)
    state: Any = {}
    connection = Interrupted(wrapped, config_of(), WorkerContext(None), state, server)
    with pytest.RaisesGroup(KeyboardInterrupt, flatten_subgroups=True):
        async with trio.open_nursery() as nursery, client:
            nursery.start_soon(connection.run)
            await client.send_all(REQUEST)


async def test_an_address_may_have_so_many_connections_and_another_address_as_many(
    autojump_clock: trio.testing.MockClock, log_lines: LogLines
) -> None:
    config = config_of(connections_per_address=2)

    async def works(address: str) -> bool:
        async with open_connection(at_once, config, address=address) as client:
            try:
                await client.send_all(REQUEST)
                return bool(await client.receive_some())
            except trio.BrokenResourceError:
                return False

    async with open_connection(never, config), open_connection(never, config):
        await trio.testing.wait_all_tasks_blocked()
        for _ in range(3):
            assert not await works("192.0.2.1")
        assert await works("192.0.2.9")
    assert await works("192.0.2.1")
    [cut] = log_lines  # and not one for each
    assert (cut["event"], cut["reason"], cut["client"]) == (
        "client cut",
        "connections",
        "192.0.2.1",
    )


async def test_a_budget_is_spent_at_once_and_fills_with_time(
    autojump_clock: trio.testing.MockClock,
) -> None:
    budget = Budget(3, 2)
    assert [budget.spend() for _ in range(5)] == [True, True, True, False, False]
    await trio.sleep(0.5)
    assert [budget.spend() for _ in range(2)] == [True, False]
    await trio.sleep(100)
    assert [budget.spend() for _ in range(4)] == [True, True, True, False]


# --- a connection that is closed while it is sent to ---------------------------------------------


class BeingClosed:
    """A stream that another task is half-closing."""

    def __init__(self) -> None:
        self.socket = self
        self.closed = False

    async def send_all(self, data: bytes) -> None:
        raise trio.BusyResourceError("another task is currently sending data on this SocketStream")

    def close(self) -> None:
        self.closed = True


class Protocol:
    """What Hypercorn's protocol is told."""

    def __init__(self) -> None:
        self.told: list[Event] = []

    async def handle(self, event: Event) -> None:
        self.told.append(event)


Sending = Callable[[Event], Awaitable[None]]


def sending_on(kind: type[TCPServer]) -> tuple[Sending, Protocol]:
    stream: Any = BeingClosed()
    nothing: Any = None
    connection = kind(nothing, Config(), nothing, nothing, stream)
    protocol: Any = Protocol()
    connection.protocol = protocol
    return connection.protocol_send, protocol


async def test_a_send_that_meets_the_closing_is_told_to_the_protocol() -> None:
    send, protocol = sending_on(Connection)
    await send(RawData(b"x"))
    assert protocol.told == [Closed()]


async def test_hypercorn_by_itself_lets_that_end_the_process() -> None:
    send, _ = sending_on(TCPServer)
    with pytest.raises(trio.BusyResourceError):
        await send(RawData(b"x"))
