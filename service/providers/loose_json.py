"""JSON as providers write it: whatever it holds, nobody falls over it."""

from __future__ import annotations

import json
from typing import Any

import msgspec

__all__ = ["loads"]


def loads(data: str | bytes) -> Any:
    """The value in `data`, or None when there is none.

    The fast parser is strict; what it refuses (NaN, lone surrogates, numbers without bounds) gets
    a second chance. Half a surrogate pair can't be sent on as UTF-8 and becomes U+FFFD.
    """
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        pass
    try:
        return _scrubbed(json.loads(data))
    except (ValueError, RecursionError):
        return None


def _scrubbed(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    if isinstance(value, list):
        return [_scrubbed(item) for item in value]
    if isinstance(value, dict):
        return {_scrubbed(key): _scrubbed(item) for key, item in value.items()}
    return value
