"""What a simulated model writes: endless blocks in its style, ended where it is long enough.

The same temperament, model id, prompt and seed give the same text, byte for byte. Nothing is
written ahead of need: who takes fewer pieces gets the beginning of the same text.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from service.simulator import phrases
from service.simulator.temperaments import Style, Temperament

__all__ = ["Assignment", "excerpt_of", "split", "write", "write_thoughts"]

# Like a real model's tokens: a word with the blank before it, a part of a long word, a few signs,
# or white space. Every character belongs to exactly one piece.
_PIECE = re.compile(r" ?\w{1,8}| ?[^\w\s]{1,3}|\s+")

# Signs that would mean something to Markdown or HTML, or end the quotation.
_NOT_QUOTED = str.maketrans(dict.fromkeys('`*_~<>[]{}|#\\&$"“”'))
_EXCERPT_CHARACTERS = 60
_TOPIC_CHARACTERS = range(4, 25)


@dataclass(frozen=True, slots=True)
class Assignment:
    """Who is to write about what."""

    temperament: Temperament
    model: str
    """The id that was asked for; not the temperament's own when that was drawn from the id."""
    prompt: str
    seed: int

    def draw(self, purpose: str) -> random.Random:
        """Dice that fall the same way every time for the same assignment and purpose."""
        matter = "\0".join((purpose, str(self.seed), self.model, self.prompt))
        digest = hashlib.blake2b(matter.encode(), digest_size=16).digest()
        return random.Random(digest)  # noqa: S311 (it chooses phrases, it keeps no secret)


def write(assignment: Assignment) -> Iterator[str]:
    """The answer's pieces, about one token each; the first sentence says that it is simulated."""
    temperament, dice = assignment.temperament, assignment.draw("answer")
    aim = dice.randint(*temperament.length)
    excerpt = excerpt_of(assignment.prompt)
    yield from _until(aim, _blocks(temperament.style, assignment.model, excerpt, dice))
    yield from split("\n\n" + phrases.CLOSINGS[temperament.style])


def write_thoughts(assignment: Assignment) -> Iterator[str]:
    """The pieces of the reasoning before the answer; none if the model does not reason."""
    temperament, dice = assignment.temperament, assignment.draw("thoughts")
    if not temperament.reasons:
        return
    aim = dice.randint(*temperament.length) // 2
    sentences = _sentences(phrases.THOUGHTS, _topic_of(excerpt_of(assignment.prompt)), dice)
    thinking = chain((phrases.THINKING,), (f" {sentence}" for sentence in sentences))
    yield from _until(aim, thinking)


def _until(aim: int, blocks: Iterator[str]) -> Iterator[str]:
    """The pieces of as many whole blocks as it takes to have that many."""
    written = 0
    while written < aim:
        pieces = split(next(blocks))
        written += len(pieces)
        yield from pieces


def split(text: str) -> list[str]:
    """Cut a text as a tokenizer would; the pieces add up to the text."""
    return _PIECE.findall(text)


def excerpt_of(prompt: str) -> str:
    """A short piece of the prompt that is safe to quote in one line of Markdown."""
    # A prompt may be a megabyte long; what is shown is in its first few hundred characters.
    words = prompt[: 8 * _EXCERPT_CHARACTERS].translate(_NOT_QUOTED).split()
    line = "".join(sign for sign in " ".join(words) if sign.isprintable())
    if len(line) <= _EXCERPT_CHARACTERS:
        return line
    head, blank, _ = line[: _EXCERPT_CHARACTERS + 1].rpartition(" ")
    return (head if blank else line[:_EXCERPT_CHARACTERS]) + "…"


def _topic_of(excerpt: str) -> str:
    """The longest word of it that could be what the prompt is about."""
    words = [word for word in re.findall(r"[^\W\d]+", excerpt) if len(word) in _TOPIC_CHARACTERS]
    return f"“{max(words, key=len)}”" if words else "the question"


def _blocks(style: Style, model: str, excerpt: str, dice: random.Random) -> Iterator[str]:
    """Everything between the first word and the closing line, with the white space it needs."""
    yield phrases.OPENINGS[style].format(model=model)
    reference = dice.choice(phrases.REFERENCES) if excerpt else phrases.NO_REFERENCE
    yield " " + reference.format(excerpt=excerpt)
    yield from _STYLES[style](_topic_of(excerpt), dice)


def _endlessly(choices: Sequence[str], dice: random.Random) -> Iterator[str]:
    """Everything once in some order, then everything again in another."""
    while True:
        yield from dice.sample(choices, len(choices))


def _sentences(choices: Sequence[str], topic: str, dice: random.Random) -> Iterator[str]:
    """As `_endlessly`, about something, and with a capital letter whatever that is."""
    for sentence in _endlessly(choices, dice):
        said = sentence.format(topic=topic)
        yield said[0].upper() + said[1:] if sentence.startswith("{") else said


def _plain(topic: str, dice: random.Random) -> Iterator[str]:
    advice = _sentences(phrases.ADVICE, topic, dice)
    while True:
        yield from _paragraph(advice, dice.randint(3, 5))


def _essay(topic: str, dice: random.Random) -> Iterator[str]:
    advice = _sentences(phrases.ADVICE, topic, dice)
    for heading in _endlessly(phrases.HEADINGS, dice):
        yield from _paragraph(advice, dice.randint(2, 4))
        yield f"\n\n> {next(advice)}"
        yield f"\n\n## {heading}"


def _guide(topic: str, dice: random.Random) -> Iterator[str]:
    advice = _sentences(phrases.ADVICE, topic, dice)
    for heading in _endlessly(phrases.HEADINGS, dice):
        yield f"\n\n## {heading}\n\n{next(advice)}"
        for number in range(1, dice.randint(3, 5)):
            yield f"{_list_start(number)}{number}. {next(advice)}"
        yield f"\n\n- **Remember:** {next(advice)}"


def _verse(topic: str, dice: random.Random) -> Iterator[str]:
    # In the order they were written, from somewhere in the middle: so they rhyme.
    stanzas = len(phrases.VERSES) // 4
    first = dice.randrange(stanzas)
    while True:
        lines = phrases.VERSES[4 * first : 4 * first + 4]
        yield "\n\n" + "  \n".join(lines).format(topic=topic)
        first = (first + 1) % stanzas


def _code(topic: str, dice: random.Random) -> Iterator[str]:
    advice = _sentences(phrases.ADVICE, topic, dice)
    for program in _endlessly(phrases.PROGRAMS, dice):
        yield f"\n\n{next(advice)}"
        yield f"\n\n{program}"
        yield f"\n\n- {next(advice)}"
        yield f"\n- {next(advice)}"


def _table(topic: str, dice: random.Random) -> Iterator[str]:
    advice = _sentences(phrases.ADVICE, topic, dice)
    headings = _endlessly(phrases.HEADINGS, dice)
    for table in _endlessly(phrases.TABLES, dice):
        yield f"\n\n### {next(headings)}\n\n{table}"
        yield from _paragraph(advice, 2)


def _terse(topic: str, dice: random.Random) -> Iterator[str]:
    for sentence in _sentences(phrases.TERSE, topic, dice):
        yield f" {sentence}"


def _ramble(topic: str, dice: random.Random) -> Iterator[str]:
    advice = _sentences(phrases.ADVICE, topic, dice)
    asides = _endlessly(phrases.ASIDES, dice)
    while True:
        yield from _paragraph(advice, dice.randint(2, 4))
        for _ in range(dice.randint(1, 3)):
            yield f" {next(asides)}{next(advice)}"


def _polyglot(topic: str, dice: random.Random) -> Iterator[str]:
    tongues = _sentences(phrases.TONGUES, topic, dice)
    while True:
        yield from _paragraph(tongues, dice.randint(3, 4))


def _paragraph(sentences: Iterator[str], count: int) -> Iterator[str]:
    yield f"\n\n{next(sentences)}"
    for _ in range(count - 1):
        yield f" {next(sentences)}"


def _list_start(number: int) -> str:
    return "\n\n" if number == 1 else "\n"


_STYLES: Mapping[Style, Callable[[str, random.Random], Iterator[str]]] = {
    "plain": _plain,
    "guide": _guide,
    "essay": _essay,
    "verse": _verse,
    "code": _code,
    "table": _table,
    "terse": _terse,
    "ramble": _ramble,
    "polyglot": _polyglot,
}
