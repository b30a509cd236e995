"""The log of a server leaves without holding anything up."""

from __future__ import annotations

import fcntl
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

import trio

from service.log_outlet import Outlet
from tests.command import closing, running
from tests.test_serve import url_of

PATIENCE = 5


@contextmanager
def pipe(size: int = 4096) -> Iterator[tuple[int, TextIO]]:
    """A pipe that holds little: what reads it, and what writes to it."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, size)
    with closing(reader), os.fdopen(writer, "w") as output:
        yield reader, output


def test_lines_leave_in_their_order() -> None:
    with pipe() as (reader, output):
        outlet = Outlet(output)
        for number in range(100):
            outlet.write(f"{number}\n")
        assert outlet.drain(PATIENCE)
        assert os.read(reader, 10_000).split() == [b"%d" % number for number in range(100)]


def test_a_reader_that_is_stuck_stops_nobody_and_is_told_later_what_it_missed() -> None:
    with pipe() as (reader, output):
        outlet = Outlet(output, most_lines=10)
        for _ in range(1000):
            outlet.write("x" * 100 + "\n")  # many times what the pipe and the queue hold
        os.set_blocking(reader, False)
        read = read_out(reader, outlet)
        outlet.write("last\n")
        read += read_out(reader, outlet)
    lines = read.splitlines()
    written = [line for line in lines if line.startswith(b"x")]
    told = [json.loads(line) for line in lines if line.startswith(b"{")]
    assert {line["event"] for line in told} == {"log lines lost"}
    assert len(written) + sum(line["lines"] for line in told) == 1000
    assert lines[-1] == b"last"


def read_out(reader: int, outlet: Outlet) -> bytes:
    """Read until every line has left."""
    read = b""
    while not outlet.drain(0.01):
        with suppress(BlockingIOError):
            read += os.read(reader, 10_000)
    with suppress(BlockingIOError):
        read += os.read(reader, 10_000)
    return read


def test_a_full_disk_raises_nothing() -> None:
    with open("/dev/full", "w") as output:
        outlet = Outlet(output)
        outlet.write("x\n")
        assert outlet.drain(PATIENCE)
        assert outlet.dropped == 1


def log_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "log"]


def test_its_thread_ends_when_there_is_nothing_to_write() -> None:
    with pipe() as (reader, output):
        outlet = Outlet(output)
        for word in (b"one\n", b"two\n"):
            outlet.write(word.decode())
            assert os.read(reader, 100) == word
            assert outlet.drain(PATIENCE)
            for thread in log_threads():
                thread.join(PATIENCE)
            assert not log_threads()


async def test_a_service_whose_log_nobody_reads_serves_and_ends_in_order() -> None:
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    body = json.dumps({"input_data": "q", "models": ["sim:refuses"] * 9})
    request = (
        "POST /compare HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n{body}"
    )
    with closing(reader, writer), trio.fail_after(20):
        async with running("serve", "--bind", "127.0.0.1:0", stderr=writer) as process:
            port = int((await url_of(process)).rpartition(":")[2])
            for _ in range(5):
                async with await trio.open_tcp_stream("127.0.0.1", port) as client:
                    await client.send_all(request.encode())
                    received = b""
                    while b'"metadata"' not in received:
                        received += await client.receive_some()
            process.terminate()
            assert await process.wait() == 0
