"""The log: one line per fact, JSON when nobody watches, keys never."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from service import log


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def restored_configuration() -> Iterator[None]:
    before = structlog.get_config()
    yield
    structlog.configure(**before)


def written(output: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.getvalue().splitlines()]


def test_a_line_is_one_json_object_when_nobody_watches() -> None:
    output = io.StringIO()
    log.configure(output=output)
    structlog.get_logger().info("model ended", model="a\nb", chunks=3)
    [line] = written(output)
    assert (line["event"], line["model"], line["chunks"]) == ("model ended", "a b", 3)
    assert line["level"] == "info"
    assert line["timestamp"].endswith("Z")


def test_a_terminal_gets_lines_for_people() -> None:
    output = Terminal()
    log.configure(output=output)
    structlog.get_logger().info("model ended", model="a")
    assert "model ended" in output.getvalue()
    assert not output.getvalue().startswith("{")


def test_lines_below_the_level_are_not_written() -> None:
    output = io.StringIO()
    log.configure("warning", output=output)
    structlog.get_logger().info("no")
    structlog.get_logger().warning("yes")
    assert [line["event"] for line in written(output)] == ["yes"]


@pytest.mark.parametrize("output", [io.StringIO(), Terminal()], ids=["json", "terminal"])
def test_keys_are_written_nowhere_not_even_in_a_traceback(output: io.StringIO) -> None:
    log.configure(secrets=["plainsecret"], output=output)

    def refuse() -> None:
        raise ValueError("refused plainsecret and sk-or-v1-0123456789abcdef")

    try:
        refuse()
    except ValueError:
        structlog.get_logger().exception("failed", header="Bearer plainsecret", url="?key=abc123")
    assert "ValueError" in output.getvalue()
    for secret in ("plainsecret", "0123456789abcdef", "abc123"):
        assert secret not in output.getvalue()


def test_control_characters_from_outside_do_not_reach_a_terminal() -> None:
    output = Terminal()
    log.configure(output=output)
    structlog.get_logger().info("model ended", model="\x1b]0;owned\x07\x9b31m")
    assert "\x1b]0" not in output.getvalue()
    assert "\x07" not in output.getvalue()
    assert "\x9b" not in output.getvalue()


def test_keys_that_are_named_later_are_hidden_beside_those_before() -> None:
    output = io.StringIO()
    log.configure(secrets=["first"], output=output)
    log.hide(["first-and-more", ""])
    structlog.get_logger().info("said", words="first, first-and-more, other")
    [line] = written(output)
    assert line["words"] == "[hidden], [hidden], other"


def test_of_ever_more_keys_those_named_last_are_known() -> None:
    output = io.StringIO()
    log.configure(secrets=["in-use"], output=output)
    for number in range(2 * log.MOST_SECRETS):
        log.hide(["in-use", f"key-{number}-"])
    last = 2 * log.MOST_SECRETS - 1
    structlog.get_logger().info("said", words=f"key-0- key-{last}- in-use")
    [line] = written(output)
    assert line["words"] == "key-0- [hidden] [hidden]"


def test_hiding_where_no_log_is_configured_is_nothing() -> None:
    structlog.reset_defaults()
    log.hide(["secret"])
