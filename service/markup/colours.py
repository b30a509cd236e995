"""Code with the classes by which a page colours it.

Pygments works by regular expressions, and while one of them is at work nothing else runs in this
process: C with 20 000 spaces in a row is more than eight seconds for one expression. So only
languages are coloured that people ask models for, only code of a usual shape, and no longer than
for a moment in all: what is left then has no colours, but is all there.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from functools import cache
from html import escape
from typing import Any

from pygments.formatters import HtmlFormatter
from pygments.lexer import Lexer
from pygments.lexers import get_lexer_by_name
from pygments.token import STANDARD_TYPES, Text

__all__ = ["CLASSES", "COLOURING_SECONDS", "LANGUAGES", "LONGEST_CODE", "Palette"]

COLOURING_SECONDS = 0.3
"""Of the thread's own time, for all the code of a text."""
LONGEST_CODE = 20_000
"""Characters of one block, some 500 lines; an expression's worst case grows with their square."""

UNUSUAL = re.compile(r"\s{101}")
"""Code that is not coloured: no one indents so far, and expressions with two `\\s*` in a row take a
time that grows with the square of it. A hundred are a millisecond."""

CLASSES = frozenset(name for name in STANDARD_TYPES.values() if name)
"""All that a coloured word may have, as Pygments' own style sheets name them."""

LANGUAGES = {
    **dict.fromkeys(("bash", "sh", "shell", "zsh"), "bash"),
    **dict.fromkeys(("c", "h"), "c"),
    **dict.fromkeys(("cpp", "c++", "cc", "hpp"), "cpp"),
    **dict.fromkeys(("csharp", "c#", "cs"), "csharp"),
    **dict.fromkeys(("diff", "patch"), "diff"),
    **dict.fromkeys(("docker", "dockerfile"), "docker"),
    **dict.fromkeys(("go", "golang"), "go"),
    **dict.fromkeys(("haskell", "hs"), "haskell"),
    **dict.fromkeys(("javascript", "js", "jsx", "mjs"), "javascript"),
    **dict.fromkeys(("json", "jsonc"), "json"),
    **dict.fromkeys(("kotlin", "kt"), "kotlin"),
    **dict.fromkeys(("make", "makefile"), "make"),
    **dict.fromkeys(("python", "py", "python3"), "python"),
    **dict.fromkeys(("ruby", "rb"), "ruby"),
    **dict.fromkeys(("rust", "rs"), "rust"),
    **dict.fromkeys(("typescript", "ts", "tsx"), "typescript"),
    **dict.fromkeys(("yaml", "yml"), "yaml"),
    **{
        name: name
        for name in (
            *("console", "css", "elixir", "html", "ini", "java", "lua", "php", "pycon", "r"),
            *("scala", "sql", "swift", "toml", "xml"),
        )
    },
}
"""A fence's word for a language, and Pygments' name for it."""


class Palette:
    """The colours of one text's code, and the time that is left for them."""

    def __init__(self) -> None:
        self._left = COLOURING_SECONDS

    def html_of(self, code: str, language: str) -> str:
        """`code`, escaped, its words in `span`s with classes where the language is known."""
        name = LANGUAGES.get(language)
        unusual = len(code) > LONGEST_CODE or UNUSUAL.search(code) is not None
        if name is None or unusual or self._left <= 0:
            return escape(code)
        began = time.thread_time()
        html: str = _written(_in_time(_lexer(name), code, began + self._left))
        self._left -= time.thread_time() - began
        return html


def _in_time(lexer: Lexer, code: str, until: float) -> Iterator[tuple[Any, str]]:
    """The words of `code` with their kinds; all that is left as one word when time is over."""
    reached = 0
    for start, kind, word in lexer.get_tokens_unprocessed(code):
        if time.thread_time() > until:
            break
        yield kind, word
        reached = start + len(word)
    if reached < len(code):
        yield Text, code[reached:]


def _written(words: Iterator[tuple[Any, str]]) -> str:
    pieces: list[str] = []

    class Pieces:
        write = staticmethod(pieces.append)

    HtmlFormatter(nowrap=True).format(words, Pieces)
    return "".join(pieces)


@cache
def _lexer(name: str) -> Lexer:
    return get_lexer_by_name(name)
