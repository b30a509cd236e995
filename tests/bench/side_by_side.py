"""Is a comparison as long as its slowest model, and do others beside it change that?"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trio

from service.eventstream import Decoder

ROOT = Path(__file__).parents[2]
MODELS = 9
CHUNKS = 200
GAP_SECONDS = 0.01


@dataclass(frozen=True, slots=True)
class Ran:
    """One comparison as its client saw it; seconds."""

    wall: float
    slowest: float
    """The longest of the models, from its `start` to its `done`."""
    start_spread: float
    chunks: int


@contextmanager
def started(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A Python process and the first line that it prints; ended with the context."""
    process = subprocess.Popen(
        [sys.executable, "-m", *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield process, process.stdout.readline()
    finally:
        process.terminate()
        process.wait(10)


def processor_seconds(process: subprocess.Popen[str]) -> float:
    """User and system time that a process has taken so far (Linux)."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def compare(port: int) -> Ran:
    """One comparison over a plain socket."""
    body = json.dumps({"input_data": "q", "models": [f"p:m{n}" for n in range(MODELS)]}).encode()
    head = (
        "POST /compare-stream HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    arrivals: list[tuple[float, bytes]] = []
    asked_at = time.perf_counter()
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        await stream.send_all(head.encode() + body)
        while not (arrivals and b'"type":"complete"' in arrivals[-1][1]):
            data = bytes(await stream.receive_some(65536))
            assert data, "the stream was cut"
            arrivals.append((time.perf_counter() - asked_at, data))
    return judged(arrivals)


def judged(arrivals: list[tuple[float, bytes]]) -> Ran:
    """Read the events only now, so that the reading does not slow the client down."""
    starts: dict[str, float] = {}
    dones: dict[str, float] = {}
    chunks = 0
    decoder = Decoder()
    for seconds, event in events(decoder, arrivals):
        match event["type"]:
            case "start":
                starts[event["model"]] = seconds
            case "chunk":
                chunks += 1
            case "done":
                assert not event["error"], event
                dones[event["model"]] = seconds
    assert chunks == MODELS * CHUNKS, "a chunk was lost or doubled"
    return Ran(
        wall=arrivals[-1][0],
        slowest=max(dones[model] - starts[model] for model in starts),
        start_spread=max(starts.values()) - min(starts.values()),
        chunks=chunks,
    )


def events(
    decoder: Decoder, arrivals: list[tuple[float, bytes]]
) -> Iterator[tuple[float, dict[str, Any]]]:
    """The events in the raw response; the chunked framing's size lines hold no `data:`."""
    for seconds, data in arrivals:
        for message in decoder.feed(data):
            if message.data.startswith("{"):
                yield seconds, json.loads(message.data)


async def compare_at_once(port: int, comparisons: int) -> list[Ran]:
    """Several comparisons that begin together."""
    ran: list[Ran] = []

    async def one() -> None:
        ran.append(await compare(port))

    async with trio.open_nursery() as nursery:
        for _ in range(comparisons):
            nursery.start_soon(one)
    return ran


def main() -> None:
    """Print a table."""
    with (
        tempfile.NamedTemporaryFile("w", suffix=".toml") as config,
        started("tests.bench.provider", str(CHUNKS), str(GAP_SECONDS)) as (_, port),
    ):
        config.write(
            f'[providers.p]\ndialect = "openai"\nbase_url = "http://127.0.0.1:{port.strip()}/v1"\n'
        )
        config.flush()
        serve = ("service", "serve", "--bind", "127.0.0.1:0", "--config", config.name)
        with started(*serve, "--log-level", "warning") as (server, ready):
            served_port = int(ready.split("127.0.0.1:")[1].split()[0])
            print(f"{MODELS} models, {CHUNKS} chunks each, one every {GAP_SECONDS * 1000:g} ms\n")
            print("comparisons  wall / slowest  wall s  starts within ms  CPU us/chunk")
            for comparisons in (1, 1, 10, 30):
                before = processor_seconds(server)
                ran = trio.run(compare_at_once, served_port, comparisons)
                spent = processor_seconds(server) - before
                print(
                    f"{comparisons:11}"
                    f"{max(r.wall / r.slowest for r in ran):16.4f}"
                    f"{max(r.wall for r in ran):8.2f}"
                    f"{1000 * max(r.start_spread for r in ran):18.2f}"
                    f"{1e6 * spent / sum(r.chunks for r in ran):14.0f}"
                )


if __name__ == "__main__":
    main()
