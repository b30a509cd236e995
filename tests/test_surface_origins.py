"""CORS: which pages may read the answers."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
import trio
from trio.testing import MockClock

from service.settings import Limits, Server, Settings
from service.surface import make_key
from service.testing import Script, app_for, open_app, open_server
from tests.clients import Reply, ask, asking, call, connect
from tests.grammar import check_stream

OURS, OTHER = "https://app.example.org", "http://localhost:3000"
KEY, DIGEST = make_key()
PREFLIGHT = {
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "content-type,authorization",
}
NOT_OURS = [
    "https://evil.example",
    "https://app.example.org.evil.example",
    "https://app.example.org:8443",
    "http://app.example.org",
    "HTTPS://app.example.org",
    "null",
    "*",
    "",
    "https://app.example.org\u00ff",
]
ROUTES = [
    *(("POST", path) for path in ("/compare-stream", "/compare")),
    *(("GET", path) for path in ("/models", "/model-stats", "/rate-limit-status", "/health", "/")),
]


def app_with(*origins: str, **server: Any) -> Any:
    settings = Settings(
        server=Server(cors_origins=origins, **server), limits=Limits(daily_model_responses=1)
    )
    return app_for(Script("a", (0, "x")), settings=settings)


def cors_headers(reply: Reply) -> dict[str, str]:
    return {name: value for name, value in reply.headers.items() if "access-control" in name}


def readable(origin: str) -> dict[str, str]:
    """The headers by which a page of this origin may read a response."""
    return {
        "access-control-allow-origin": origin,
        "access-control-expose-headers": "X-Comparison-Id, Retry-After",
    }


@pytest.mark.parametrize(
    ("configured", "origin", "allowed"),
    [
        ((OURS, OTHER), OURS, OURS),
        ((OURS, OTHER), OTHER, OTHER),
        (("*",), "https://any.example", "*"),
    ],
)
@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_a_listed_pages_preflight_is_permitted(
    configured: tuple[str, ...], origin: str, allowed: str, method: str, path: str
) -> None:
    headers = {"Origin": origin, **PREFLIGHT, "Access-Control-Request-Method": method}
    async with open_app(app := app_with(*configured)):
        for prefix in ("", "/api"):
            reply = await call(app, "OPTIONS", prefix + path, headers=headers)
            assert (reply.status, reply.body) == (204, b"")
            assert reply.headers["vary"] == "Origin"
            assert cors_headers(reply) == {
                "access-control-allow-origin": allowed,
                "access-control-allow-methods": "GET, HEAD, POST, DELETE",
                "access-control-allow-headers": (
                    "content-type, authorization, x-api-key, last-event-id, traceparent, tracestate"
                ),
                "access-control-max-age": "600",
            }


@pytest.mark.parametrize("origin", NOT_OURS)
async def test_any_other_pages_preflight_is_refused(origin: str) -> None:
    async with open_app(app := app_with(OURS, OTHER)):
        reply = await call(app, "OPTIONS", "/compare", headers={"Origin": origin, **PREFLIGHT})
    assert reply.status == 403
    assert reply.json()["code"] == "origin_not_allowed"
    assert reply.headers["vary"] == "Origin"
    assert cors_headers(reply) == {}


async def test_a_listed_page_reads_the_stream_and_every_refusal(
    autojump_clock: MockClock,
) -> None:
    headers = {"Origin": OURS}
    async with open_app(app := app_with(OURS)):
        replies = {
            "200": await call(
                app, "POST", "/compare-stream", json_body=asking("a:m"), headers=headers
            ),
            "400": await call(app, "POST", "/compare", json_body={}, headers=headers),
            "404": await call(app, "GET", "/nowhere", headers=headers),
            "405": await call(app, "PUT", "/compare", headers=headers),
            "415": await call(
                app, "POST", "/compare", headers={**headers, "Content-Type": "text/plain"}
            ),
            "429": await call(app, "POST", "/compare", json_body=asking("a:m"), headers=headers),
        }
    check_stream(replies["200"].body, ["a:m"])
    for status, reply in replies.items():
        assert reply.status == int(status)
        assert cors_headers(reply) == readable(OURS)
        assert reply.headers["vary"] == "Origin"


async def test_a_page_can_read_that_it_has_no_key_and_its_preflight_needs_none() -> None:
    headers = {"Origin": OURS}
    async with open_app(app := app_with(OURS, api_keys={"page": DIGEST})):
        preflight = await call(app, "OPTIONS", "/compare", headers=headers | PREFLIGHT)
        refused = await call(app, "POST", "/compare", json_body=asking("a:m"), headers=headers)
        answered = await call(
            app,
            "POST",
            "/compare",
            json_body=asking("a:m"),
            headers=headers | {"Authorization": f"Bearer {KEY}"},
        )
        plain = await call(app, "OPTIONS", "/compare", headers=headers)
    assert (preflight.status, refused.status, answered.status) == (204, 401, 200)
    assert cors_headers(refused) == cors_headers(answered) == readable(OURS)
    assert plain.status == 401  # no preflight: it asks for no method


@pytest.mark.parametrize("origin", NOT_OURS)
async def test_any_other_page_reads_nothing(origin: str) -> None:
    async with open_app(app := app_with(OURS)):
        reply = await call(app, "GET", "/models", headers={"Origin": origin})
    assert reply.status == 200
    assert cors_headers(reply) == {}
    assert reply.headers["vary"] == "Origin"


async def test_who_is_no_page_sees_no_difference_but_vary() -> None:
    async with open_app(app := app_with("*")):
        reply = await ask(app, "a:m")
        options = await call(app, "OPTIONS", "/compare")
    assert cors_headers(reply) == {}
    assert reply.headers["vary"] == "Origin"
    assert options.status == 405


async def test_without_configured_origins_nothing_is_different() -> None:
    async with open_app(app := app_with()):
        preflight = await call(app, "OPTIONS", "/compare", headers={"Origin": OURS, **PREFLIGHT})
        reply = await call(app, "GET", "/models", headers={"Origin": OURS})
    assert preflight.status == 405
    assert cors_headers(preflight) == cors_headers(reply) == {}
    assert "vary" not in reply.headers


async def test_no_response_lets_a_browser_send_its_credentials() -> None:
    async with open_app(app := app_with(OURS)):
        for method, path in (("OPTIONS", "/compare"), ("GET", "/models")):
            reply = await call(app, method, path, headers={"Origin": OURS, **PREFLIGHT})
            assert "access-control-allow-credentials" not in reply.headers


async def test_an_origin_may_be_of_any_bytes() -> None:
    head = b"GET /models HTTP/1.1\r\nHost: test\r\nOrigin: \xff\xfe\r\nConnection: close\r\n\r\n"
    with trio.fail_after(5):
        async with open_server(app_with(OURS)) as url, await connect(url) as client:
            await client.send_all(head)
            answer = b"".join([bytes(part) async for part in client])
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"access-control" not in answer.lower()


async def test_over_a_socket_a_page_gets_its_stream_on_the_preflights_connection() -> None:
    async with (
        open_server(app_with(OURS)) as url,
        httpx.AsyncClient(base_url=url, trust_env=False, timeout=10) as client,
    ):
        headers = {"Origin": OURS}
        preflight = await client.options("/compare-stream", headers=headers | PREFLIGHT)
        streamed = await client.post("/compare-stream", json=asking("a:m"), headers=headers)
        ports = {
            response.extensions["network_stream"].get_extra_info("client_addr")
            for response in (preflight, streamed)
        }
    assert (preflight.status_code, preflight.content) == (204, b"")
    assert streamed.headers["access-control-allow-origin"] == OURS
    check_stream(streamed.content, ["a:m"])
    assert len(ports) == 1
