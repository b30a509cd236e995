"""`compare-stream verify`: judged from outside, by what a client sees and when."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import click
import msgspec
import trio

from service.application import create_app
from service.cli.options import (
    DONE,
    SAID_NO,
    complain,
    config_option,
    fail,
    json_option,
    model_option,
    read_settings,
)
from service.cli.running import log_kept_apart, run
from service.cli.streams import Output
from service.edge import Binding, Told, serve
from service.errors import ProviderError
from service.events import ErrorCode
from service.eventstream import FrameTooLarge
from service.observing import ObservationError, observe
from service.settings import SIMULATOR, Server, Settings
from service.verdict import Verdict, describe, judge

__all__ = ["verify"]

DEFAULT_MODELS = ("sim:swift", "sim:steady", "sim:thinker")
DEFAULT_PROMPT = "Explain in about two hundred words how rain comes about."
WHOLE_STREAM_SECONDS = 330.0
"""For a stream to end; a service gives a model 300 s unless it is configured otherwise."""

FAULTS: dict[ErrorCode, str] = {
    "connect_error": "nobody answers at this address",
    "tls_error": "its TLS certificate or handshake was refused",
    "protocol_error": "what it answered is no valid HTTP",
    "upstream_disconnected": "it closed the connection before its answer began",
}


@click.command()
@click.option("--url", metavar="URL", help="A running service; default: one is started for this.")
@click.option(
    "--key",
    envvar="COMPARE_KEY",
    metavar="KEY",
    help="The key that the service at --url asks for; better in the variable COMPARE_KEY, which "
    "no list of processes shows.",
)
@model_option(f"A model to ask; repeat it. Default: {', '.join(DEFAULT_MODELS)}.")
@click.option("--prompt", default=DEFAULT_PROMPT, metavar="TEXT", help="What they are asked.")
@json_option("The verdict and its figures as one JSON object.")
@config_option
def verify(
    url: str | None,
    key: str | None,
    models: Sequence[str],
    prompt: str,
    as_json: bool,
    config: Path | None,
) -> int:
    """See whether a service really runs its models side by side.

    It asks one question, notes when each event arrives, and believes nothing else. Without --url
    it judges this service, started on a free port of this machine for as long as it takes.

    Without -m three simulated models are asked, with --url too: every compare-stream service has
    them, and they cost nothing. To judge a service of another kind, name models that it has, and
    ask for answers of some length.

    Exit code: 0 CONCURRENT, 1 SEQUENTIAL or UNDECIDED, 2 the service can't be reached or refuses.
    """
    settings = read_settings(config)
    if url is not None and not _sound(url):
        fail(f"--url {url!r}: expected http://HOST[:PORT] or https://HOST[:PORT].")
    if key is not None and not _may_be_sent(key):
        fail("--key: expected a key as `compare-stream key` prints it.")
    examine = partial(
        _examine,
        key=key if url is not None else None,
        models=models or DEFAULT_MODELS,
        prompt=prompt,
        output=Output(),
        as_json=as_json,
    )
    with log_kept_apart(settings, on_screen=False):
        if url is not None:
            return run(partial(examine, url))
        ours = _unguarded(settings) if models else _simulated(settings)
        return run(partial(_examine_ours, ours, examine))


def _sound(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _may_be_sent(key: str) -> bool:
    return key.isascii() and key.isprintable() and " " not in key


def _unguarded(settings: Settings) -> Settings:
    """The same service, on a port that nobody was told of: no keys, any name."""
    return replace(settings, server=Server())


def _simulated(settings: Settings) -> Settings:
    """The same service with no provider but the simulator, and no limit that this could meet."""
    return Settings(
        deadlines=settings.deadlines,
        stream=settings.stream,
        providers={SIMULATOR: settings.providers[SIMULATOR]},
    )


async def _examine_ours(settings: Settings, examine: Callable[[str], Awaitable[int]]) -> int:
    told = Told()
    app, binding = create_app(settings), Binding(address="127.0.0.1:0")
    async with trio.open_nursery() as nursery:
        code = await examine(await nursery.start(partial(serve, app, binding, told=told)))
        told.stop.set()
    return code


async def _examine(
    url: str,
    *,
    key: str | None,
    models: Sequence[str],
    prompt: str,
    output: Output,
    as_json: bool,
) -> int:
    try:
        with trio.fail_after(WHOLE_STREAM_SECONDS):
            arrivals = await observe(url, models=models, prompt=prompt, key=key)
    except trio.TooSlowError:
        words = f"its answer had not ended after {WHOLE_STREAM_SECONDS:g} s"
    except ProviderError as error:
        words = FAULTS.get(error.code, "the request could not be made")
    except FrameTooLarge as error:
        words = f"its stream has {error}"
    except ObservationError as error:
        words = str(error).rstrip(".")
    else:
        verdict = judge(arrivals)
        await output.write(_shown(verdict, output, as_json=as_json))
        return DONE if verdict.concurrent else SAID_NO
    return complain(f"cannot verify {url}: {words}.")


def _shown(verdict: Verdict, output: Output, *, as_json: bool) -> bytes:
    if as_json:
        return msgspec.json.encode(verdict.to_dict()) + b"\n"
    return output.encode(describe(verdict) + "\n")
