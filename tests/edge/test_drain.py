"""How a server ends: what runs may finish, what is left is told, and nothing holds it up."""

from __future__ import annotations

import json
import os
import signal
import socket
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
import trio.testing

from service.shared import Shared
from service.testing import Script, Stall, app_for, open_app, open_exchange
from tests.clients import http1_request
from tests.command import running
from tests.edge.frames import RawH2, frames, get
from tests.edge.readers import KINDS, open_kind, open_reader, question
from tests.edge.served import Served, open_served
from tests.grammar import check_stream

ASKED = {"input_data": "q", "models": ["a:1", "b:1"]}


# --- in memory, in virtual time -----------------------------------------------------------------


def events_of(body: bytes) -> list[dict[str, Any]]:
    blocks = body.decode().split("\n\n")
    return [json.loads(block[6:]) for block in blocks if block.startswith("data: ")]


def admission_of(app: Any) -> Any:
    shared = Shared.of(app)
    assert shared is not None
    return shared.admission


async def test_a_drain_waits_for_what_runs_and_no_longer(
    autojump_clock: trio.testing.MockClock,
) -> None:
    app = app_for(Script("a", (1, "x"), (6, "y")), Script("b", (2, "z")))
    async with open_app(app), open_exchange(app, "/compare-stream", json_body=ASKED) as exchange:
        async with trio.open_nursery() as nursery:
            await exchange.next_body()
            nursery.start_soon(admission_of(app).drain, 30)
            body = await exchange.read()
        assert trio.current_time() == 7
    assert [event["code"] for event in events_of(body) if event["type"] == "done"] == [None, None]


async def test_at_the_deadline_every_open_model_is_told_to_be_shut_down_and_then_it_is_complete(
    autojump_clock: trio.testing.MockClock, log_lines: list[dict[str, Any]]
) -> None:
    a, b = Script("a", (1, "x"), (0, Stall())), Script("b", (2, "z"))
    app = app_for(a, b)
    async with open_app(app), open_exchange(app, "/compare-stream", json_body=ASKED) as exchange:
        async with trio.open_nursery() as nursery:
            body = await exchange.next_body() or b""
            nursery.start_soon(admission_of(app).drain, 30)
            body += await exchange.read()
        assert trio.current_time() == 30
    assert check_stream(body, ["a:1", "b:1"])
    *_, words, done, complete = events_of(body)
    assert words == {
        "model": "a:1",
        "type": "chunk",
        "content": "Error: The service is stopping. Ask again in a moment.",
        "error": True,
    }
    assert (done["model"], done["code"], done["chunks"]) == ("a:1", "server_shutdown", 1)
    assert complete["metadata"]["models_failed"] == 1
    assert (a.closed, b.closed) == (1, 1)
    ends = {line.get("model"): line["code"] for line in log_lines if line["event"] == "model ended"}
    assert ends == {"a:1": "server_shutdown", "b:1": None}


async def test_a_model_that_had_not_begun_is_told_as_well(
    autojump_clock: trio.testing.MockClock,
) -> None:
    script = Script("a", (1, "x"))
    app = app_for(script)
    one = {"input_data": "q", "models": ["a:1"]}
    async with open_app(app), open_exchange(app, "/compare-stream", json_body=one) as exchange:
        await trio.testing.wait_all_tasks_blocked()  # the status waits to be taken
        admission_of(app).stop()
        body = await exchange.read()
    assert [event["type"] for event in events_of(body)] == ["start", "chunk", "done", "complete"]
    assert script.opened == script.closed


async def test_who_does_not_listen_is_not_waited_for_and_its_end_has_a_cause(
    autojump_clock: trio.testing.MockClock, log_lines: list[dict[str, Any]]
) -> None:
    app = app_for(Script("a", (1, "x"), (1, "x"), (0, Stall())), Script("b", (0, Stall())))
    async with open_app(app), open_exchange(app, "/compare-stream", json_body=ASKED) as exchange:
        await exchange.next_body()
        await admission_of(app).drain(30)
        assert 30 < trio.current_time() < 31
        exchange.disconnect()
        await exchange.read()
    [whole] = [line for line in log_lines if line["event"] == "comparison ended"]
    assert whole["outcome"] == "server_shutdown"


async def test_in_a_drain_nobody_may_begin_and_the_process_is_not_ready(
    autojump_clock: trio.testing.MockClock,
) -> None:
    script = Script("a", (0, "x"))
    app = app_for(script)
    one = {"input_data": "q", "models": ["a:1"]}
    async with open_app(app):
        async with open_exchange(app, "/readyz", method="GET") as exchange:
            assert await exchange.read() == b'{"status":"ready"}'
        await admission_of(app).drain(30)
        assert trio.current_time() == 0  # nothing ran
        for method, path, asked in (
            ("POST", "/compare-stream", one),
            ("POST", "/api/compare", one),
            ("GET", "/readyz", None),
        ):
            async with open_exchange(app, path, method=method, json_body=asked) as exchange:
                refusal = json.loads(await exchange.read())
            assert exchange.status == 503
            assert refusal["code"] == "draining"
            assert exchange.headers["retry-after"] == "1"
        async with open_exchange(app, "/health", method="GET") as exchange:
            assert await exchange.read() == b'{"status":"healthy"}'
    assert script.opened == 0


# --- processes ----------------------------------------------------------------------------------


async def begin(client: trio.abc.Stream, model: str, until: bytes = b'"chunk"') -> bytes:
    """Ask, and read until this has come."""
    await client.send_all(http1_request(f"{model}:m"))
    received = b""
    while until not in received:
        received += bytes(await client.receive_some())
    return received


async def rest_of(client: trio.abc.Stream) -> bytes:
    received = b""
    while data := await client.receive_some():
        received += data
    return received


async def ends_in_order(served: Served, seconds: float) -> None:
    with trio.fail_after(seconds):
        assert await served.process.wait() == 0


async def test_while_something_runs_who_asks_is_told_that_it_drains() -> None:
    async with open_served("ours", drain=5) as served, await served.connect() as client:
        received = await begin(client, "drip")
        served.process.send_signal(signal.SIGTERM)
        url = f"http://127.0.0.1:{served.port}"
        async with httpx.AsyncClient(base_url=url, trust_env=False) as http:
            with trio.fail_after(5):
                while (await http.get("/readyz")).status_code == 200:
                    pass
                asked = {"input_data": "q", "models": ["quick:m"]}
                refused = await http.post("/compare-stream", json=asked)
        assert refused.status_code == 503
        assert refused.json()["code"] == "draining"
        assert refused.headers["connection"] == "close"
        more = len(received)
        while more == len(received):
            received += bytes(await client.receive_some())


async def test_what_finishes_in_time_is_whole_and_then_the_process_ends() -> None:
    async with open_served("ours", drain=20) as served, await served.connect() as client:
        received = await begin(client, "slow", until=b'"start"')
        served.process.send_signal(signal.SIGTERM)
        with trio.fail_after(5):
            received += await rest_of(client)
        assert b'"complete"' in received
        assert b"server_shutdown" not in received
        await ends_in_order(served, 3)


async def test_an_endless_stream_is_told_at_the_deadline_and_the_process_ends() -> None:
    async with open_served("ours", drain=0.3) as served, await served.connect() as client:
        received = await begin(client, "drip")
        served.process.send_signal(signal.SIGTERM)
        with trio.fail_after(3):
            received += await rest_of(client)
            assert await served.process.wait() == 0
        assert b'"code":"server_shutdown"' in received
        assert b'"complete"' in received


@KINDS
async def test_a_reader_that_stalls_does_not_hold_up_the_end(kind: str, tmp_path: Path) -> None:
    async with (
        open_kind(kind, tmp_path, drain=0.3, write_timeout=60) as served,
        open_reader(served, kind, "flood"),
    ):
        await trio.sleep(0.2)  # until the buffers in between are full
        served.process.send_signal(signal.SIGTERM)
        await ends_in_order(served, 3)


async def test_the_second_signal_ends_it_at_once() -> None:
    async with open_served("ours", drain=60) as served, await served.connect() as client:
        await begin(client, "drip")
        served.process.send_signal(signal.SIGTERM)
        url = f"http://127.0.0.1:{served.port}"
        async with httpx.AsyncClient(base_url=url, trust_env=False) as http:
            while (await http.get("/readyz")).status_code == 200:
                pass
        served.process.send_signal(signal.SIGTERM)
        await ends_in_order(served, 3)


async def ready_line(process: trio.Process) -> str:
    assert process.stdout is not None
    line = b""
    while not line.endswith(b"\n"):
        line += bytes(await process.stdout.receive_some())
    return line.decode()


async def test_of_two_processes_at_one_port_the_stopped_one_leaves_every_client_to_the_other() -> (
    None
):
    with socket.create_server(("127.0.0.1", 0), reuse_port=True) as held:
        address = f"127.0.0.1:{held.getsockname()[1]}"
    serve = ("serve", "--bind", address, "--reuse-port")
    with trio.fail_after(30):
        async with running(*serve) as old, running(*serve) as new:
            await ready_line(old)
            await ready_line(new)
            async with httpx.AsyncClient(base_url=f"http://{address}", trust_env=False) as http:
                old.send_signal(signal.SIGTERM)
                assert await old.wait() == 0
                for _ in range(20):
                    fresh = {"Connection": "close"}
                    assert (await http.get("/readyz", headers=fresh)).status_code == 200


async def test_a_response_of_http_2_ends_whole_in_the_drain_of_a_shared_port() -> None:
    with socket.create_server(("127.0.0.1", 0), reuse_port=True) as held:
        port = held.getsockname()[1]
    serve = ("serve", "--bind", f"127.0.0.1:{port}", "--reuse-port")
    with trio.fail_after(30):
        async with running(*serve) as process:
            await ready_line(process)
            async with await trio.open_tcp_stream("127.0.0.1", port) as client:
                http = RawH2(client)
                await http.begin()
                await http.send(*question(http, 1, "any"))
                await http.until(frames.DataFrame, 1)
                process.send_signal(signal.SIGTERM)
                while not http.has_ended(1):
                    assert not http.ended
                    await http.receive()
                    await http.send(http.window(0, 10_000), http.window(1, 10_000))
            assert b'"complete"' in http.body(1)
            assert not http.found(frames.RstStreamFrame, 1)
            assert await process.wait() == 0


async def test_every_request_at_the_end_of_a_drain_is_refused_or_may_be_sent_again() -> None:
    async with open_served("ours", drain=5) as served, await served.connect() as client:
        http = RawH2(client)
        await http.begin()
        await http.send(*question(http, 1, "slow"))
        await http.until(frames.HeadersFrame, 1)
        served.process.send_signal(signal.SIGTERM)
        while b'"complete"' not in http.body(1):
            await http.receive()
        late = range(3, 13, 2)
        await http.send(*(http.head(stream_id, get()) for stream_id in late))
        with trio.fail_after(5):
            await http.until_closed()
        [away] = http.found(frames.GoAwayFrame)
        assert isinstance(away, frames.GoAwayFrame)
        for stream_id in late:
            reset = http.found(frames.RstStreamFrame, stream_id)
            assert reset or stream_id > away.last_stream_id


@pytest.mark.parametrize("kind", ["h2c", "h2 over TLS"])
async def test_the_end_of_an_answer_waits_in_the_drain_for_a_client_that_reads_slowly(
    kind: str, tmp_path: Path
) -> None:
    # What it says while it reads would make a closed socket answer with a reset.
    async with (
        open_kind(kind, tmp_path, drain=20, write_timeout=5) as served,
        open_reader(served, kind, "long") as client,
    ):
        served.process.send_signal(signal.SIGTERM)
        received = b""
        with trio.fail_after(15):
            while data := await client.receive_some():
                received += data
                if b'"complete"' not in received:
                    await trio.sleep(len(data) / 50_000)
                    await client.send_all(RawH2.window(0, 1))
        assert b'"complete"' in received
        await ends_in_order(served, 3)


async def test_hypercorns_workers_let_what_runs_finish_and_end_in_order() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    arguments = ("-w", "2", "-c", "hypercorn.toml", "-b", address, "service.app:app")
    asked = {"input_data": "q", "models": ["sim:terse"]}
    with trio.fail_after(30):
        async with running(*arguments, module="hypercorn") as process:
            url = f"http://{address}"
            async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=20) as http:
                await until_ready(http)
                async with http.stream("POST", "/compare-stream", json=asked) as response:
                    body = b""
                    async for chunk in response.aiter_raw():
                        if not body:
                            process.send_signal(signal.SIGTERM)
                        body += chunk
            assert b'"complete"' in body
            assert b"server_shutdown" not in body
            assert await process.wait() == 0


async def test_a_worker_that_is_stopped_alone_leaves_its_clients_to_its_siblings() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    arguments = ("-w", "2", "-c", "hypercorn.toml", "-b", address, "service.app:app")
    with trio.fail_after(30):
        async with running(*arguments, module="hypercorn") as process:
            url = f"http://{address}"
            async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=20) as http:
                await until_ready(http)
                workers = await until_listening(process.pid)
                os.kill(workers[0], signal.SIGTERM)
                while is_there(workers[0]):
                    fresh = {"Connection": "close"}
                    assert (await http.get("/readyz", headers=fresh)).status_code == 200
            process.send_signal(signal.SIGTERM)
            assert await process.wait() == 0


async def until_ready(http: httpx.AsyncClient) -> None:
    while True:
        try:
            if (await http.get("/readyz")).status_code == 200:
                return
        except httpx.TransportError:
            await trio.sleep(0.05)


async def until_listening(parent: int) -> list[int]:
    """The worker processes, once both serve."""
    while len(workers := [pid for pid in children_of(parent) if has_epoll(pid)]) < 2:  # noqa: ASYNC110
        await trio.sleep(0.05)
    return workers


def is_there(pid: int) -> bool:
    """Whether a process has not ended."""
    return Path(f"/proc/{pid}/fd").exists()


def children_of(pid: int) -> list[int]:
    """The processes that a process has started."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def has_epoll(pid: int) -> bool:
    """Whether a process waits for sockets: Trio has begun in it."""
    try:
        links = [os.readlink(fd) for fd in Path(f"/proc/{pid}/fd").iterdir()]
    except OSError:
        return False
    return any("eventpoll" in link for link in links)
