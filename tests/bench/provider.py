"""A provider that does nothing but send chunks on time: `python -m tests.bench.provider N GAP`.

Prints its port. Raw sockets, so that its own cost does not blur what is measured.
"""

from __future__ import annotations

import sys

import trio

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def framed(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


CHUNK = framed(
    b'data: {"id":"gen-1","object":"chat.completion.chunk","created":1,"model":"m",'
    b'"choices":[{"index":0,"delta":{"content":" word"},"finish_reason":null}]}\n\n'
)
END = (
    framed(b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n')
    + b"0\r\n\r\n"
)


async def main(chunks: int, gap_seconds: float) -> None:
    async def answer(stream: trio.SocketStream) -> None:
        async with stream:
            while await head_of_request(stream):
                await stream.send_all(HEAD)
                began = trio.current_time()
                for n in range(1, chunks + 1):
                    await trio.sleep_until(began + n * gap_seconds)
                    await stream.send_all(CHUNK)
                await stream.send_all(END)

    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1", backlog=1000)
    print(listeners[0].socket.getsockname()[1], flush=True)
    await trio.serve_listeners(answer, listeners)


async def head_of_request(stream: trio.SocketStream) -> bool:
    """Read one request; ours are small and end with their JSON body."""
    received = b""
    while not (b"\r\n\r\n" in received and received.endswith(b"}")):
        data = await stream.receive_some()
        if not data:
            return False
        received += data
    return True


if __name__ == "__main__":
    trio.run(main, int(sys.argv[1]), float(sys.argv[2]))
