"""The other way to a provider: httpx's own transport, and a proxy on it."""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from service.application import create_app
from service.providers import Ending
from service.providers.call import HTTPProvider
from service.providers.openai import ChatCompletions
from service.settings import ProviderSettings, Settings, SettingsError, load
from service.testing import Reset, open_exchange, open_wire
from service.testing.exchange import open_app
from service.upstream import open_client
from tests.calling import DONE, HEAD, LAST, STOP, ask, chunk, chunked
from tests.clients import asking
from tests.conftest import Certificate
from tests.grammar import check_stream

WHOLE = HEAD + chunked(chunk("a"), STOP, DONE) + LAST


@asynccontextmanager
async def over_httpx(
    base_url: str, verify: ssl.SSLContext | None = None
) -> AsyncIterator[HTTPProvider]:
    async with open_client(transport="httpx", verify=verify) as client:
        yield HTTPProvider("acme", ChatCompletions(base_url, api_key="k"), client, secret="k")


async def test_an_answer_comes_whole_and_its_connection_is_used_again() -> None:
    async with open_wire(WHOLE) as wire, over_httpx(wire.base_url) as provider:
        for _ in range(3):
            heard = await ask(provider)
            assert (heard.content, heard.ending) == ("a", Ending(finish_reason="stop"))
            assert (heard.connected_times, heard.first_bytes) == (1, 1)
        assert wire.opened == 1
        head, body = wire.requests[0]
    assert dict(head.headers)[b"content-length"] == b"%d" % len(body)
    assert json.loads(body)["stream"] is True


async def test_over_tls_too(certificate: Certificate) -> None:
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(certificate.certfile, certificate.keyfile)
    async with (
        open_wire(WHOLE, tls=server) as wire,
        over_httpx(wire.base_url, certificate.trusting()) as provider,
    ):
        assert (await ask(provider)).content == "a"


@pytest.mark.parametrize(
    ("answer", "text", "code"),
    [
        ((b"HTTP/1.1 429 No\r\nContent-Length: 0\r\n\r\n",), "", "rate_limited"),
        ((HEAD + chunked(chunk("a")) + LAST,), "a", "truncated"),
        ((b"no HTTP\r\n\r\n",), "", "protocol_error"),
        ((HEAD + chunked(chunk("a")), Reset()), "a", "upstream_disconnected"),
    ],
)
async def test_its_faults_have_the_same_names(
    answer: tuple[bytes | Reset, ...], text: str, code: str
) -> None:
    async with open_wire(*answer) as wire, over_httpx(wire.base_url) as provider:
        heard = await ask(provider)
    assert heard.code == code
    assert text.startswith(heard.content)


@pytest.mark.parametrize("stray", [b"noise", WHOLE])
async def test_bytes_behind_a_response_never_answer_the_next_question(stray: bytes) -> None:
    async with (
        open_wire(answers=[[WHOLE + stray], [WHOLE]]) as wire,
        over_httpx(wire.base_url) as provider,
    ):
        for _ in range(3):
            assert (await ask(provider)).content == "a"
        assert wire.opened == 2


async def test_a_request_that_is_cancelled_leaves_no_connection() -> None:
    async with (
        open_wire(HEAD + chunked(chunk("a"))) as wire,
        over_httpx(wire.base_url) as provider,
    ):
        with trio.move_on_after(0.2):
            await ask(provider)
        with trio.fail_after(5):
            await wire.all_closed()


async def test_a_proxy_is_asked_in_the_providers_place() -> None:
    async with open_wire(WHOLE) as wire:
        proxy = wire.base_url.removesuffix("/v1")
        provider = ProviderSettings(
            dialect="openai",
            base_url="http://provider.invalid/v1",
            transport="httpx",
            proxy=proxy,
        )
        app = create_app(Settings(default_provider="acme", providers={"acme": provider}))
        async with (
            open_app(app),
            open_exchange(app, "/compare-stream", json_body=asking("acme:m")) as exchange,
        ):
            body = await exchange.read()
        [(head, _)] = wire.requests
    assert check_stream(body, ["acme:m"]) == {"acme:m": "a"}
    assert head.target == b"http://provider.invalid/v1/chat/completions"


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ('proxy = "http://127.0.0.1:3128"', 'expected transport = "httpx" beside it'),
        ('transport = "httpx"\nproxy = "127.0.0.1"', "expected the http:// or https:// address"),
        ('transport = "curl"', "expected one of streams, httpx"),
    ],
)
def test_a_proxy_that_would_have_no_effect_ends_the_start(
    tmp_path: Path, lines: str, words: str
) -> None:
    path = tmp_path / "compare.toml"
    table = '[providers.p]\ndialect = "openai"\nbase_url = "http://127.0.0.1:1/v1"\n'
    path.write_text(table + lines)
    with pytest.raises(SettingsError, match=words):
        load(path, {})
