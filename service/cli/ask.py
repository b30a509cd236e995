"""`compare-stream ask`: a comparison in this process, without a server."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click
import msgspec
import trio

from service.cli.columns import Board
from service.cli.options import (
    DONE,
    SAID_NO,
    complain,
    config_option,
    json_option,
    model_option,
    read_settings,
)
from service.cli.running import log_kept_apart, run
from service.cli.streams import Output, read_input
from service.cli.views import relay_events, relay_lines, watch
from service.comparison import Comparison, entrants_of
from service.limiter import Limiters
from service.providers.roster import Roster, UnknownModelError, open_roster
from service.question import TIERS, parse_question
from service.refusal import Refusal
from service.settings import Settings

__all__ = ["ask"]

DEFAULT_MODELS = 3


@click.command()
@click.argument("prompt")
@model_option("A model to ask; repeat it. Default: the first three of `compare-stream models`.")
@config_option
@click.option(
    "--tier",
    metavar="|".join(TIERS),
    help="How long the question and the answers may be.  [default: standard]",
)
@click.option("--max-tokens", type=int, metavar="N", help="Of each answer; default: the tier's.")
@click.option("--temperature", type=float, metavar="X", help="Default: the provider's.")
@click.option("--top-p", type=float, metavar="X", help="Default: the provider's.")
@json_option("One JSON event per line, as the service streams them.")
def ask(
    prompt: str, models: Sequence[str], config: Path | None, as_json: bool, **chosen: Any
) -> int:
    """Ask several models at once and watch them answer; no server is needed.

    PROMPT is the question; - reads it from standard input.

    In a terminal the models write side by side, and their whole answers stay. A bar shows what
    share of --max-tokens a model has written. Through a pipe, each model's lines come as they are
    complete, with its name in front.

    Exit code: 0 all models finished, 1 one of them failed, 2 nothing was asked, 130 stopped.
    """
    settings = read_settings(config)
    output = Output()
    asked = {name: value for name, value in chosen.items() if value is not None}
    asked["models"] = list(models)
    with log_kept_apart(settings, on_screen=output.live and not as_json):
        return run(partial(_ask, settings, prompt, asked, output, as_json=as_json))


async def _ask(
    settings: Settings, prompt: str, asked: dict[str, Any], output: Output, *, as_json: bool
) -> int:
    try:
        asked["input_data"] = await _text_of(prompt, settings.limits.max_body_bytes)
    except Refusal as exc:
        return complain(str(exc))
    async with open_roster(settings) as roster:
        asked["models"] = asked["models"] or _first_models(roster)
        try:
            # By way of the request's own bytes, so that its rules and their words are the same.
            body = msgspec.json.encode(asked)
            question = parse_question(body, max_models=settings.limits.max_models)
            entrants = entrants_of(question, roster.find, roster.price)
        except (Refusal, UnknownModelError) as exc:
            return complain(str(exc))
        comparison = Comparison(
            question,
            entrants,
            settings.deadlines.patience(),
            limiters=Limiters(settings.ceilings()),
            persistence=settings.retries.persistence(),
        )
        failed = await _follow(comparison, output, as_json=as_json)
    return SAID_NO if failed else DONE


async def _text_of(prompt: str, limit: int) -> str:
    """The question; raises `Refusal` when it is too long for any request, or no text."""
    from_input = prompt == "-"
    if from_input:
        given = await read_input(limit)
    else:
        given = prompt.encode("utf-8", "surrogateescape")
    if len(given) > limit:
        raise Refusal(413, "body_too_large", f"The prompt is longer than {limit} bytes.")
    try:
        text = given.decode()
    except UnicodeDecodeError:
        raise Refusal(400, "not_text", "The prompt must be UTF-8.") from None
    return text.rstrip("\n") if from_input else text


def _first_models(roster: Roster) -> list[str]:
    return [model.id for model in roster.catalogue() if model.well_behaved][:DEFAULT_MODELS]


async def _follow(comparison: Comparison, output: Output, *, as_json: bool) -> int:
    async with comparison.open() as inbox:
        if as_json:
            return await relay_events(inbox, output)
        if not output.live:
            return await relay_lines(inbox, output)
        names = [entrant.name for entrant in comparison.entrants]
        max_tokens = comparison.question.max_tokens
        board = Board(names, max_tokens=max_tokens, now=trio.current_time())
        return await watch(inbox, output, board)
