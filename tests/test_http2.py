"""HTTP/2: over TLS by ALPN, in clear text by prior knowledge; many comparisons at once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import trio

from service.application import create_app
from service.providers import Ending, Prompt, Sink
from service.settings import ProviderSettings, Settings
from service.testing import Script, app_for, open_server
from tests.clients import asking, connect
from tests.conftest import Certificate
from tests.grammar import check_stream, legacy_events
from tests.h2client import H2Client, H2Stream, open_h2

SIMULATED = Settings(providers={"sim": ProviderSettings(dialect="simulated", speed=100)})
MODELS = ["sim:swift", "sim:thinker", "maker/any:free"]
OF_A_CONNECTION = {"connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"}
"""Headers that mean one HTTP/1 connection; in HTTP/2 they make a message malformed."""


@asynccontextmanager
async def open_http(
    app: Any, certificate: Certificate | None = None, *, http2: bool = True
) -> AsyncIterator[httpx.AsyncClient]:
    """A client that speaks HTTP/2 and nothing else, or HTTP/1.1 and nothing else."""
    tls: dict[str, Any] = {}
    trust = False if certificate is None else certificate.trusting()  # httpx says what it offers
    if certificate is not None:
        tls = {"certfile": certificate.certfile, "keyfile": certificate.keyfile}
    async with (
        open_server(app, **tls) as url,
        httpx.AsyncClient(
            base_url=url, http1=not http2, http2=http2, verify=trust, trust_env=False, timeout=10
        ) as client,
    ):
        yield client


@asynccontextmanager
async def open_frames(app: Any) -> AsyncIterator[H2Client]:
    """A client that speaks HTTP/2 frame by frame, in clear text."""
    async with open_server(app) as url, open_h2(await connect(url), url) as client:
        yield client


def check_headers(headers: httpx.Headers | dict[str, str]) -> None:
    assert not OF_A_CONNECTION & set(headers)
    assert "content-length" not in headers
    assert "content-encoding" not in headers
    assert headers["content-type"] == "text/event-stream; charset=utf-8"
    assert headers["cache-control"] == "no-cache, no-transform"
    assert headers["x-accel-buffering"] == "no"


async def test_over_tls_a_client_gets_http2_and_the_same_stream(certificate: Certificate) -> None:
    async with open_http(create_app(SIMULATED), certificate) as client:
        response = await client.post("/compare-stream", json=asking(*MODELS))
        compared = await client.post("/compare", json=asking(*MODELS))
    assert (response.http_version, response.url.scheme) == ("HTTP/2", "https")
    check_headers(response.headers)
    assert check_stream(response.content, MODELS) == compared.json()["results"]


async def test_over_tls_a_client_that_knows_only_http1_gets_that(certificate: Certificate) -> None:
    async with open_http(create_app(SIMULATED), certificate, http2=False) as client:
        response = await client.post("/compare-stream", json=asking(*MODELS))
    assert (response.http_version, response.url.scheme) == ("HTTP/1.1", "https")
    check_stream(response.content, MODELS)


@pytest.mark.parametrize(
    ("offered", "taken"), [(["h2", "http/1.1"], "h2"), (["http/1.1"], "http/1.1"), ([], None)]
)
async def test_the_protocol_is_chosen_from_what_the_client_offers(
    certificate: Certificate, offered: list[str], taken: str | None
) -> None:
    app = app_for(Script("a"))
    async with open_server(app, certfile=certificate.certfile, keyfile=certificate.keyfile) as url:
        tls = trio.SSLStream(
            await connect(url), certificate.trusting(*offered), server_hostname="127.0.0.1"
        )
        async with tls:
            await tls.do_handshake()
            assert tls.selected_alpn_protocol() == taken


async def test_in_clear_text_http2_is_spoken_to_who_knows_it() -> None:
    async with open_http(create_app(SIMULATED)) as client:
        response = await client.post("/compare-stream", json=asking(*MODELS))
    assert (response.http_version, response.url.scheme) == ("HTTP/2", "http")
    check_headers(response.headers)
    check_stream(response.content, MODELS)


async def test_every_route_is_there_over_http2() -> None:
    async with open_http(create_app(SIMULATED)) as client:
        for path in ("/models", "/model-stats", "/rate-limit-status", "/health", "/"):
            for prefix in ("", "/api"):
                get, head = await client.get(prefix + path), await client.head(prefix + path)
                assert (get.status_code, head.status_code, head.content) == (200, 200, b"")
                assert not OF_A_CONNECTION & set(get.headers)


@pytest.mark.parametrize(
    ("request_", "status", "code"),
    [
        ({"json": asking("a:m", temperature=9)}, 400, "invalid_request"),
        ({"json": asking()}, 400, "models_required"),
        ({"content": b"{}", "headers": {"Content-Type": "text/plain"}}, 415, "not_json"),
    ],
)
async def test_a_refusal_leaves_the_connection_to_the_others(
    request_: dict[str, Any], status: int, code: str
) -> None:
    script = Script("a", (0, "x"))
    async with open_http(app_for(script)) as client:
        for path in ("/compare-stream", "/compare"):
            response = await client.post(path, **request_)
            assert (response.status_code, response.json()["code"]) == (status, code)
            assert not OF_A_CONNECTION & set(response.headers)
        assert script.opened == 0
        response = await client.post("/compare-stream", json=asking("a:m"))
    assert check_stream(response.content, ["a:m"]) == {"a:m": "x"}


async def test_a_body_of_many_frames_is_read_whole() -> None:
    async with open_http(app_for(Script("a", (0, "x")))) as client:
        response = await client.post("/compare-stream", json=asking("a:m", padding="x" * 900_000))
    check_stream(response.content, ["a:m"])


async def test_a_long_answer_passes_the_window_many_times() -> None:
    piece = "0123456789" * 1000
    async with open_frames(app_for(Script("a", *[(0, piece)] * 50))) as client:
        stream = await client.post("/compare-stream", asking("a:m", "a:m"))
        await client.finish(stream)
    texts = check_stream(bytes(stream.body), ["a:m", "a:m"])
    assert set(texts.values()) == {piece * 50}


# --- many on one connection ---------------------------------------------------------------------

TOGETHER = 9


class Meeting(Script):
    """Answers nobody until so many have asked: who waits for his turn waits for ever."""

    def __init__(self, name: str, expected: int) -> None:
        super().__init__(name)
        self._expected = expected
        self._all_are_here = trio.Event()

    async def stream(self, prompt: Prompt, sink: Sink) -> Ending:
        """Say half of the answer, wait for the others, say the rest."""
        self.opened += 1
        sink.connected()
        question = prompt.messages[-1].content
        await sink.text(question)
        if self.opened == self._expected:
            self._all_are_here.set()
        await self._all_are_here.wait()
        await sink.text(f" {prompt.model}")
        return Ending(finish_reason="stop")


async def test_nine_comparisons_run_side_by_side_on_one_connection() -> None:
    models = ["a:x", "a:y", "a:z"]
    app = app_for(Meeting("a", TOGETHER * len(models)))
    with trio.fail_after(10):
        async with open_frames(app) as client:
            streams = [
                await client.post("/compare-stream", asking(*models, input_data=f"question {n}"))
                for n in range(TOGETHER)
            ]
            await client.finish(*streams)
    ids = set()
    for number, stream in enumerate(streams):
        check_headers(stream.headers)
        ids.add(stream.headers["x-comparison-id"])
        assert check_stream(bytes(stream.body), models) == {
            f"a:{name}": f"question {number} {name}" for name in "xyz"
        }
    assert len(ids) == TOGETHER


async def test_nine_comparisons_run_side_by_side_on_one_tls_connection(
    certificate: Certificate,
) -> None:
    texts = []
    ports = set()

    async def one(client: httpx.AsyncClient, number: int) -> None:
        question = asking("a:m", input_data=f"question {number}")
        reply = await client.post("/compare-stream", json=question)
        texts.append(check_stream(reply.content, ["a:m"])["a:m"])
        ports.add(reply.extensions["network_stream"].get_extra_info("client_addr"))

    with trio.fail_after(10):
        async with open_http(app_for(Meeting("a", TOGETHER)), certificate) as client:
            await client.get("/health")  # so that the connection is there before all need one
            async with trio.open_nursery() as nursery:
                for number in range(TOGETHER):
                    nursery.start_soon(one, client, number)
    assert sorted(texts) == [f"question {number} m" for number in range(TOGETHER)]
    assert len(ports) == 1


async def test_a_short_answer_is_not_held_up_by_a_long_one_on_the_same_connection() -> None:
    long_one = Meeting("a", 2)  # ends only when it is asked a second time
    with trio.fail_after(10):
        async with open_frames(app_for(long_one, Script("b", (0, "x")))) as client:
            first = await client.post("/compare-stream", asking("a:m"))
            await client.until(lambda: b'"chunk"' in first.body)
            second = await client.post("/compare-stream", asking("b:m"))
            health = await client.get("/health")
            await client.finish(second, health)
            assert not first.ended
            third = await client.post("/compare-stream", asking("a:m"))
            await client.finish(first, third)
    for stream, model in ((first, "a:m"), (second, "b:m"), (third, "a:m")):
        check_stream(bytes(stream.body), [model])


async def test_each_event_is_sent_when_it_comes(certificate: Certificate) -> None:
    meeting = Meeting("a", 2)

    def events(stream: H2Stream) -> list[str]:
        return [event["type"] for event in legacy_events(bytes(stream.body))]

    app = app_for(meeting)
    with trio.fail_after(10):
        async with open_server(
            app, certfile=certificate.certfile, keyfile=certificate.keyfile
        ) as url:
            context = certificate.trusting("h2")
            tls = trio.SSLStream(await connect(url), context, server_hostname="127.0.0.1")
            async with open_h2(tls, url) as client:
                waiting = await client.post("/compare-stream", asking("a:m"))
                await client.until(lambda: events(waiting) == ["start", "chunk"])
                await client.finish(await client.post("/compare", asking("a:m")))
                await client.finish(waiting)
    assert events(waiting) == ["start", "chunk", "chunk", "done", "complete"]
