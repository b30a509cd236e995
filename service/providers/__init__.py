"""Providers: one file per wire dialect, each a pure decoder and one call; and the roster.

A provider pushes what it hears into a `Sink`, and returns when the answer is whole. Pushing costs
two scheduler steps a token where a pulled generator takes five, leaves nothing to finalise, and
lets the clocks stop exactly where back-pressure blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from service.events import Usage
from service.providers.rates import Rate

__all__ = [
    "Ending",
    "Image",
    "Message",
    "Prompt",
    "Provider",
    "Sink",
    "Step",
    "no_step",
]


@dataclass(frozen=True, slots=True)
class Image:
    """A picture that goes with a turn."""

    media_type: str
    data: str
    """In base64."""

    @property
    def url(self) -> str:
        """The same as a `data:` URL."""
        return f"data:{self.media_type};base64,{self.data}"


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: str
    content: str
    images: tuple[Image, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """What one model is asked."""

    model: str
    """The model's name as its provider knows it."""
    messages: tuple[Message, ...]
    max_tokens: int
    temperature: float | None = None
    top_p: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How a whole answer ended."""

    finish_reason: str | None
    """None: the provider closed the stream with its own marker, but gave no reason."""
    usage: Usage | None = None
    cost_usd: float | None = None


Step: TypeAlias = Callable[[], bool]
"""Takes what has come, without waiting; False: the model's own task has to look."""


def no_step() -> bool:
    """Nothing can be taken without waiting."""
    return False


class Sink(Protocol):
    """Where a provider tells what it hears of one answer."""

    def connected(self) -> None:
        """The connection is there and the request begins to leave."""

    def refused(self) -> None:
        """The provider has said no; only its words are still to come, and they have a bound.

        Told before `first_byte`.
        """

    def first_byte(self) -> None:
        """The response's headers have arrived."""

    def rate(self, rate: Rate) -> None:
        """The response's headers say how many requests more the provider takes."""

    def alive(self) -> None:
        """Something arrived that is no token, such as a comment."""

    def reported(self, usage: Usage | None, cost_usd: float | None) -> None:
        """What the provider had told of an answer's size and price when it was cut short."""

    @property
    def room(self) -> Callable[[], int]:
        """Asked before each read: how many bytes may be taken from the provider in it."""

    async def text(
        self,
        *contents: str,
        more: bool = False,
        step: Step = no_step,
        came_at: float | None = None,
    ) -> None:
        """Hand on pieces of the answer that came together; returns when more may be read.

        That may be a moment later under load (`service.pulse`), and is not before the client has
        taken them. `more` says that the next are there already, and need not be waited for.
        `step` may be taken meanwhile, by another task: it reads without waiting, hands on what is
        text with `text_nowait`, and says whether that was all; if not, this returns. What it
        raises is raised here. `came_at` is when it was read, by Trio's clock, if that is known to
        be a moment ago.
        """

    def has_room(self) -> bool:
        """Whether the client has taken what was handed on, and `text_nowait` may be called."""

    def text_nowait(self, contents: tuple[str, ...]) -> None:
        """Hand on pieces of the answer in a `step`."""

    async def reasoning(self, content: str, *, more: bool = False) -> None:
        """Hand on a piece of the thinking; the same holds."""


class Provider(Protocol):
    """Whoever answers prompts."""

    @property
    def name(self) -> str:
        """The name under which it is configured."""

    @property
    def simulated(self) -> bool:
        """Whether its answers are made up by the simulator."""

    def parameters(self, prompt: Prompt) -> Mapping[str, Any]:
        """What `stream` would send for this prompt besides model and messages."""

    async def stream(self, prompt: Prompt, sink: Sink) -> Ending:
        """Ask, and push the answer into `sink` as it comes.

        Returns when the answer is whole; raises `ProviderError` when it is not. Every exit,
        cancellation included, leaves no request running. It has no clock of its own: the
        caller's cancel scopes are the clocks.
        """
