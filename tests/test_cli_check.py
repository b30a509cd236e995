"""`compare-stream check`: one line for each provider, whatever is wrong with it."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import trio

from service.providers.checking import Finding, check_all
from service.settings import ProviderSettings, Settings
from service.testing import Close, Reset, open_wire
from tests.calling import KEY, response
from tests.command import run, run_apart
from tests.conftest import Certificate
from tests.listings import OPENAI, OPENROUTER, sent

PATIENCE = 5
Step = Any


async def found(
    *answers: Sequence[Step], key: str | None = KEY, seconds: float = PATIENCE, **chosen: Any
) -> tuple[Finding, list[str]]:
    """The finding about a provider that answers so, and what it was asked."""
    async with open_wire(answers=answers) as wire:
        provider = ProviderSettings(
            **{"dialect": "openai", "base_url": wire.base_url, "api_key_env": "THE_KEY", **chosen}
        )
        settings = Settings(providers={"p": provider}, keys={} if key is None else {"p": key})
        with trio.fail_after(2 * PATIENCE):
            [finding] = await check_all(settings, seconds=seconds)
            await wire.all_closed()
        assert {head.method for head, _ in wire.requests} <= {b"GET"}
        targets = [head.target.decode() for head, _ in wire.requests]
    assert KEY[:12] not in finding.words
    assert "\n" not in finding.words
    return finding, targets


def listed(value: object) -> list[Step]:
    return [response(sent(value), media_type="application/json")]


def refused(status: str, words: str = "", **headers: str) -> list[Step]:
    return [response(sent({"error": {"message": words}}), status=status, **headers)]


async def test_a_provider_that_is_well() -> None:
    finding, targets = await found(listed(OPENAI), flavour="openai")
    assert finding.ok
    assert finding.words.endswith(": 3 models, key accepted")
    assert targets == ["/v1/models"]
    finding, _ = await found(listed({"data": [{"id": "m"}]}), key=None)
    assert finding.words.endswith(": 1 model, no key is sent")


async def test_openrouter_is_asked_about_the_key_for_it_shows_its_list_to_anybody() -> None:
    key = {"data": {"label": "sk-or-v1-abc...", "limit_remaining": 12.345, "usage": 1}}
    finding, targets = await found(listed(key), listed(OPENROUTER), flavour="openrouter")
    assert finding.ok
    assert finding.words.endswith(": 4 models, key accepted, 12.35 USD left of its limit")
    assert targets == ["/v1/key", "/v1/models"]
    unlimited = {"data": {"limit_remaining": None}}
    finding, _ = await found(listed(unlimited), listed(OPENROUTER), flavour="openrouter")
    assert finding.words.endswith(": 4 models, key accepted")
    finding, _ = await found(refused("401 No", "User not found."), flavour="openrouter")
    assert not finding.ok
    spent = {"data": {"limit_remaining": 0}}
    finding, _ = await found(listed(spent), flavour="openrouter")
    assert (finding.ok, "used up its limit" in finding.words) == (False, True)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (refused("401 No", f"bad {KEY}"), "it refuses the key in THE_KEY; put a valid one there"),
        (refused("403 No"), "it refuses the key in THE_KEY"),
        (refused("402 No"), "out of credit"),
        (refused("404 No"), "there is nothing at /v1/models; base_url"),
        (refused("429 No", Retry_After="7"), "fewer requests; check again in 7 s (status 429"),
        (refused("429 No"), "fewer requests; check again later"),
        (refused("302 No", Location="http://e.example"), "redirects, which is not followed"),
        (refused("500 No", "Oops"), "a fault of its own; check again later (status 500: Oops)"),
        (refused("418 No"), "does base_url lead to the API? (status 418)"),
        ([response(b"<html>", media_type="text/html")], "not with a list of models (text/html)"),
        ([response(b"{}")], "not with a list of models"),
        ([Close()], "closed the connection"),
        ([b"nonsense\r\n\r\n", Close()], "was no valid HTTP"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_what_is_wrong_is_said_with_what_to_do(answer: list[Step], words: str) -> None:
    finding, _ = await found(answer)
    assert not finding.ok
    assert finding.words.startswith("http://127.0.0.1:")
    assert words in finding.words


async def test_one_that_wants_a_key_and_got_none_says_so() -> None:
    finding, _ = await found(refused("401 No"), key=None)
    assert "it wants a key; name the variable that holds it in api_key_env" in finding.words


async def test_a_key_is_not_shown_in_part_where_a_refusals_words_are_cut() -> None:
    finding, _ = await found(refused("403 Forbidden", "x" * 105 + f" {KEY} is not valid"))
    assert "it refuses the key" in finding.words


async def test_a_reset_is_a_broken_connection() -> None:
    finding, _ = await found([Reset()])
    assert not finding.ok


async def test_silence_has_an_end_and_says_where_it_was() -> None:
    finding, _ = await found([], seconds=0.2)
    assert "connected, but no answer within 0.2 s" in finding.words


async def checked(provider: ProviderSettings, *, seconds: float = PATIENCE) -> str:
    with trio.fail_after(2 * PATIENCE):
        [finding] = await check_all(Settings(providers={"p": provider}), seconds=seconds)
    assert not finding.ok
    return finding.words


async def test_a_port_where_nobody_listens_and_a_name_that_is_none() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        words = await checked(ProviderSettings(dialect="openai", base_url=url))
        assert "nobody listens there" in words

    class Nowhere(trio.abc.HostnameResolver):
        async def getaddrinfo(self, *_: object, **__: object) -> Any:
            await trio.lowlevel.checkpoint()
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

        async def getnameinfo(self, *_: object) -> Any:
            raise NotImplementedError

    before = trio.socket.set_custom_hostname_resolver(Nowhere())
    try:
        words = await checked(ProviderSettings(dialect="openai", base_url="http://api.invalid/v1"))
    finally:
        trio.socket.set_custom_hostname_resolver(before)
    assert words == (
        "http://api.invalid: its name does not resolve; is it spelt right, and is this machine "
        "online? (connect_error)"
    )


async def test_a_certificate_that_nobody_vouches_for(certificate: Certificate) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate.certfile, certificate.keyfile)
    async with open_wire(tls=context) as wire:
        words = await checked(ProviderSettings(dialect="openai", base_url=wire.base_url))
    assert "its certificate is not accepted: " in words
    async with open_wire(b"HTTP/1.1 400 No\r\n\r\n", Close()) as wire:
        url = wire.base_url.replace("http:", "https:")
        words = await checked(ProviderSettings(dialect="openai", base_url=url), seconds=1)
    assert "TLS" in words or "no answer within" in words or "no connection within" in words


async def test_all_are_asked_at_once_and_told_in_the_settings_order() -> None:
    async with open_wire() as silent, open_wire(*listed(OPENAI)) as quick:
        providers = {
            f"p{n}": ProviderSettings(dialect="openai", base_url=silent.base_url) for n in range(3)
        }
        providers["quick"] = ProviderSettings(dialect="openai", base_url=quick.base_url)
        providers["sim"] = ProviderSettings(dialect="simulated")
        began = trio.current_time()
        findings = await check_all(Settings(providers=providers), seconds=0.5)
        assert trio.current_time() - began < 1.4
    assert [finding.provider for finding in findings] == list(providers)
    assert [finding.ok for finding in findings] == [False, False, False, True, True]


# --- the command ------------------------------------------------------------------------------


def config(folder: Path, base_url: str) -> Path:
    path = folder / "compare.toml"
    path.write_text(
        f'[providers.local]\ndialect = "openai"\nbase_url = "{base_url}"\napi_key_env = "THE_KEY"\n'
    )
    return path


async def test_a_line_each_and_exit_code_0(tmp_path: Path) -> None:
    async with open_wire(*listed(OPENAI)) as wire:
        path = str(config(tmp_path, wire.base_url))
        code, output, errors = await run_apart("check", "--config", path, THE_KEY=KEY)
        place = wire.base_url.removesuffix("/v1")
    assert (code, errors) == (0, "")
    assert output.splitlines() == [
        "settings  ok      2 providers, default sim",
        "sim       ok      simulated, inside the service",
        f"local     ok      {place}: 5 models, key accepted",
    ]


async def test_exit_code_1_when_a_provider_is_not_well(tmp_path: Path) -> None:
    async with open_wire(*refused("401 No", f"No {KEY}.")) as wire:
        path = str(config(tmp_path, wire.base_url))
        code, output, errors = await run_apart("check", "--config", path, THE_KEY=KEY)
        assert (code, errors) == (1, "")
        assert "local     FAILED  http://" in output
        assert KEY not in output
        code, output, errors = await run_apart("check", "--json", "--config", path, THE_KEY=KEY)
    assert (code, errors) == (1, "")
    assert KEY not in output
    answer = json.loads(output)
    assert answer["ok"] is False
    assert [list(provider) for provider in answer["providers"]] == [["provider", "ok", "words"]] * 2


def test_exit_code_2_when_the_settings_are_wrong(tmp_path: Path) -> None:
    result = run("check", "--config", str(config(tmp_path, "http://127.0.0.1:1/v1")))
    assert (result.exit_code, result.stdout) == (2, "")
    assert "providers.local.api_key_env: the variable THE_KEY is not set" in result.stderr
    assert result.stderr.count("\n") == 1


async def test_models_are_fetched_for_the_asking(tmp_path: Path) -> None:
    async with open_wire(*listed({"data": [{"id": "acme/m"}]})) as wire:
        command = ("models", "--config", str(config(tmp_path, wire.base_url)))
        _, offline, _ = await run_apart(*command, THE_KEY=KEY)
        assert wire.requests == []
        _, fetched, _ = await run_apart(*command, "--fetch", THE_KEY=KEY)
    assert "acme/m" not in offline
    assert "\nlocal:acme/m " in fetched
    async with open_wire(*refused("503 No", "Busy.")) as wire:
        command = ("models", "--config", str(config(tmp_path, wire.base_url)))
        code, output, errors = await run_apart(*command, "--fetch", THE_KEY=KEY)
    assert (code, errors) == (0, "compare-stream: local: Busy.\n")
    assert "sim:swift" in output
