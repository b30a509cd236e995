"""What a provider does with a request, and how its model must then end. Pure, and by seed.

Both processes of the harness know this: the provider plays it, the clients hold what they get
against it, and nothing has to be said between them. A model's name is the kind of its deed; all
else is drawn from the seed, the question's number and the model.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import cache
from itertools import count

from tests.soak.dialects import DIALECTS, Dialect, refusal
from tests.soak.streams import (
    WHOLE,
    WORDS,
    Code,
    Deed,
    Ending,
    Step,
    Stream,
    Then,
    chunked,
    stream_of,
    torn,
)

__all__ = ["CHUNK", "DEAF", "ENDLESS", "FLOOD", "KINDS", "NOBODY", "deed"]

CHUNK = 0.02
"""Seconds between two pieces of a model that writes at the usual pace."""
ENDLESS, FLOOD, DEAF, NOBODY = "endless", "flood", "deaf", "nobody"
BUSY = frozenset({"rate_limited", "overloaded", "total_timeout"})
"""How a model may end whose provider refuses: told so, or too long in the line."""
LONGEST_ENDLESS = 4000
"""Pieces; longer than any clock that a model has here."""
FLOOD_PIECE, FLOOD_PIECES = 1000, 10_000
"""Characters of one, and how many differ: more than any buffer on the way holds."""
STATUSES = {
    400: "bad_request",
    401: "unauthorized",
    402: "payment_required",
    404: "model_not_found",
    500: "provider_error",
}
PAGE = b"<h1>Log in</h1>"


def deed(seed: int, question: int, provider: str, model: str, request: int = 0) -> Deed:
    """What is done with a model's request; `request` counts those for the same answer.

    The model is one of `KINDS`, with anything behind a `~`.
    """
    if provider == DEAF:
        return Deed(Ending("", 0, frozenset({"connect_timeout"})))
    if provider == NOBODY:
        return Deed(Ending("", 0, frozenset({"connect_error"})))
    name = provider.partition("-")[2] or provider
    told = DIALECTS.get(name, DIALECTS["openai"])
    chance = random.Random(f"{seed} {question} {provider}:{model}")
    return KINDS[model.partition("~")[0]](told, chance, request)


# --- answers that are whole ---------------------------------------------------------------------


def _whole(dialect: Dialect, chance: random.Random, _: int) -> Deed:
    stream = stream_of(dialect, chance)
    # One in twenty closes the connection that it said it would keep: the next request meets it.
    then: Then | None = "close" if chance.random() < 0.05 else None
    return stream.whole(stream.paced(chance.uniform(0.5, 2) * CHUNK), then=then)


def _burst(dialect: Dialect, chance: random.Random, _: int) -> Deed:
    stream = stream_of(dialect, chance, 100, 300)
    return stream.whole(torn(chance, stream.raw(), 6, 0.0))


def _torn_anywhere(dialect: Dialect, chance: random.Random, _: int) -> Deed:
    stream = stream_of(dialect, chance)
    return stream.whole(torn(chance, stream.raw(), 40, 0.02))


def _bytewise(dialect: Dialect, chance: random.Random, _: int) -> Deed:
    # Few of them, and the first words first: on a busy machine each byte takes some milliseconds.
    stream = stream_of(dialect, chance, 2, 3)
    stream = replace(stream, blocks=stream.blocks[len(dialect.begin) :])
    raw, head = stream.raw(), len(stream.head)
    steps = ((0.001, raw[n : n + 1]) for n in range(head, len(raw)))
    return stream.whole(_after(raw[:head], steps))


def _huge(dialect: Dialect, chance: random.Random, _: int) -> Deed:
    text = "".join(chance.choices(WORDS, k=chance.randint(2_000, 20_000)))
    stream = stream_of(dialect, chance, 1, 5)
    stream = replace(stream, blocks=[*stream.blocks, (dialect.piece(text), text)])
    return stream.whole(stream.paced(CHUNK))


def _late(dialect: Dialect, chance: random.Random, _: int) -> Deed:
    stream = stream_of(dialect, chance, 5, 20)
    return stream.whole(stream.paced(CHUNK, late=chance.uniform(0.3, 1.2)))


def _thinking(dialect: Dialect, chance: random.Random, _: int) -> Deed:
    stream = stream_of(dialect, chance, thoughts=chance.randint(5, 30))
    return stream.whole(stream.paced(CHUNK))


def _noise(dialect: Dialect, chance: random.Random, _: int) -> Deed:
    stream = stream_of(dialect, chance)
    blocks = list(stream.blocks)
    for _noise in range(chance.randint(1, 5)):
        blocks.insert(chance.randint(0, len(blocks)), (dialect.broken, ""))
    stream = replace(stream, blocks=blocks)
    return stream.whole(stream.paced(CHUNK))


# --- answers that break off ---------------------------------------------------------------------


def _broken_off(
    stream: Stream, chance: random.Random, then: Then, codes: Iterable[Code], *, sure: bool
) -> Deed:
    """Send a part, cut at any byte before what would make it whole."""
    raw = stream.raw()
    sent = raw[: chance.randint(0, len(raw) - len(stream.finish()))]
    least = stream.least(len(sent)) if sure else 0
    steps = [*torn(chance, sent, 8, 0.02)] if len(sent) > 1 else [(0.0, sent)]
    return Deed(Ending(stream.text, least, frozenset(codes)), [*steps, (0.02, b"")], then)


def _cut(dialect: Dialect, chance: random.Random, _: int) -> Deed:
    stream = stream_of(dialect, chance)
    codes = ["upstream_disconnected"]
    if not stream.sized:  # the end of the connection is then an orderly end of the body
        codes += ["truncated", "empty_response"]
    return _broken_off(stream, chance, "close", codes, sure=True)


def _reset(dialect: Dialect, chance: random.Random, _: int) -> Deed:
    # A reset throws away what has not been read yet, so nothing must have been heard.
    stream = stream_of(dialect, chance)
    return _broken_off(stream, chance, "reset", ["upstream_disconnected"], sure=False)


def _stall(dialect: Dialect, chance: random.Random, _: int) -> Deed:
    stream = stream_of(dialect, chance)
    codes = ["idle_timeout", "first_token_timeout"]
    return _broken_off(stream, chance, "stay", codes, sure=True)


def _short(dialect: Dialect, chance: random.Random, _: int) -> Deed:
    """A sound body that ends without a word about it."""
    stream = stream_of(dialect, chance, sized=True)
    kept = stream.blocks[: chance.randint(1, len(stream.blocks))]
    steps = [(CHUNK, stream.framed(block)) for block, _ in kept]
    text = "".join(said for _, said in kept)
    codes = frozenset({"truncated", "empty_response"})
    last = [(CHUNK, b"0\r\n\r\n")]
    return Deed(Ending(text, len(text), codes), [(0.0, stream.head), *steps, *last], "keep")


def _error(dialect: Dialect, chance: random.Random, _: int) -> Deed:
    stream = stream_of(dialect, chance, 3, 20, sized=True)
    steps = [(CHUNK, stream.framed(block)) for block, _ in stream.blocks]
    last = [(CHUNK, chunked(dialect.error) + b"0\r\n\r\n")]
    ending = Ending(stream.text, len(stream.text), frozenset({"provider_error"}))
    return Deed(ending, [(0.0, stream.head), *steps, *last], "keep")


@cache
def _counting(dialect: str) -> tuple[Stream, Ending]:
    """A long count aloud, made once: it is asked for often."""
    pieces = [f"{n} " for n in range(LONGEST_ENDLESS)]
    stream = Stream(DIALECTS[dialect], [(DIALECTS[dialect].piece(n), n) for n in pieces])
    return stream, Ending(stream.text, 0, frozenset({"total_timeout"}))


def _endless(dialect: Dialect, chance: random.Random, _: int) -> Deed:
    stream, ending = _counting(dialect.name)
    steps = ((CHUNK, stream.framed(block)) for block, _ in stream.blocks)
    return Deed(ending, _after(stream.head, steps))


@cache
def _flooding() -> tuple[list[str], Ending]:
    pieces = [f"{n} ".ljust(FLOOD_PIECE, ".") for n in range(FLOOD_PIECES)]
    return pieces, Ending("".join(pieces), 0, frozenset({"total_timeout"}))


def _flood(dialect: Dialect, chance: random.Random, _: int) -> Deed:
    """As much as is taken. Only who does not read asks it, so that nobody hears much of it."""
    pieces, ending = _flooding()
    steps = ((0.0, chunked(dialect.piece(pieces[n % FLOOD_PIECES]))) for n in count())
    return Deed(ending, _after(Stream(dialect, []).head, steps))


def _after(head: bytes, steps: Iterable[Step]) -> Iterator[Step]:
    yield 0.0, head
    yield from steps


# --- no stream at all ---------------------------------------------------------------------------


def _hang(dialect: Dialect, chance: random.Random, _: int) -> Deed:
    return Deed(Ending("", 0, frozenset({"first_token_timeout"})))


def _status(dialect: Dialect, chance: random.Random, _: int) -> Deed:
    status, code = chance.choice(list(STATUSES.items()))
    answer = refusal(dialect.name, status, retry_after=None)
    return Deed(Ending("", 0, frozenset({code})), [(0.0, answer)], "keep")


def _busy(dialect: Dialect, chance: random.Random, _: int) -> Deed:
    status = chance.choice([429, 503, 529])
    answer = refusal(dialect.name, status, retry_after=chance.choice([None, "0", "1"]))
    return Deed(Ending("", 0, BUSY), [(0.0, answer)], "keep")


def _busy_once(dialect: Dialect, chance: random.Random, request: int) -> Deed:
    refused, answered = _busy(dialect, chance, 0), _whole(dialect, chance, 0)
    ending = replace(answered.ending, codes=WHOLE | BUSY, least=0)
    return replace(refused if request == 0 else answered, ending=ending)


def _page(dialect: Dialect, chance: random.Random, _: int) -> Deed:
    head = f"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {len(PAGE)}\r\n\r\n"
    ending = Ending("", 0, frozenset({"not_event_stream"}))
    return Deed(ending, [(0.0, head.encode() + PAGE)], "keep")


def _garbage(dialect: Dialect, chance: random.Random, _: int) -> Deed:
    """No HTTP."""
    ending = Ending("", 0, frozenset({"protocol_error"}))
    return Deed(ending, [(0.0, b"\x00" + chance.randbytes(200) + b"\r\n\r\n")], "close")


def _rubbish(dialect: Dialect, chance: random.Random, _: int) -> Deed:
    """HTTP, and more events without sense than are passed over."""
    stream = Stream(dialect, [(dialect.broken, "")] * 40)
    ending = Ending("", 0, frozenset({"protocol_error"}))
    return Deed(ending, [(0.0, stream.raw())], "keep")


KINDS: dict[str, Callable[[Dialect, random.Random, int], Deed]] = {
    "whole": _whole,
    "burst": _burst,
    "torn": _torn_anywhere,
    "bytewise": _bytewise,
    "huge": _huge,
    "late": _late,
    "thinking": _thinking,
    "noise": _noise,
    "cut": _cut,
    "reset": _reset,
    "stall": _stall,
    "short": _short,
    "error": _error,
    ENDLESS: _endless,
    FLOOD: _flood,
    "hang": _hang,
    "status": _status,
    "busy": _busy,
    "busy-once": _busy_once,
    "page": _page,
    "garbage": _garbage,
    "rubbish": _rubbish,
}
