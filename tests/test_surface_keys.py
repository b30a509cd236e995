"""Keys: who has none gets nothing, learns nothing, and is heard no longer than his head."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from hmac import compare_digest
from typing import Any

import httpx
import pytest
import structlog
import trio

from service import log
from service.application import create_app
from service.settings import Limits, ProviderSettings, Server, Settings
from service.surface import keys as keys_module
from service.surface import make_key
from service.surface.keys import Keys
from service.testing import Script, app_for, open_app, open_exchange, open_server, open_wire
from tests.calling import DONE, HEAD, LAST, STOP, chunk, chunked
from tests.clients import JSON, Reply, ask, asking, call, connect, http1_request
from tests.h2client import open_h2

KEY, DIGEST = make_key()
OTHER, OTHER_DIGEST = make_key()
UNKNOWN, _ = make_key()
SERVER = Server(api_keys={"laptop": DIGEST, "phone": OTHER_DIGEST})
GUARDED = Settings(server=SERVER)

CLOSED = [
    *(("POST", path) for path in ("/compare-stream", "/compare", "/format")),
    *(("GET", path) for path in ("/models", "/model-stats", "/rate-limit-status")),
]
OPEN = ["/", "/health", "/readyz", "/docs", "/docs/docs.js", "/openapi.json"]
UNDER_API = ["/", "/health", "/readyz"]


def guarded_app(*scripts: Script, settings: Settings = GUARDED) -> Any:
    return app_for(*(scripts or (Script("a", (0, "x")),)), settings=settings)


def check_unauthorized(reply: Reply) -> None:
    assert reply.status == 401
    assert reply.headers["www-authenticate"] == "Bearer"
    refused = reply.json()
    assert list(refused) == ["detail", "code"]
    assert refused["code"] == "unauthorized"


OFFERS = [
    pytest.param({}, id="nothing"),
    pytest.param({"Authorization": f"Bearer {UNKNOWN}"}, id="an unknown key"),
    pytest.param({"X-API-Key": UNKNOWN}, id="an unknown key in the other header"),
    pytest.param({"Authorization": f"Bearer {KEY}x"}, id="a key and something after it"),
    pytest.param({"Authorization": f"Bearer {KEY[:-1]}"}, id="a key that is cut"),
    pytest.param({"Authorization": f"Bearer {DIGEST}"}, id="the digest in place of the key"),
    pytest.param({"Authorization": f"Basic {KEY}"}, id="another scheme"),
    pytest.param({"Authorization": KEY}, id="no scheme"),
    pytest.param({"Authorization": "Bearer"}, id="a scheme alone"),
    pytest.param({"Authorization": "Bearer "}, id="an empty key"),
    pytest.param({"X-API-Key": "laptop"}, id="a key's name"),
    pytest.param({"X-API-Key": "clé\u00ff"}, id="no ASCII"),
    pytest.param({"Cookie": f"key={KEY}"}, id="a cookie"),
]


@pytest.mark.parametrize("headers", OFFERS)
@pytest.mark.parametrize(("method", "path"), CLOSED)
async def test_without_a_valid_key_nothing_is_answered_and_nobody_asked(
    method: str, path: str, headers: dict[str, str]
) -> None:
    script = Script("a", (0, "x"))
    async with open_app(app := guarded_app(script)):
        for prefix in ("", "/api"):
            question = asking("a:m", text="x") if method == "POST" else None
            reply = await call(app, method, prefix + path, json_body=question, headers=headers)
            check_unauthorized(reply)
    assert script.opened == 0


async def test_a_key_in_the_address_is_none() -> None:
    async with open_app(app := guarded_app()):
        check_unauthorized(await call(app, "GET", f"/models?key={KEY}&api_key={KEY}"))


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({"Authorization": f"Bearer {KEY}"}, id="bearer"),
        pytest.param({"Authorization": f"bEARER  {OTHER} "}, id="a scheme in other letters"),
        pytest.param({"X-API-Key": OTHER}, id="the other header"),
        pytest.param({"Authorization": "Basic eA==", "X-API-Key": KEY}, id="beside a proxy's own"),
    ],
)
@pytest.mark.parametrize(("method", "path"), CLOSED)
async def test_with_a_valid_key_everything_is_answered(
    method: str, path: str, headers: dict[str, str]
) -> None:
    async with open_app(app := guarded_app()):
        question = asking("a:m", text="x") if method == "POST" else None
        for prefix in ("", "/api"):
            reply = await call(app, method, prefix + path, json_body=question, headers=headers)
            assert reply.status == 200


async def test_what_is_free_is_free_without_a_key_and_with_a_wrong_one() -> None:
    async with open_app(app := guarded_app()):
        for path in [*OPEN, *(f"/api{path}" for path in UNDER_API)]:
            for headers in ({}, {"Authorization": f"Bearer {UNKNOWN}"}):
                assert (await call(app, "GET", path, headers=headers)).status == 200


def test_every_route_that_is_not_free_is_closed() -> None:
    closed = {path for _, path in CLOSED}
    rules = {rule.rule for rule in create_app(GUARDED).url_map.iter_rules()}
    bare = {rule for rule in rules if not rule.startswith("/api/")}
    free = {rule for rule in bare if keys_module._is_open(rule)}
    assert free == {*OPEN, "/docs/<asset>", "/web/<name>"} - {"/docs/docs.js"}
    assert closed <= bare - free
    assert {rule.removeprefix("/api") for rule in rules - bare if keys_module._is_open(rule)} == {
        *UNDER_API
    }


@pytest.mark.parametrize(
    "target",
    [
        "/api/api/models",
        "/models/",
        "//models",
        "/docs/../models",
        "/docs/x/models",
        "/health/models",
        "/health;/models",
        "/%6dodels",
        "/nowhere",
        "http://127.0.0.1/models",
        "http://127.0.0.1//models",
        "/Models",
    ],
)
async def test_no_way_to_spell_an_address_leads_past_the_check(target: str) -> None:
    request = f"GET {target} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n".encode()
    with trio.fail_after(5):
        async with open_server(guarded_app()) as url, await connect(url) as client:
            await client.send_all(request)
            answer = b"".join([bytes(part) async for part in client])
    assert answer.startswith(b"HTTP/1.1 401 ")


@pytest.mark.parametrize("target", ["http:///models", "models", "test:80", "http://[/models"])
async def test_what_is_no_address_is_refused_before_the_check(target: str) -> None:
    request = f"GET {target} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n".encode()
    with trio.fail_after(5):
        async with open_server(guarded_app()) as url, await connect(url) as client:
            await client.send_all(request)
            answer = b"".join([bytes(part) async for part in client])
    assert answer.startswith(b"HTTP/1.1 400 ")


async def test_health_is_free_in_every_form_that_a_target_may_have() -> None:
    request = b"GET http://test/health HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"
    with trio.fail_after(5):
        async with open_server(guarded_app()) as url, await connect(url) as client:
            await client.send_all(request)
            answer = b"".join([bytes(part) async for part in client])
    assert answer.startswith(b"HTTP/1.1 200 ")


async def test_a_wrong_key_is_told_before_anything_else_that_is_wrong() -> None:
    settings = Settings(server=SERVER, limits=Limits(max_comparisons=1, max_body_bytes=10))
    wrong = [
        ("POST", "/compare", b"no JSON", {"Content-Type": "text/plain"}),
        ("POST", "/compare", b" " * 11, JSON),
        ("PUT", "/compare", b"", JSON),
        ("GET", "/nowhere", b"", {}),
    ]
    replies = set()
    async with open_app(app := guarded_app(settings=settings)):
        for method, path, body, headers in wrong:
            reply = await call(app, method, path, body=body, headers=headers)
            check_unauthorized(reply)
            replies.add(reply.body)
    assert len(replies) == 1


async def test_the_refusal_does_not_wait_for_the_body() -> None:
    head = http1_request("a:m").partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    with trio.fail_after(5):
        async with open_server(guarded_app()) as url, await connect(url) as client:
            await client.send_all(head)  # and nothing more
            answer = await client.receive_some()
            assert answer.startswith(b"HTTP/1.1 401 ")
            assert b"connection: close\r\n" in answer.lower()


@pytest.mark.parametrize("size", [0, 100, 900_000, 5_000_000])
async def test_a_refusal_costs_the_next_request_nothing(size: int) -> None:
    async with (
        open_server(guarded_app()) as url,
        httpx.AsyncClient(base_url=url, trust_env=False, timeout=10) as client,
    ):
        for _ in range(3):
            response = await client.post("/compare", content=b" " * size, headers=JSON)
            assert response.status_code == 401
            assert ("connection" in response.headers) == (size > 0)
            assert (await client.get("/health")).status_code == 200


async def test_over_http2_a_refusal_is_one_streams_own() -> None:
    with trio.fail_after(5):
        async with (
            open_server(guarded_app()) as url,
            open_h2(await connect(url), url) as client,
        ):
            refused = await client.post("/compare", asking("a:m"))
            free = await client.get("/health")
            await client.finish(refused, free)
    assert refused.headers[":status"] == "401"
    assert "connection" not in refused.headers
    assert free.headers[":status"] == "200"


async def test_the_allowances_status_says_whether_a_key_came() -> None:
    for settings, headers, expected in (
        (GUARDED, {"X-API-Key": KEY}, True),
        (Settings(), {"X-API-Key": KEY}, False),
    ):
        async with open_app(app := guarded_app(settings=settings)):
            status = (await call(app, "GET", "/rate-limit-status", headers=headers)).json()
        assert status["authenticated"] is expected


async def test_without_configured_keys_nothing_is_asked_for() -> None:
    async with open_app(app := guarded_app(settings=Settings())):
        assert (await ask(app, "a:m")).status == 200


# --- what is compared, and how ------------------------------------------------------------------


def test_every_digest_is_compared_whichever_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    made = [make_key() for _ in range(5)]
    keys = Keys({f"k{n}": digest for n, (_, digest) in enumerate(made)})
    compared = []

    def counting(one: bytes, other: bytes) -> bool:
        compared.append(other)
        return compare_digest(one, other)

    monkeypatch.setattr(keys_module, "compare_digest", counting)
    for n, (key, _) in enumerate([*made, make_key()]):
        compared.clear()
        assert keys.name_of([key.encode()]) == (f"k{n}" if n < 5 else None)
        assert len(compared) == 5


def test_keys_are_long_random_and_never_the_same() -> None:
    made = {make_key()[0] for _ in range(100)}
    assert len(made) == 100
    assert {len(key) for key in made} == {4 + 43}  # 256 bits in base64
    assert all(key.startswith("csk-") for key in made)


# --- what is never logged -----------------------------------------------------------------------


@pytest.fixture
def whole_log() -> Iterator[io.StringIO]:
    """The log as it is written, with every level; what is configured is put back."""
    before = structlog.get_config()
    output = io.StringIO()
    log.configure("debug", output=output)
    yield output
    structlog.configure(**before)


class Broken(Script):
    """Fails in the route, with whatever is at hand in the words of its error."""

    @property
    def simulated(self) -> bool:
        raise RuntimeError(f"headers: Authorization: Bearer {KEY}, x-api-key: {OTHER}, {UNKNOWN}")

    @simulated.setter
    def simulated(self, _: bool) -> None:
        pass


async def test_a_line_of_the_log_has_the_keys_name_and_never_the_key(
    whole_log: io.StringIO,
) -> None:
    headers = {"Authorization": f"Bearer {KEY}", "X-API-Key": OTHER}
    async with open_app(app := guarded_app(Script("a", (0, "x")), Broken("b"))):
        for model in ("a:m", "b:m"):
            await call(app, "POST", "/compare-stream", json_body=asking(model), headers=headers)
        await call(app, "GET", "/models", headers={"X-API-Key": UNKNOWN})
    lines = [json.loads(line) for line in whole_log.getvalue().splitlines()]
    for event in ("model ended", "comparison ended", "request failed"):
        [line] = [line for line in lines if line["event"] == event]
        assert line["key_name"] == "laptop"
    assert "RuntimeError" in whole_log.getvalue()
    for key in (KEY, OTHER, UNKNOWN):
        assert key not in whole_log.getvalue()


async def test_the_keys_name_is_on_no_other_requests_lines(whole_log: io.StringIO) -> None:
    async with open_app(app := guarded_app(Script("a", (0, "x")))):
        for key in (KEY, OTHER):
            async with open_exchange(
                app, "/compare", json_body=asking("a:m"), headers={"X-API-Key": key}
            ) as exchange:
                await exchange.read()
    lines = [json.loads(line) for line in whole_log.getvalue().splitlines()]
    names = [line["key_name"] for line in lines if line["event"] == "comparison ended"]
    assert names == ["laptop", "phone"]


async def test_no_request_can_name_a_providers_address_or_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where a question goes is the settings' to say; fields that would say so are ignored."""
    answer = HEAD + chunked(chunk("x"), STOP, DONE) + LAST
    async with open_wire(answer) as wire, open_wire(answer) as elsewhere:
        monkeypatch.setenv("HTTP_PROXY", elsewhere.base_url)
        names = ("base_url", "api_base", "url", "endpoint", "provider", "proxy")
        claims: dict[str, Any] = dict.fromkeys(names, elsewhere.base_url)
        claims |= {"api_key": UNKNOWN, "extra_body": {"base_url": elsewhere.base_url}}
        provider = ProviderSettings(dialect="openai", base_url=wire.base_url)
        app = create_app(Settings(providers={"p": provider}, keys={"p": KEY}))
        async with open_app(app):
            model = f"p:{elsewhere.base_url}"
            reply = await ask(app, model, path="/compare", **claims)
        [(head, body)] = wire.requests
        assert elsewhere.requests == []
    assert reply.json()["results"] == {model: "x"}
    assert dict(head.headers)[b"authorization"] == f"Bearer {KEY}".encode()
    assert UNKNOWN.encode() not in body
