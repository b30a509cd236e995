"""The tables of docs/settings.md, made from the settings' types: `python -m tests.settings_page`.

A table stands between two marks, `<!-- settings: limits -->` and `<!-- end -->`; what is around it
is written by hand.
"""

from __future__ import annotations

import re
from pathlib import Path

from service.settings import markdown, settings_by_table
from tests.command import ROOT

__all__ = ["PAGE", "made_anew", "tables_of"]

PAGE = ROOT / "docs" / "settings.md"
_MARKED = re.compile(r"(<!-- settings: (\S+) -->\n).*?(<!-- end -->\n)", re.DOTALL)
_TOP = "top"


def tables_of(page: Path) -> list[str]:
    """The tables that a page has a place for, in its order."""
    return [name for _, name, _ in _MARKED.findall(page.read_text(encoding="utf-8"))]


def made_anew(page: Path) -> str:
    """The page's text, with its tables as the types have it."""
    by_table = {name or _TOP: settings for name, settings in settings_by_table().items()}
    text = page.read_text(encoding="utf-8")
    return _MARKED.sub(lambda mark: mark[1] + markdown(by_table[mark[2]]) + mark[3], text)


if __name__ == "__main__":
    PAGE.write_text(made_anew(PAGE), encoding="utf-8")
