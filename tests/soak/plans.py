"""What each client does, by its number and the seed. Pure.

A plan is a behaviour, and for most of them a question: its models, and what it asks for besides.
The weights are no forecast of anybody's traffic: enough is well-behaved for a real load, and
everything else comes often enough to be met in every minute.
"""

from __future__ import annotations

import base64
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from tests.soak.deeds import DEAF, ENDLESS, FLOOD, NOBODY
from tests.soak.setup import CALM, MOODY, NARROW, PRICED, PRICED_MODELS

__all__ = ["BAD", "LOOKS", "Behaviour", "Plan", "plan"]

Behaviour: TypeAlias = Literal[
    "reads over HTTP/1.1",
    "reads over HTTP/2",
    "takes one answer",
    "reads slowly",
    "leaves",
    "stops reading",
    "stops by DELETE",
    "sends half a request",
    "asks nonsense",
    "looks",
]

WEIGHTS: Mapping[Behaviour, int] = {
    "reads over HTTP/1.1": 24,
    "reads over HTTP/2": 20,
    "takes one answer": 6,
    "reads slowly": 6,
    "leaves": 16,
    "stops reading": 2,
    "stops by DELETE": 8,
    "sends half a request": 5,
    "asks nonsense": 6,
    "looks": 7,
}
MODELS = {
    "whole": 40,
    "burst": 5,
    "torn": 6,
    "bytewise": 2,
    "huge": 2,
    "late": 5,
    "thinking": 6,
    "noise": 4,
    "cut": 5,
    "reset": 4,
    "stall": 2,
    "short": 3,
    "error": 3,
    "hang": 1,
    "status": 3,
    "page": 1,
    "garbage": 2,
    "rubbish": 1,
}
FAILING = ("hang", "status", "page", "garbage", "busy")
"""They fail before their first token, where somebody else can step in."""
LOOKS = (
    *("/models", "/model-stats", "/rate-limit-status", "/health", "/readyz", "/metrics"),
    *("/openapi.json", "/", "/api/models", "/nothing/here", "/comparisons/unknown"),
)
BAD: Sequence[tuple[bytes, int, str]] = (
    (b"{", 400, "invalid_json"),
    (b"[" * 2000 + b"]" * 2000, 400, "invalid_request"),
    (b"\xff\xfe\x00", 400, "invalid_json"),
    (b'"text"', 400, "invalid_request"),
    (b'{"input_data": "x"}', 400, "invalid_request"),
    (b'{"input_data": "x", "models": []}', 400, "models_required"),
    (b'{"input_data": " ", "models": ["a"]}', 400, "input_required"),
    (b'{"input_data": "x", "models": ["a"], "temperature": 3}', 400, "invalid_request"),
    (b'{"input_data": "x", "models": ["a"], "k": 1}', 400, "invalid_request"),
    (b'{"input_data": "x", "models": ["a"], "images": ["http://x/y.png"]}', 400, "invalid_image"),
    (b'{"input_data": "x", "models": ["a"], "max_cost_usd": 1}', 400, "price_unknown"),
    (b'{"input_data": "x", "models": ["priced:never-heard-of"]}', 400, "model_not_found"),
    (b'{"input_data": "x", "models": ["' + b"a" * 300 + b'"]}', 400, "invalid_model"),
    (b'{"input_data": "x", "models": ' + str(["a"] * 10).replace("'", '"').encode() + b"}", 400,
     "too_many_models"),
    (b'{"input_data": "' + b"x" * 6000 + b'", "models": ["a"]}', 400, "input_too_long"),
    (b" " * 1_100_000, 413, "body_too_large"),
)  # fmt: skip
PICTURE = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 40).decode()


@dataclass(frozen=True, slots=True)
class Plan:
    """One client."""

    number: int
    behaviour: Behaviour
    models: tuple[str, ...] = ()
    fields: Mapping[str, Any] = field(default_factory=dict)
    """Of the question, besides its text and models."""
    moment: float = 0.0
    """Seconds from the beginning until it leaves, stops, or gives up."""
    way: int = 0
    """Drawn by lot: which of the ways to do it."""

    @property
    def body(self) -> dict[str, Any]:
        """The question."""
        text = f"soak {self.number}: Why is the sky blue?"
        return {"input_data": text, "models": list(self.models), **self.fields}


GRID = tuple(
    [f"{name}:{kind}" for kind in MODELS for name in CALM]
    + [f"{name}:{kind}" for kind in ("busy", "busy-once") for name in MOODY]
)
"""Every model that there is, but those of one provider each."""
AT_ONCE = 8


def plan(seed: int, number: int) -> Plan:
    """What the client of that number does.

    The first ones ask every model once: what is kept by model is then there before it is watched.
    """
    if asked := GRID[AT_ONCE * number : AT_ONCE * (number + 1)]:
        return Plan(number, "reads over HTTP/1.1", asked)
    chance = random.Random(f"{seed} client {number}")
    [behaviour] = chance.choices(list(WEIGHTS), list(WEIGHTS.values()))
    way = chance.randrange(1 << 16)
    moment = chance.uniform(0, 2.5)
    match behaviour:
        case "looks" | "asks nonsense" | "sends half a request":
            # Half of a question that names a model: whoever asked it then would be seen.
            return Plan(number, behaviour, (f"openai:{ENDLESS}",), moment=moment / 4, way=way)
        case "stops reading":
            models = tuple(f"{name}:{FLOOD}" for name in chance.sample(CALM, 2))
            return Plan(number, behaviour, models, moment=moment / 8, way=way)
    models, fields = _question(chance, may_be_endless=behaviour in ("leaves", "stops by DELETE"))
    fields["priority"] = chance.choice(["fair", "fair", "fastest", "asked"])
    return Plan(number, behaviour, models, fields, moment, way)


def _question(
    chance: random.Random, *, may_be_endless: bool
) -> tuple[tuple[str, ...], dict[str, Any]]:
    models = [_model(chance) for _ in range(chance.choice([1, 2, 3, 3, 4, 4, 5, 9]))]
    fields: dict[str, Any] = {}
    if may_be_endless and chance.random() < 0.5:
        models[0] = f"{chance.choice(CALM)}:{ENDLESS}"
    match chance.choices(range(8), [52, 8, 8, 10, 6, 6, 6, 4])[0]:
        case 1:
            whole = [f"{chance.choice(CALM)}:whole" for _ in range(2)]
            models = [*whole, f"{chance.choice(CALM)}:{ENDLESS}"]
            fields |= {"mode": "first_k", "k": chance.choice([1, 2])}
        case 2:
            models = [f"{chance.choice(CALM)}:late", *models[:2]]
            fields["hedge_after"] = round(chance.uniform(0.1, 0.8), 2)
            if chance.random() < 0.5:
                fields["fallbacks"] = {models[0]: [f"{chance.choice(CALM)}:whole"]}
        case 3:
            failing = chance.choice(FAILING)
            asked = chance.choice(MOODY if failing == "busy" else CALM)
            models[0] = f"{asked}:{failing}"
            others = [f"{chance.choice(CALM)}:{chance.choice([*FAILING[1:3], 'torn'])}"]
            fields["fallbacks"] = {models[0]: [*others, f"{chance.choice(CALM)}:whole"]}
        case 4:
            models = [f"{PRICED}:{chance.choice(PRICED_MODELS)}" for _ in range(2)]
            models = [*dict.fromkeys(models)]
            # Between what the question costs by itself and what a few hundred tokens do.
            fields["max_cost_usd"] = chance.choice([0.001, 0.005, 1.0])
            if fields["max_cost_usd"] == 1.0 and not may_be_endless:
                models = [model for model in models if ENDLESS not in model] or [f"{PRICED}:whole"]
        case 5:
            fields["images"] = [f"data:image/png;base64,{PICTURE}"] * chance.choice([1, 3])
        case 6:
            turns = [
                {"role": "user", "content": "And why?"},
                {"role": "assistant", "content": "Because. " * 40, "model_id": models[0]},
            ]
            fields |= {"conversation_history": turns * chance.choice([1, 5, 12])}
            fields |= {"tier": "extended", "temperature": 0.5}
        case 7:
            models.append(models[0])  # the same one twice
            if not models[0].endswith((":whole", ":torn", ":cut", ":late")):
                models.pop()
    return tuple(models[:9]), fields


def _model(chance: random.Random) -> str:
    dice = chance.random()
    if dice < 0.01:
        return f"{DEAF}:whole"
    if dice < 0.02:
        return f"{NOBODY}:whole"
    if dice < 0.03:
        return f"{NARROW}:whole"
    if dice < 0.06:
        return f"{chance.choice(MOODY)}:{chance.choice(['busy', 'busy-once'])}"
    [kind] = chance.choices(list(MODELS), list(MODELS.values()))
    model = f"{chance.choice(CALM)}:{kind}"
    # Names come from callers: now and then one that nobody has used before.
    return f"{model}~{chance.randrange(1 << 32):08x}" if chance.random() < 0.03 else model
