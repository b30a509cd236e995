"""The simulated models: how long each thinks, how fast and how much it writes, how it fails."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

__all__ = ["MODELS", "Misbehaviour", "Style", "Temperament", "temperament_for"]

Style: TypeAlias = Literal[
    "plain", "guide", "essay", "verse", "code", "table", "terse", "ramble", "polyglot"
]
Misbehaviour: TypeAlias = Literal["fails", "stalls", "floods", "truncates", "refuses"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Temperament:
    """What makes one simulated model differ from another; times are seconds at speed 1."""

    id: str
    name: str
    description: str
    """One honest sentence for a catalogue."""
    first_token_seconds: float
    tokens_per_second: float
    length: tuple[int, int]
    """Tokens at which an answer may end, fewest and most; it finishes what it is in, and closes."""
    style: Style = "plain"
    reasons: bool = False
    """Thinks aloud before it answers, half as many tokens as the answer has."""
    burst: int = 1
    """Tokens that come at once; the rate stays the same on average."""
    misbehaviour: Misbehaviour | None = None

    @property
    def well_behaved(self) -> bool:
        """Whether it gives whole answers at a bearable pace."""
        return self.misbehaviour is None


# In the order of the catalogue: the first nine make a good comparison. At speed 1 their answers
# take from 1.5 to 6 seconds, and no two take the same.
#
# All but two, the thinker and the careful one, have begun to write before any of the others has
# written twenty tokens: by that, more than one model among the first twenty chunks, scripts and
# people tell a concurrent stream from a sequential one.
MODELS: tuple[Temperament, ...] = (
    Temperament(
        id="sim:swift",
        name="Swift",
        description="Simulated: the first to write, and faster than anyone reads.",
        first_token_seconds=0.18,
        tokens_per_second=110,
        length=(180, 230),
    ),
    Temperament(
        id="sim:steady",
        name="Steady",
        description="Simulated: an even pace, with headings and a numbered list.",
        first_token_seconds=0.25,
        tokens_per_second=65,
        length=(190, 240),
        style="guide",
    ),
    Temperament(
        id="sim:thinker",
        name="Thinker",
        description="Simulated: streams its reasoning first, and answers after it.",
        first_token_seconds=0.3,
        tokens_per_second=95,
        length=(200, 260),
        style="essay",
        reasons=True,
    ),
    Temperament(
        id="sim:poet",
        name="Poet",
        description="Simulated: a few slow stanzas that are about your question only in passing.",
        first_token_seconds=0.34,
        tokens_per_second=35,
        length=(90, 140),
        style="verse",
    ),
    Temperament(
        id="sim:coder",
        name="Coder",
        description="Simulated: answers with short Python programs, whatever the question.",
        first_token_seconds=0.28,
        tokens_per_second=100,
        length=(250, 360),
        style="code",
    ),
    Temperament(
        id="sim:analyst",
        name="Analyst",
        description="Simulated: puts everything into Markdown tables.",
        first_token_seconds=0.33,
        tokens_per_second=90,
        length=(220, 300),
        style="table",
    ),
    Temperament(
        id="sim:terse",
        name="Terse",
        description="Simulated: a few short sentences, one word after the other.",
        first_token_seconds=0.2,
        tokens_per_second=30,
        length=(42, 56),
        style="terse",
    ),
    Temperament(
        id="sim:careful",
        name="Careful",
        description="Simulated: the longest silence before its first word, then calm prose.",
        first_token_seconds=1.5,
        tokens_per_second=70,
        length=(180, 240),
        style="essay",
    ),
    Temperament(
        id="sim:rambler",
        name="Rambler",
        description="Simulated: the longest answer of all, and it never comes to the point.",
        first_token_seconds=0.24,
        tokens_per_second=105,
        length=(480, 560),
        style="ramble",
    ),
    Temperament(
        id="sim:bursty",
        name="Bursty",
        description="Simulated: nothing for a moment, then a dozen tokens at once.",
        first_token_seconds=0.32,
        tokens_per_second=90,
        length=(200, 260),
        style="guide",
        burst=12,
    ),
    Temperament(
        id="sim:polyglot",
        name="Polyglot",
        description="Simulated: changes its language and its script from sentence to sentence.",
        first_token_seconds=0.3,
        tokens_per_second=55,
        length=(120, 170),
        style="polyglot",
    ),
    Temperament(
        id="sim:fails",
        name="Fails",
        description="Simulated misbehaviour: an error in the middle of the stream.",
        first_token_seconds=0.3,
        tokens_per_second=60,
        length=(60, 60),
        misbehaviour="fails",
    ),
    Temperament(
        id="sim:stalls",
        name="Stalls",
        description="Simulated misbehaviour: begins to answer, then says nothing for ever.",
        first_token_seconds=0.3,
        tokens_per_second=60,
        length=(60, 60),
        misbehaviour="stalls",
    ),
    Temperament(
        id="sim:floods",
        name="Floods",
        description="Simulated misbehaviour: as many tokens as are allowed, all at once.",
        first_token_seconds=0.1,
        tokens_per_second=math.inf,
        length=(40_000, 40_000),
        style="ramble",
        misbehaviour="floods",
    ),
    Temperament(
        id="sim:truncates",
        name="Truncates",
        description="Simulated misbehaviour: stops in mid-sentence without a word of why.",
        first_token_seconds=0.3,
        tokens_per_second=60,
        length=(60, 60),
        misbehaviour="truncates",
    ),
    Temperament(
        id="sim:refuses",
        name="Refuses",
        description="Simulated misbehaviour: always too busy, with status 429.",
        first_token_seconds=0,
        tokens_per_second=math.inf,
        length=(0, 0),
        misbehaviour="refuses",
    ),
)

_BY_ID = {temperament.id: temperament for temperament in MODELS}
_PROMPT_ONES = tuple(
    temperament
    for temperament in MODELS
    if temperament.well_behaved and temperament.id not in ("sim:thinker", "sim:careful")
)
"""Those that may play somebody else: they let nobody write twenty tokens alone."""


def temperament_for(model: str) -> Temperament | None:
    """Who answers as `model`: any id that is not one of ours is played by a prompt one.

    None when the id claims to be ours and is not.
    """
    if model.startswith("sim:"):
        return _BY_ID.get(model)
    # Not `hash`: a model keeps its temperament from one run to the next.
    digest = hashlib.blake2b(model.encode(), digest_size=8).digest()
    return _PROMPT_ONES[int.from_bytes(digest, "big") % len(_PROMPT_ONES)]
