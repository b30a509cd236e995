"""What people read: models' words made safe to show, and figures in words."""

from __future__ import annotations

import re

from service.events import Done, Metadata, Usage

__all__ = ["failed", "finished", "in_seconds", "printable", "size_of", "summary", "without_label"]

# What a terminal obeys, ESC and its one-byte relatives, and what other programs take for the end
# of a line; half a surrogate pair can't be written at all.
_OBEYED = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")

# What is not seen but changes what is: overrides of the writing direction can make a text read
# as another. The joiners stay; Persian, Hindi and many emoji are written with them.
_UNSEEN = re.compile(
    "[\r\u00ad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e007f]"
)


def printable(text: str) -> str:
    """A stranger's text as a terminal may show it: of all control characters only LF and tab."""
    return _OBEYED.sub("\N{REPLACEMENT CHARACTER}", _UNSEEN.sub("", text))


def without_label(words: str) -> str:
    """The words of a failure without the `Error: ` that tells clients what they are."""
    return printable(words.removeprefix("Error: "))


def in_seconds(milliseconds: float) -> str:
    """A time as people compare it."""
    return f"{milliseconds / 1000:.2f} s"


def size_of(usage: Usage) -> str:
    """How much a model wrote."""
    about = "about " if usage.estimated else ""
    return f"{about}{_count(usage.output_tokens, 'token')}"


def finished(done: Done) -> str:
    """How a whole answer ended, and its figures."""
    figures = [printable(done.finish_reason)] if done.finish_reason else []
    if done.usage is not None:
        figures.append(size_of(done.usage))
    if done.timings.first_token_ms is not None:
        figures.append(f"first token {in_seconds(done.timings.first_token_ms)}")
    return ", ".join([*figures, in_seconds(done.timings.duration_ms)])


def failed(done: Done, words: str | None) -> str:
    """Why an answer is not whole."""
    return without_label(words) if words else (done.code or "no reason given")


def summary(metadata: Metadata) -> str:
    """What the comparison came to, in one line."""
    models = _count(metadata.models_requested, "model")
    if metadata.models_failed:
        models += f" ({metadata.models_failed} failed)"
    line = f"{models} in {in_seconds(metadata.processing_time_ms)}"
    if metadata.models_requested == 1:
        return line
    return (
        f"{line}, slowest {in_seconds(metadata.slowest_model_ms)},"
        f" one after another {in_seconds(metadata.sum_of_models_ms)}"
        f" ({metadata.speedup:.1f}x faster)"
    )


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"
