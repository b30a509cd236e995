"""A provider that follows a timetable."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import trio
from quart_trio import QuartTrio

from service.application import create_app
from service.providers import Ending, Prompt, Sink
from service.providers.roster import Roster
from service.settings import Settings

__all__ = ["Alive", "Connect", "Script", "Stall", "Thought", "app_for", "roster_of"]


@dataclass(frozen=True, slots=True)
class Connect:
    """The connection is there; without this step it is there at once."""


@dataclass(frozen=True, slots=True)
class Alive:
    """A sign of life that is no token."""


@dataclass(frozen=True, slots=True)
class Thought:
    """A piece of reasoning."""

    text: str


@dataclass(frozen=True, slots=True)
class Stall:
    """Nothing more, for ever."""


Step: TypeAlias = str | Connect | Alive | Thought | Stall | Ending | BaseException


class Script:
    """A provider whose every answer follows the same steps.

    A step is what happens after so many seconds: a piece of text, a sign of life, an `Ending`,
    an exception to raise. Without an `Ending` the answer ends with `stop` after its last step.
    `opened`, `closed` and `prompts` say what was asked of it.
    """

    def __init__(self, name: str, *steps: tuple[float, Step], simulated: bool = False) -> None:
        self.name = name
        self.simulated = simulated
        self.opened = 0
        self.closed = 0
        self.prompts: list[Prompt] = []
        self._steps = steps

    def parameters(self, prompt: Prompt) -> Mapping[str, Any]:
        """What a plain provider would send."""
        return {"max_tokens": prompt.max_tokens}

    async def stream(self, prompt: Prompt, sink: Sink) -> Ending:
        """Follow the steps."""
        self.opened += 1
        self.prompts.append(prompt)
        try:
            if not any(isinstance(step, Connect) for _, step in self._steps):
                sink.connected()
                sink.first_byte()
            for seconds, step in self._steps:
                await trio.sleep(seconds)
                match step:
                    case str():
                        await sink.text(step)
                    case Thought():
                        await sink.reasoning(step.text)
                    case Connect():
                        sink.connected()
                    case Alive():
                        sink.alive()
                    case Stall():
                        await trio.sleep_forever()
                    case Ending():
                        return step
                    case BaseException():
                        raise step
            return Ending(finish_reason="stop")
        finally:
            self.closed += 1


@asynccontextmanager
async def roster_of(_: Settings, *scripts: Script) -> AsyncIterator[Roster]:
    """A roster of scripts; the first one is the default and takes every bare id."""
    yield Roster({script.name: script for script in scripts}, scripts[0].name)


def app_for(*scripts: Script, settings: Settings | None = None) -> QuartTrio:
    """The application with these providers: `name:anything` is answered by the script `name`."""
    return create_app(
        settings or Settings(), open_roster=lambda chosen: roster_of(chosen, *scripts)
    )
