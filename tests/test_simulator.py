"""The simulated provider over real HTTP on a loopback port, as a client of any kind sees it."""

from __future__ import annotations

import json
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import wait_all_tasks_blocked

from service.simulator import MODELS, Simulator, open_simulator, temperament_for
from service.simulator.answering import compose
from service.simulator.dialect import parse_request

PROMPT = "What is a good café?"
WELL_BEHAVED = [model.id for model in MODELS if model.well_behaved]


def body_for(model: str, **fields: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": PROMPT}], **fields}


@asynccontextmanager
async def open_client(*, speed: float = 200) -> AsyncIterator[tuple[Simulator, httpx.AsyncClient]]:
    async with (
        open_simulator(seed=7, speed=speed) as simulator,
        # The environment's proxies and certificates are not for a loopback port.
        httpx.AsyncClient(base_url=simulator.base_url, trust_env=False, verify=False) as client,
    ):
        yield simulator, client


async def open_socket(simulator: Simulator) -> trio.SocketStream:
    url = urlsplit(simulator.base_url)
    assert url.hostname is not None
    assert url.port is not None
    return await trio.open_tcp_stream(url.hostname, url.port)


def raw_request(body: dict[str, Any], *, version: str = "1.1") -> bytes:
    content = json.dumps(body).encode()
    head = f"POST /v1/chat/completions HTTP/{version}\r\nHost: here\r\n"
    return head.encode() + b"Content-Length: %d\r\n\r\n" % len(content) + content


async def read_until(stream: trio.SocketStream, mark: bytes) -> bytes:
    received = b""
    while mark not in received:
        part = await stream.receive_some()
        assert part, received
        received += part
    return received


async def read_all(stream: trio.SocketStream) -> bytes:
    return b"".join([bytes(part) async for part in stream])


def blocks_of(response: httpx.Response) -> list[Any]:
    """The stream's blocks, the events decoded."""
    *blocks, rest = response.text.split("\n\n")
    assert rest == ""
    return [json.loads(block[6:]) if block.startswith("data: {") else block for block in blocks]


@pytest.mark.parametrize("model", [*WELL_BEHAVED, "maker/model:free"])
async def test_a_stream_is_what_openrouter_would_send(model: str) -> None:
    body = body_for(model, stream=True)
    async with open_client() as (simulator, client):
        response = await client.post("/chat/completions", json=body)
        await wait_all_tasks_blocked()
        assert (simulator.started, simulator.ended) == (1, 1)
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/event-stream"
    assert response.headers["transfer-encoding"] == "chunked"
    temperament = temperament_for(model)
    assert temperament is not None
    answer = compose(parse_request(json.dumps(body).encode()), temperament, seed=7)

    blocks = blocks_of(response)
    assert blocks[0] == ": OPENROUTER PROCESSING"
    assert blocks[-1] == "data: [DONE]"
    *pieces, finish, accounts = [block for block in blocks if isinstance(block, dict)]
    assert {piece["model"] for piece in pieces} == {model}
    assert {piece["object"] for piece in pieces} == {"chat.completion.chunk"}
    deltas = [piece["choices"][0]["delta"] for piece in pieces]
    assert ["role" in delta for delta in deltas] == [True] + [False] * (len(deltas) - 1)
    assert tuple(d["content"] for d in deltas if "content" in d) == answer.text
    assert tuple(d["reasoning"] for d in deltas if "reasoning" in d) == answer.thoughts
    assert finish["choices"][0]["finish_reason"] == "stop"
    assert accounts["choices"][0]["finish_reason"] == "stop"
    assert accounts["usage"]["completion_tokens"] == len(pieces)
    assert accounts["usage"]["cost"] == 0


async def test_a_flood_is_whole_and_stops_at_its_limit() -> None:
    async with open_client() as (_, client):
        body = body_for("sim:floods", stream=True, max_tokens=5000)
        blocks = blocks_of(await client.post("/chat/completions", json=body))
    assert blocks[-2]["usage"]["completion_tokens"] == 5000
    assert blocks[-2]["choices"][0]["finish_reason"] == "length"
    assert blocks[-1] == "data: [DONE]"


async def test_a_failing_model_sends_text_and_then_an_error() -> None:
    async with open_client() as (_, client):
        body = body_for("sim:fails", stream=True)
        blocks = blocks_of(await client.post("/chat/completions", json=body))
        whole = await client.post("/chat/completions", json=body_for("sim:fails"))
    assert sum("content" in b["choices"][0]["delta"] for b in blocks[1:-1]) == 60
    assert blocks[-1]["error"]["code"] == 502
    assert blocks[-1]["error"]["metadata"]["error_type"] == "provider_unavailable"
    assert blocks[-1]["choices"][0]["finish_reason"] == "error"
    assert whole.status_code == 502
    assert whole.json()["error"] == blocks[-1]["error"]


async def test_a_truncating_model_ends_cleanly_without_a_word_of_why() -> None:
    async with open_client() as (_, client):
        body = body_for("sim:truncates", stream=True)
        response = await client.post("/chat/completions", json=body)
        whole = await client.post("/chat/completions", json=body_for("sim:truncates"))
    assert response.text.count("data: {") == 60
    assert response.text.count('"finish_reason":null') == 60
    assert "[DONE]" not in response.text
    assert whole.json()["choices"][0]["finish_reason"] is None


@pytest.mark.parametrize("stream", [True, False])
async def test_a_refusing_model_says_when_to_come_back(stream: bool) -> None:
    async with open_client() as (simulator, client):
        response = await client.post(
            "/chat/completions", json=body_for("sim:refuses", stream=stream)
        )
        assert simulator.started == 0
    assert response.status_code == 429
    assert response.headers["retry-after"] == "30"
    assert response.json()["error"]["type"] == "rate_limit_exceeded"


async def test_the_models_are_listed_in_their_order() -> None:
    async with open_client() as (_, client):
        response = await client.get("/models?sort=name")
    assert [model["id"] for model in response.json()["data"]] == [model.id for model in MODELS]


async def test_one_connection_serves_request_after_request() -> None:
    async with open_client() as (simulator, client):
        addresses = set()
        for body in (
            body_for("sim:terse", stream=True),
            body_for("sim:terse"),
            body_for("sim:nobody"),
            body_for("sim:refuses"),
            body_for("sim:truncates", stream=True),
            body_for("sim:terse", stream=True),
        ):
            response = await client.post("/chat/completions", json=body)
            network = response.extensions["network_stream"]
            addresses.add(network.get_extra_info("client_addr"))
        await wait_all_tasks_blocked()
        assert len(addresses) == 1
        assert (simulator.started, simulator.ended) == (4, 4)


NOT_JSON = [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"model":"\xff"}', b'{"x":' + b"[" * 300_000]
NOT_A_REQUEST: list[dict[str, Any]] = [
    {"messages": [{"role": "user", "content": "?"}]},
    {"model": "sim:swift"},
    {"model": "", "messages": [{"role": "user", "content": "?"}]},
    {"model": "x" * 257, "messages": [{"role": "user", "content": "?"}]},
    {"model": "sim:swift", "messages": []},
    {"model": "sim:swift", "messages": [{"content": "?"}]},
    body_for("sim:swift", max_tokens=0),
    body_for("sim:swift", max_tokens="many"),
    body_for("sim:swift", stream="yes"),
]


@pytest.mark.parametrize(
    "content", NOT_JSON + [json.dumps(body).encode() for body in NOT_A_REQUEST]
)
async def test_a_bad_request_is_told_so(content: bytes) -> None:
    async with open_client() as (simulator, client):
        response = await client.post("/chat/completions", content=content)
        assert simulator.started == 0
    assert response.status_code == 400
    assert response.json()["error"]["type"] == "invalid_request"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("POST", "/completions", 404),
        ("GET", "/chat/completions", 405),
        ("HEAD", "/chat/completions", 405),
        ("POST", "/models", 405),
    ],
)
async def test_a_wrong_door_is_told_so(method: str, path: str, status: int) -> None:
    async with open_client() as (_, client):
        response = await client.request(method, path)
        again = await client.get("/models")
    assert response.status_code == status
    assert ("allow" in response.headers) == (status == 405)
    assert method == "HEAD" or response.json()["error"]["code"] == status
    assert again.status_code == 200


async def test_an_unknown_model_of_ours_is_not_found() -> None:
    async with open_client() as (_, client):
        response = await client.post("/chat/completions", json=body_for("sim:nobody"))
    assert response.status_code == 404
    assert response.json()["error"]["type"] == "model_not_found"


async def test_too_large_a_body_is_refused_and_the_next_is_served(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("service.simulator.connection.MAX_BODY_BYTES", 1000)
    async with open_client() as (_, client):
        refused = await client.post("/chat/completions", content=b"x" * 500_000)
        served = await client.post("/chat/completions", json=body_for("sim:terse"))
    assert refused.status_code == 413
    assert served.status_code == 200


async def test_what_is_no_http_ends_only_its_connection() -> None:
    async with open_client() as (simulator, client):
        async with await open_socket(simulator) as stream:
            await stream.send_all(b"Hello?\r\n\r\n")
            assert (await read_all(stream)).startswith(b"HTTP/1.1 400 Bad Request\r\n")
        response = await client.get("/models")
    assert response.status_code == 200


async def test_a_fault_of_our_own_ends_only_its_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **fields: object) -> None:
        raise LookupError("no such word")

    async with open_client() as (_, client):
        with monkeypatch.context() as patch, capture_logs() as logs:
            patch.setattr("service.simulator.server.compose", fail)
            with pytest.raises(httpx.RemoteProtocolError):
                await client.post("/chat/completions", json=body_for("sim:swift"))
        response = await client.post("/chat/completions", json=body_for("sim:swift"))
    assert [(entry["event"], entry["exc_info"]) for entry in logs] == [("simulator failed", True)]
    assert response.status_code == 200


async def test_a_client_of_http_1_0_gets_plain_bytes_up_to_the_end() -> None:
    async with open_client() as (simulator, _), await open_socket(simulator) as stream:
        await stream.send_all(raw_request(body_for("sim:terse", stream=True), version="1.0"))
        head, _, body = (await read_all(stream)).partition(b"\r\n\r\n")
    assert b"chunked" not in head
    assert body.startswith(b": OPENROUTER PROCESSING\n\n")
    assert body.endswith(b"\n\ndata: [DONE]\n\n")


async def test_a_client_that_asks_whether_to_go_on_may() -> None:
    async with open_client() as (simulator, _), await open_socket(simulator) as stream:
        head, _, content = raw_request(body_for("sim:terse")).partition(b"\r\n\r\n")
        await stream.send_all(head + b"\r\nExpect: 100-continue\r\n\r\n")
        assert (await stream.receive_some()).startswith(b"HTTP/1.1 100 ")
        await stream.send_all(content)
        assert (await stream.receive_some()).startswith(b"HTTP/1.1 200 OK\r\n")


@pytest.mark.parametrize("model", ["sim:stalls", "sim:rambler", "sim:floods"])
@pytest.mark.parametrize("abruptly", [True, False])
async def test_a_client_that_leaves_takes_everything_with_it(model: str, abruptly: bool) -> None:
    async with open_client(speed=1) as (simulator, _):
        before = trio.lowlevel.current_statistics().tasks_living
        stream = await open_socket(simulator)
        await stream.send_all(raw_request(body_for(model, stream=True)))
        await read_until(stream, b'"content"')
        assert simulator.running == 1
        if abruptly:  # a reset in place of a goodbye
            at_once = struct.pack("ii", 1, 0)
            stream.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, at_once)
        await stream.aclose()
        with trio.fail_after(5):
            await wait_all_tasks_blocked()
            while trio.lowlevel.current_statistics().tasks_living > before:
                await wait_all_tasks_blocked()
        assert (simulator.started, simulator.ended) == (1, 1)


async def test_leaving_the_simulator_closes_everything() -> None:
    before = trio.lowlevel.current_statistics().tasks_living
    async with open_client() as (simulator, client):
        idle = await open_socket(simulator)
        busy = await open_socket(simulator)
        await busy.send_all(raw_request(body_for("sim:stalls", stream=True)))
        await read_until(busy, b'"content"')
        await client.get("/models")
    assert simulator.running == 0
    assert trio.lowlevel.current_statistics().tasks_living == before
    async with idle, busy:
        assert await idle.receive_some() == b""
        await read_all(busy)
    with pytest.raises(OSError, match="all attempts to connect"):
        await open_socket(simulator)


@pytest.mark.parametrize("speed", [0, -1, float("nan")])
async def test_time_has_to_pass(speed: float) -> None:
    with pytest.raises(ValueError, match="speed must be more than 0"):
        async with open_simulator(speed=speed):
            pass
