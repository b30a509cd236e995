"""As much of PromQL as the board and the alerts use, read into a tree; the rest is refused.

Prometheus itself says whether a query can be read. A tree says what it can't: whether the label
that is asked for exists, whether a rate is one of a counter, whether two sides can ever match.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

__all__ = [
    "Aggregation",
    "Call",
    "Matcher",
    "Node",
    "Number",
    "Operation",
    "Selector",
    "Text",
    "parse",
    "walk",
]


@dataclass(frozen=True, slots=True)
class Matcher:
    """What a label must be like."""

    label: str
    operator: str
    value: str

    @property
    def values(self) -> list[str]:
        """What it names; of a regular expression its alternatives."""
        return self.value.split("|") if "~" in self.operator else [self.value]


@dataclass(frozen=True, slots=True)
class Selector:
    """Samples by name; with a window those of some time."""

    name: str
    matchers: tuple[Matcher, ...] = ()
    window: str | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """A function and its arguments."""

    function: str
    arguments: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Aggregation:
    """Many series as fewer, told apart by labels."""

    operator: str
    by: tuple[str, ...]
    arguments: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Operation:
    """Two sides; `on` is None where all labels must be the same."""

    operator: str
    left: Node
    right: Node
    on: tuple[str, ...] | None = None
    group: Literal["group_left", "group_right"] | None = None


@dataclass(frozen=True, slots=True)
class Number:
    """A number."""

    value: float


@dataclass(frozen=True, slots=True)
class Text:
    """A string, as functions on labels take them."""

    value: str


Node: TypeAlias = Selector | Call | Aggregation | Operation | Number | Text

AGGREGATIONS = {"sum", "max", "min", "avg", "count", "topk"}
STRENGTH = [
    {"or"},
    {"and", "unless"},
    {"==", "!=", ">", "<", ">=", "<="},
    {"+", "-"},
    {"*", "/"},
]
"""Of operators, the weakest first; all of these group from the left."""

_TOKEN = re.compile(
    r"""\s*(?: (?P<text>"(?:[^"\\]|\\.)*")
          | (?P<window>\[[^\]]+\])
          | (?P<number>\d+(?:\.\d+)?(?![\w.]))
          | (?P<duration>\d+[smhd])
          | (?P<word>[A-Za-z_:][\w:]*)
          | (?P<sign>==|!=|>=|<=|=~|!~|[-+*/(){},=<>]) )""",
    re.VERBOSE,
)


def parse(text: str) -> Node:
    """The tree of an expression; raises `ValueError` at what is not known here."""
    reader = _Reader(text)
    node = reader.operation(0)
    if reader.kind is not None:
        raise ValueError(f"{reader.value!r} is too much in {text}")
    return node


def walk(node: Node) -> Iterator[Node]:
    """A node and all below it, from the left."""
    yield node
    match node:
        case Operation(_, left, right):
            yield from walk(left)
            yield from walk(right)
        case Call(_, arguments) | Aggregation(_, _, arguments):
            for argument in arguments:
                yield from walk(argument)


class _Reader:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self.kind: str | None = None
        self.value = ""
        self._step()

    def _step(self) -> None:
        if not self._text[self._at :].strip():
            self.kind, self.value = None, ""
            return
        found = _TOKEN.match(self._text, self._at)
        if found is None or found.lastgroup is None:
            raise ValueError(f"not known here: {self._text[self._at :]!r} in {self._text}")
        self.kind, self.value = found.lastgroup, found[found.lastgroup]
        self._at = found.end()

    def _take(self, *expected: str) -> str:
        value = self.value
        if expected and value not in expected:
            raise ValueError(f"{value!r} where one of {expected} was expected in {self._text}")
        self._step()
        return value

    def operation(self, strength: int) -> Node:
        if strength == len(STRENGTH):
            return self._operand()
        left = self.operation(strength + 1)
        while self.value in STRENGTH[strength] and self.kind != "text":
            operator = self._take()
            on, group = self._matching()
            left = Operation(operator, left, self.operation(strength + 1), on, group)
        return left

    def _matching(
        self,
    ) -> tuple[tuple[str, ...] | None, Literal["group_left", "group_right"] | None]:
        if self.value != "on":
            return None, None
        self._take()
        on = self._names()
        if self.value not in ("group_left", "group_right"):
            return on, None
        group: Literal["group_left", "group_right"] = (
            "group_left" if self._take() == "group_left" else "group_right"
        )
        if self.value == "(":
            self._take()
            self._take(")")  # no label of the other side is wanted
        return on, group

    def _names(self) -> tuple[str, ...]:
        self._take("(")
        names = []
        while self.value != ")":
            names.append(self._take())
            if self.value != ")":
                self._take(",")
        self._take(")")
        return tuple(names)

    def _operand(self) -> Node:
        kind, value = self.kind, self._take()
        if kind == "number":
            return Number(float(value))
        if kind == "text":
            return Text(value[1:-1])
        if value == "(":
            node = self.operation(0)
            self._take(")")
            return node
        if kind != "word":
            raise ValueError(f"{value!r} begins nothing in {self._text}")
        if value in AGGREGATIONS:
            by: tuple[str, ...] = ()
            if self.value == "by":
                self._take()
                by = self._names()
            return Aggregation(value, by, self._arguments())
        if self.value == "(":
            return Call(value, self._arguments())
        return self._selector(value)

    def _arguments(self) -> tuple[Node, ...]:
        self._take("(")
        arguments: list[Node] = []
        while self.value != ")":
            arguments.append(self.operation(0))
            if self.value != ")":
                self._take(",")
        self._take(")")
        return tuple(arguments)

    def _selector(self, name: str) -> Selector:
        matchers = []
        if self.value == "{":
            self._take()
            while self.value != "}":
                label, operator = self._take(), self._take("=", "!=", "=~", "!~")
                matchers.append(Matcher(label, operator, self._take()[1:-1]))
                if self.value != "}":
                    self._take(",")
            self._take("}")
        window = self._take()[1:-1] if self.kind == "window" else None
        return Selector(name, tuple(matchers), window)
