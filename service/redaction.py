"""Words from outside, made fit to show: one line, printable, and never with a key in it."""

from __future__ import annotations

import re

__all__ = ["hide_keys", "presentable"]

HIDDEN = "[hidden]"
LONGEST_LOOKED_AT = 64 * 1024
"""Characters; an error of a megabyte would hold everybody up while it is searched for keys."""

# What keys look like at the providers we know, and where any key may stand in a URL or a header.
# A provider may quote a key partly masked (`sk-ab***yz`), hence the asterisks.
_KEYS = re.compile(
    r"""(?ix)
      \b (?: sk | csk | pk | rk | gsk | xai | hf ) [-_] [A-Za-z0-9_*.\-]{6,}
    | \b AIza [A-Za-z0-9_*\-]{10,}
    | (?<= bearer\s ) \S+
    | (?<= x-api-key:\s ) \S+
    | (?<= [?&]key= ) [^&\s"']+
    | (?<= api_key= ) [^&\s"']+
    | (?<= :// ) [^/\s@]+ (?= @ )
    """
)

_COLOURS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
"""A terminal's sequences: the letter at their end would hide that a key begins behind it."""


def hide_keys(text: str, *, secret: str | None = None) -> str:
    """`text` without `secret` and without anything that looks like a key."""
    if secret:
        text = text.replace(secret, HIDDEN)
    return _KEYS.sub(HIDDEN, text)


def presentable(text: str, *, secret: str | None = None, limit: int = 300) -> str:
    """`text` on one line of at most `limit` characters, without keys or control characters."""
    is_cut = len(text) > LONGEST_LOOKED_AT
    text = hide_keys(_COLOURS.sub(" ", text[:LONGEST_LOOKED_AT]), secret=secret)
    if is_cut:
        # At the end may be the beginning of a key, which no longer looks like one.
        text = text[: max(0, len(text) - len(secret or ""))]
    line = " ".join("".join(c if c.isprintable() else " " for c in text[: 4 * limit]).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"
