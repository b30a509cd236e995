"""`compare-stream verify`: the word, the exit code, and the services that it must not believe."""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trio
from quart import Response, request
from quart_trio import QuartTrio

from service.eventstream import FrameTooLarge
from service.settings import Server, Settings
from service.surface import make_key
from service.testing import Close, Pause, Script, app_for, open_server, open_wire
from tests.command import run, run_apart, simulator_config
from tests.test_cli_ask import HEAD

WAIT = 0.04
"""Seconds between two chunks of the sequential services: a model takes 0.36 s."""


def sequential_app(*, starts_ahead: bool) -> QuartTrio:
    """A service that speaks the stream and asks one model after another.

    With `starts_ahead` it claims at the beginning that all of them have started.
    """
    app = QuartTrio("sequential")

    @app.post("/compare-stream")
    async def compare_stream() -> Response:
        models = (await request.get_json())["models"]
        return Response(answers(models, starts_ahead), content_type="text/event-stream")

    return app


# Quart iterates it to its end or leaves it; nothing is open across its yields.
async def answers(  # noqa: ASYNC900
    models: list[str], starts_ahead: bool
) -> AsyncIterator[bytes]:
    if starts_ahead:
        for model in models:
            yield block(type="start", model=model)
    for model in models:
        if not starts_ahead:
            yield block(type="start", model=model)
        for _ in range(9):
            await trio.sleep(WAIT)
            yield block(type="chunk", model=model, content="word ")
        yield block(type="done", model=model, error=False)
    yield block(type="complete", metadata={})


def block(**event: Any) -> bytes:
    return f"data: {json.dumps(event)}\n\n".encode()


def chunked(*blocks: bytes) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(data), data) for data in blocks)


@pytest.fixture
def quick(tmp_path: Path) -> str:
    """Five times as fast as it is, writing still takes long enough to be seen."""
    return simulator_config(tmp_path, speed=5)


def test_our_own_service_is_concurrent(quick: str) -> None:
    result = run("verify", "--config", quick)
    assert (result.exit_code, result.stderr) == (0, "")
    headline = result.stdout.splitlines()[-1]
    assert headline.startswith("CONCURRENT: 3 models in ")
    models = [line.split()[0] for line in result.stdout.splitlines()[1:4]]
    assert models == ["sim:swift", "sim:steady", "sim:thinker"]


def test_as_json_it_is_one_object_with_the_figures(quick: str) -> None:
    models = ("-m", "sim:coder", "-m", "sim:analyst")
    result = run("verify", "--config", quick, "--json", *models)
    assert (result.exit_code, result.stderr, result.stdout.count("\n")) == (0, "", 1)
    verdict = json.loads(result.stdout)
    assert (verdict["concurrent"], verdict["word"], verdict["reasons"]) == (True, "CONCURRENT", [])
    assert (verdict["writers"], verdict["at_once"], verdict["in_a_row"]) == (2, 2, 1)
    assert [line["model"] for line in verdict["models"]] == ["sim:coder", "sim:analyst"]


def test_only_the_simulator_is_asked_unless_models_are_named(tmp_path: Path) -> None:
    # Neither the default provider nor a limit of the settings stands in the way.
    settings = (
        'default_provider = "paid"\n[limits]\nmax_models = 1\ndaily_model_responses = 1\n'
        '[providers.paid]\ndialect = "openai"\nbase_url = "http://192.0.2.1/v1"\n'
    )
    result = run("verify", "--config", simulator_config(tmp_path, speed=5, more=settings))
    assert (result.exit_code, result.stderr) == (0, "")


@pytest.mark.parametrize(
    ("starts_ahead", "reason"),
    [
        (True, "- No two models wrote at the same time: a, then b, then c. "),
        (False, "- The last model started "),
    ],
)
async def test_a_service_that_asks_one_model_after_another_is_found_out(
    starts_ahead: bool, reason: str
) -> None:
    with trio.fail_after(20):
        async with open_server(sequential_app(starts_ahead=starts_ahead)) as url:
            models = ("-m", "a", "-m", "b", "-m", "c")
            code, output, errors = await run_apart("verify", "--url", url, *models)
    assert (code, errors) == (1, "")
    headline, first, *_ = output.partition("\n\nSEQUENTIAL")[2].splitlines()
    assert headline.startswith(": 3 models in ")
    assert first.startswith(reason)


async def test_a_running_service_is_judged_from_outside() -> None:
    writing = [(0.02, "word ")] * 20
    app = app_for(Script("a", *writing), Script("b", *writing))
    with trio.fail_after(20):
        async with open_server(app) as url:
            asked = ("verify", "--url", url, "-m", "a:m", "-m", "b:m", "--json")
            code, output, errors = await run_apart(*asked)
    assert (code, errors) == (0, "")
    assert json.loads(output)["word"] == "CONCURRENT"


@pytest.mark.parametrize("way", ["option", "variable"])
async def test_a_service_that_asks_for_a_key_is_judged_with_one(way: str) -> None:
    key, digest = make_key()
    writing = [(0.02, "word ")] * 20
    settings = Settings(server=Server(api_keys={"k": digest}))
    app = app_for(Script("a", *writing), Script("b", *writing), settings=settings)
    with trio.fail_after(20):
        async with open_server(app) as url:
            asked = ["verify", "--url", url, "-m", "a:m", "-m", "b:m", "--json"]
            refused = await run_apart(*asked)
            if way == "option":
                judged = await run_apart(*asked, "--key", key)
            else:
                judged = await run_apart(*asked, COMPARE_KEY=key)
    code, output, errors = refused
    assert (code, output, errors.count("\n")) == (2, "", 1)
    assert "status 401 instead of a stream: This needs a valid key" in errors
    code, output, errors = judged
    assert (code, errors) == (0, "")
    assert json.loads(output)["word"] == "CONCURRENT"


async def test_the_key_is_sent_and_never_shown() -> None:
    key = "a-key-of-no-known-kind"
    quoting = json.dumps({"detail": f"Your key {key} is wrong"}).encode()
    head = b"HTTP/1.1 401 No\r\nContent-Length: %d\r\n\r\n" % len(quoting)
    with trio.fail_after(20):
        async with open_wire(head + quoting) as wire:
            code, _, errors = await run_apart("verify", "--url", wire.base_url, "--key", key)
            [(request, _)] = wire.requests
    assert dict(request.headers)[b"authorization"] == f"Bearer {key}".encode()
    assert code == 2
    assert "Your key [hidden] is wrong" in errors
    assert key not in errors


def test_our_own_service_is_judged_though_it_lets_nobody_in(tmp_path: Path) -> None:
    _, digest = make_key()
    guarded = f'[server]\nhosts = ["compare.example.org"]\napi_keys = {{k = "{digest}"}}\n'
    models = ("-m", "sim:coder", "-m", "sim:analyst")
    config = simulator_config(tmp_path, speed=5, more=guarded)
    for arguments in ((), models):
        result = run("verify", "--config", config, *arguments)
        assert (result.exit_code, result.stderr) == (0, "")


async def test_what_nobody_can_tell_is_undecided_and_exit_code_1() -> None:
    cut = chunked(block(type="start", model="a"), block(type="chunk", model="a", content="x"))
    with trio.fail_after(20):
        async with open_wire(HEAD, cut, Pause(0.05), Close()) as wire:
            code, output, errors = await run_apart("verify", "--url", wire.base_url)
    assert (code, errors) == (1, "")
    assert "\nUNDECIDED: " in output
    assert "\n- The stream was cut: it ended without 'done' of a, 'complete';" in output


def test_a_service_that_cannot_be_reached_is_one_line_and_exit_code_2() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    result = run("verify", "--url", url)
    assert (result.exit_code, result.stdout) == (2, "")
    assert (
        result.stderr == f"compare-stream: cannot verify {url}: nobody answers at this address.\n"
    )


@pytest.mark.parametrize("url", ["nowhere", "ftp://host", "http://", "http://host:port", "//host"])
def test_an_address_that_is_none_is_one_line_and_exit_code_2(url: str) -> None:
    result = run("verify", "--url", url)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"compare-stream: --url {url!r}: expected http://")
    assert result.stderr.count("\n") == 1


def test_a_refusal_is_passed_on_in_the_services_own_words() -> None:
    result = run("verify", "--prompt", " ")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("compare-stream: cannot verify http://127.0.0.1:")
    assert result.stderr.endswith(
        "it answered with status 400 instead of a stream: input_data must not be blank.\n"
    )


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n"


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (OK + b"Content-Type: text/html\r\n\r\nhi", "it answered with status 200 instead of a s"),
        (b"220 mail.example ESMTP\r\n\r\n", "what it answered is no valid HTTP"),
        (b"", "it closed the connection before its answer began"),
    ],
)
async def test_a_server_of_another_kind_is_one_line_and_exit_code_2(
    answer: bytes, words: str
) -> None:
    with trio.fail_after(20):
        async with open_wire(answer, Close()) as wire:
            code, output, errors = await run_apart("verify", "--url", wire.base_url)
    assert (code, output, errors.count("\n")) == (2, "", 1)
    assert errors.startswith(f"compare-stream: cannot verify {wire.base_url}: ")
    assert words in errors


def test_a_stream_that_is_too_much_is_one_line_and_exit_code_2(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def too_much(*_: object, **__: object) -> None:
        raise FrameTooLarge("a line of more than 9 bytes")

    monkeypatch.setattr("service.cli.verify.observe", too_much)
    result = run("verify", "--url", "http://host")
    assert (result.exit_code, result.stdout) == (2, "")
    words = "cannot verify http://host: its stream has a line of more than 9 bytes."
    assert result.stderr == f"compare-stream: {words}\n"


def test_a_service_that_never_ends_its_answer_is_given_up(
    monkeypatch: pytest.MonkeyPatch, quick: str
) -> None:
    monkeypatch.setattr("service.cli.verify.WHOLE_STREAM_SECONDS", 0.3)
    result = run("verify", "--config", quick, "-m", "sim:stalls")
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert result.stderr.endswith(": its answer had not ended after 0.3 s.\n")
