"""A conversation for an API that takes turns: the system's words apart, then user and assistant.

What Anthropic's and Google's APIs ask of one, done without a word of our own:

- system turns, wherever they stood, are handed over apart;
- turns of one role in a row are one turn of several parts, with nothing put between them;
- the first turn is the user's: an assistant's that stands before it is left out, as it is where
  the kept history begins in the middle of a round;
- a turn of white space alone is left out; both APIs refuse a part without text.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from service.providers import Message

__all__ = ["Turn", "in_turns"]


@dataclass(frozen=True, slots=True)
class Turn:
    """What one side says before the other does."""

    role: str
    parts: tuple[Message, ...]


def in_turns(messages: Iterable[Message]) -> tuple[tuple[str, ...], tuple[Turn, ...]]:
    """The system's words, each turn's by itself, and the turns of user and assistant."""
    system: list[str] = []
    turns: list[Turn] = []
    for message in messages:
        if not (message.content.strip() or message.images):
            continue
        if message.role == "system":
            system.append(message.content)
        elif turns and turns[-1].role == message.role:
            turns[-1] = Turn(message.role, (*turns[-1].parts, message))
        elif turns or message.role == "user":
            turns.append(Turn(message.role, (message,)))
    return tuple(system), tuple(turns)
