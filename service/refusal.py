"""What a caller is told whose request can't be served: one sentence, and one word for a program.

`decoded` is the first that may refuse: it says what is wrong with a JSON body.
"""

from __future__ import annotations

import re
from typing import TypeVar

import msgspec
from msgspec import Struct

__all__ = ["Refusal", "decoded"]

Body = TypeVar("Body", bound=Struct)


class Refusal(Exception):
    """The request can't be served; nothing was started for it."""

    def __init__(
        self, status: int, code: str, detail: str, *, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.status = status
        """The HTTP status."""
        self.code = code
        self.detail = detail
        self.headers = headers or {}


def decoded(body: bytes, type_: type[Body]) -> Body:
    """A JSON body as one of these; raises `Refusal` (400) with the first thing that is wrong."""
    try:
        return msgspec.json.decode(body, type=type_)
    except msgspec.ValidationError as exc:
        raise Refusal(400, "invalid_request", _in_words(str(exc))) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        # The parser's own words name byte positions and quote the body: neither helps a caller.
        raise Refusal(400, "invalid_json", "The body must be one JSON object in UTF-8.") from None


_CHOICES = {
    "tier": "brief, standard or extended",
    "role": "user, assistant or system",
    "mode": "all or first_k",
    "priority": "fair, fastest or asked",
}
_AT_PATH = re.compile(r"^(?P<what>.*?)(?: - at `\$(?P<path>.*)`)?$", re.DOTALL)


def _in_words(message: str) -> str:
    """One sentence of a validation error that begins with the field's name."""
    found = _AT_PATH.match(message)
    if found is None:
        return "The request is not valid."
    field = (found["path"] or "").lstrip(".").replace("[...]", "[]")
    what = found["what"].replace("`", "")
    missing = what.removeprefix("Object missing required field ")
    if missing != what:
        return f"{field}.{missing} is required.".lstrip(".")
    choices = _CHOICES.get(field.rpartition(".")[2])
    if choices is not None and what.startswith("Invalid enum value"):
        what = f"expected {choices}"
    return f"{field or 'The body'}: {what[:1].lower()}{what[1:]}."
