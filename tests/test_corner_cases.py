"""The rows of docs/corner-cases.md and the tests that are named by them: the same on both sides."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests.command import ROOT
from tests.markdown import section, tables

PAGE = ROOT / "docs" / "corner-cases.md"
HEADINGS = {
    "## S: a stream of events": "S",
    "## V: a provider's answer": "V",
    "## U and C: faults of providers and of clients": "UC",
}

# A name may stand between underscores, so `\b` would not find it.
NAMED = re.compile(r"(?<![^\W_])([SVUC])-?(\d\d)(?![^\W_])")


def rows_in(text: str) -> list[str]:
    """The rows that a text names, spelt as the document does."""
    return [
        f"{kind}{number}" if kind in "SV" else f"{kind}-{number}"
        for kind, number in NAMED.findall(text)
    ]


def words_of(path: Path) -> Iterator[str]:
    """What tests can be named by: names of tests and all texts, ids and docstrings among them."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                if name.startswith("test_"):
                    yield name
            case ast.Constant(value=str(text)):
                yield text


def documented() -> dict[str, list[str]]:
    """The first column of each table, by the kinds of rows that it holds."""
    found = {}
    for heading, kinds in HEADINGS.items():
        (table,) = tables(section(PAGE, heading))
        found[kinds] = [row[0] for row in table]
    return found


ROWS = [row for rows in documented().values() for row in rows]
NAMED_BY_TESTS = {
    row: path.name
    for path in sorted((ROOT / "tests").glob("*.py"))
    for words in words_of(path)
    for row in rows_in(words)
}


def test_every_row_that_a_test_names_is_in_the_document() -> None:
    assert {row: name for row, name in NAMED_BY_TESTS.items() if row not in ROWS} == {}


def test_every_row_of_the_document_is_named_by_a_test() -> None:
    assert [row for row in ROWS if row not in NAMED_BY_TESTS] == []


def test_the_rows_are_in_order_and_none_comes_twice() -> None:
    for kinds, rows in documented().items():
        assert rows == sorted(set(rows), key=lambda row: (kinds.index(row[0]), row))


def test_every_row_says_what_arrives_and_what_comes_of_it() -> None:
    for heading in HEADINGS:
        for table in tables(section(PAGE, heading)):
            for row in table:
                assert len(row) == 3, row
                assert all(row), row
                assert rows_in(row[0]) == [row[0]]
