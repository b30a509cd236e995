"""A comparison as plain lines, for pipes and files: each says whose it is. No I/O and no clock."""

from __future__ import annotations

from dataclasses import dataclass, field

from service.cli.words import failed, finished, printable, summary
from service.events import Chunk, Complete, Done, ErrorChunk, Event, Reasoning

__all__ = ["Lines"]


@dataclass(slots=True)
class _Draft:
    """What a model has written of a line that is not complete yet."""

    model: str
    thinking: bool = False
    text: list[str] = field(default_factory=list)
    failure: str | None = None

    def write(self, content: str, *, thinking: bool) -> list[str]:
        lines = self.flush() if thinking != self.thinking else []
        self.thinking = thinking
        head, *ends = printable(content).split("\n")
        self.text.append(head)
        for end in ends:
            lines.append(self._line())
            self.text = [end]
        return lines

    def flush(self) -> list[str]:
        """The unfinished line, if there is one."""
        line = self._line() if any(self.text) else None
        self.text = []
        return [] if line is None else [line]

    def _line(self) -> str:
        return f"[{self.model}] {'(thinking) ' if self.thinking else ''}{''.join(self.text)}"


class Lines:
    """Turns the events of one comparison into lines; those of one model stay in order."""

    def __init__(self) -> None:
        self._drafts: dict[str, _Draft] = {}

    def hear(self, event: Event) -> list[str]:
        """The lines that this event makes complete, without their ends."""
        match event:
            case Chunk() | Reasoning():
                return self._draft(event.model).write(
                    event.content, thinking=isinstance(event, Reasoning)
                )
            case ErrorChunk():
                self._draft(event.model).failure = event.content
            case Done():
                return self._end(event)
            case Complete():
                return [summary(event.metadata)]
        return []

    def _end(self, done: Done) -> list[str]:
        draft = self._draft(done.model)
        if done.error:
            words = f"failed: {failed(done, draft.failure)}"
        else:
            words = f"done: {finished(done)}"
        return [*draft.flush(), f"[{done.model}] {words}"]

    def _draft(self, model: str) -> _Draft:
        return self._drafts.setdefault(model, _Draft(model))
