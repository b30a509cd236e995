"""As much of Markdown as a test of the documentation needs: fenced blocks, sections, tables."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Block", "anchors", "blocks", "links", "section", "tables"]

_FENCED = re.compile(
    r"(?:^<!-- not run:(?P<reason>[^\n]*)-->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
_HEADING = re.compile(r"^(#+) (.+)$", re.MULTILINE)
_LINK = re.compile(r"\]\(([^)\s]+)\)")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block, and where it stands."""

    page: Path
    line: int
    language: str
    text: str
    not_run: str | None
    """The reason that stands before it; None: it is run."""

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


def blocks(page: Path) -> Iterator[Block]:
    """The fenced blocks of a page."""
    text = page.read_text(encoding="utf-8")
    for found in _FENCED.finditer(text):
        line = text.count("\n", 0, found.start("text"))
        reason = found["reason"]
        yield Block(
            page, line, found["language"], found["text"], reason.strip() if reason else reason
        )


def section(page: Path, heading: str) -> str:
    """The text under a heading, up to the next one of whatever level."""
    text = _FENCED.sub("", page.read_text(encoding="utf-8"))
    _, _, rest = text.partition(f"\n{heading}\n")
    assert rest, f"{page.name} has no heading {heading!r}"
    return _HEADING.split(rest, maxsplit=1)[0]


def tables(text: str) -> list[list[list[str]]]:
    """The tables in a text: each a list of rows, each a list of cells, without the head."""
    found: list[list[list[str]]] = []
    inside = False
    for line in text.splitlines():
        if not line.startswith("|"):
            inside = False
        elif not inside:
            inside = True
            found.append([])
        else:
            found[-1].append([cell.strip() for cell in line.strip("|").split("|")])
    return [rows[1:] for rows in found]  # the first is the rule under the head


def links(page: Path) -> list[str]:
    """The targets of all links."""
    return _LINK.findall(_FENCED.sub("", page.read_text(encoding="utf-8")))


def anchors(page: Path) -> set[str]:
    """What links may name behind `#`, as GitHub makes it from the headings."""
    text = _FENCED.sub("", page.read_text(encoding="utf-8"))
    titles = (title for _, title in _HEADING.findall(text))
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
