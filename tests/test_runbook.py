"""The runbook names nothing that does not exist: whoever reads it at night must not search in vain.

Whatever stands in backticks in docs/operations/runbook.md is looked up: as a metric, a line of the
log, a setting, a code, a route, a command. What is none of these has its reason in `OTHERS`.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from importlib import import_module
from itertools import chain

import click

from service.application import CODES, create_app
from service.cli import main
from service.events import ERROR_CODES, Complete, Done, Metadata, Timings
from service.meter import Meter
from service.metrics.names import METRICS
from service.question import QuestionBody
from service.settings import Settings, settings_by_table
from tests.command import ROOT
from tests.markdown import blocks, section, tables

PAGE = ROOT / "docs" / "operations" / "runbook.md"
DEPLOYING = ROOT / "docs" / "deploying.md"
TEXT = PAGE.read_text(encoding="utf-8")
BLOCKS = list(blocks(PAGE))
PROSE = re.sub(r"^```.*?^```$", "", TEXT, flags=re.MULTILINE | re.DOTALL)
SPANS = sorted({" ".join(span.split()) for span in re.findall(r"`([^`]+)`", PROSE)})
CODE = "\n".join(block.text for block in BLOCKS)

NAMES = {f"{name}_total" if it.kind == "counter" else name for name, it in METRICS.items()}
"""As they are read."""
LABELS = set(chain.from_iterable(metric.labels for metric in METRICS.values()))

OTHERS = {
    # Of the log, HTTP, and the stream.
    *("reason", "client", "key_name", "client_gone", "X-Comparison-Id", "Host", ": ping", "detail"),
    *("X-Accel-Buffering", "proxy_ignore_headers", "text/event-stream"),
    # Reasons of "client cut", which the source has.
    *("write_timeout", "connections", "resets_or_idle_frames"),
    # What the clients of docs/clients.md say.
    "cut",
    # The system's, and other people's programs.
    *("LimitNOFILE", "TimeoutStopSec", "dmesg", "hypercorn.toml", "SYS_PTRACE", "dump", "record"),
    *(
        "systemctl stop",
        "systemctl reload compare-stream",
        "systemctl show -p Environment compare-stream",
        "ss -ltnp",
    ),
    "pip install py-spy",
    # The beginning of a suffix and of a line.
    *("_FILE", "compare-stream:"),
}


def literals(name: str) -> Iterator[str]:
    """The first arguments of the calls `log.<name>(...)` in the service."""
    for path in (ROOT / "service").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr == name
                and ast.unparse(node.func.value).endswith("log")
                and node.args
                and isinstance(node.args[0], ast.Constant)
            ):
                yield str(node.args[0].value)


def logged() -> set[str]:
    """Every `event` that the log may hold."""
    levels = ("debug", "info", "warning", "error", "exception")
    lost = re.findall(r'"event": "([^"]+)"', (ROOT / "service/log_outlet.py").read_text())
    return {*chain.from_iterable(map(literals, levels)), *lost}


def fields_of_the_log() -> set[str]:
    """What the table of events says that lines hold."""
    [rows] = tables(section(DEPLOYING, "## Logs"))
    return set(re.findall(r"`(\w+)`", " ".join(row[2] for row in rows)))


EVENTS = logged()
SETTINGS = {setting.name for settings in settings_by_table().values() for setting in settings}
RULES = [rule.rule for rule in create_app(Settings()).url_map.iter_rules()]
ROUTES = {re.sub(r"<(?:\w+:)?\w+>", "{}", rule) for rule in RULES}
SOURCE = "".join(path.read_text() for path in (ROOT / "service").rglob("*.py"))
CODES_OF_REFUSALS = {*CODES.values(), *re.findall(r'(?:Refusal|Denial)\(\s*\d+,\s*"(\w+)"', SOURCE)}
FIELDS = {
    *chain.from_iterable(s.__struct_fields__ for s in (Complete, Done, Metadata, QuestionBody)),
    *Timings.__struct_fields__,
}


[STARTS] = tables(section(PAGE, "## The service does not start"))
"""Exit code, line, what to do."""


def metrics_in(text: str) -> set[str]:
    return set(re.findall(r"\b(?:compare|process|gen_ai_client)_[a-z_]+\b", text))


def is_metric(span: str) -> bool:
    names = metrics_in(span)
    labels = set(re.findall(r"[{,]\s*(\w+)", span))
    return bool(names) and names <= NAMES and labels <= LABELS


def is_line_of_the_log(span: str) -> bool:
    if found := re.fullmatch(r'"event": "([^"]+)"', span):
        return found[1] in EVENTS
    found = re.fullmatch(r'"outcome": "(\w+)"', span)
    return found is not None and f'"{found[1]}"' in SOURCE


def is_setting(span: str) -> bool:
    return span.partition(" = ")[0] in SETTINGS


def is_route(span: str) -> bool:
    path = re.sub(r"\{\w+\}", "{}", span.removeprefix("GET ").removeprefix("DELETE "))
    return path in ROUTES


def is_command(span: str) -> bool:
    return bool(commands_in(span)) and all(map(exists, commands_in(span)))


def is_option(span: str) -> bool:
    return any(span.split()[0] in options(name) for name in main.list_commands(click.Context(main)))


def is_variable(span: str) -> bool:
    return re.fullmatch(r"COMPARE_[A-Z]+(=\d)?", span) is not None and span.split("=")[0] in SOURCE


def is_start_of_an_error(span: str) -> bool:
    return f"`{span}`" in (row[1] for row in STARTS)


def commands_in(text: str) -> list[list[str]]:
    return [line.split() for line in re.findall(r"^compare-stream ([a-z][^#|\n]*)", text, re.M)]


def options(command: str) -> set[str]:
    found = main.get_command(click.Context(main), command)
    assert found is not None
    return {*chain.from_iterable(parameter.opts for parameter in found.params)}


def exists(words: list[str]) -> bool:
    if main.get_command(click.Context(main), words[0]) is None:
        return False
    return {word for word in words if word.startswith("--")} <= options(words[0])


KINDS = (
    *(is_metric, is_line_of_the_log, is_setting, is_route, is_command, is_option, is_variable),
    *(is_start_of_an_error, ERROR_CODES.__contains__, CODES_OF_REFUSALS.__contains__),
    *(
        LABELS.__contains__,
        FIELDS.__contains__,
        fields_of_the_log().__contains__,
        OTHERS.__contains__,
    ),
)


def test_what_the_runbook_names_exists() -> None:
    assert len(SPANS) > 100
    assert [span for span in SPANS if not any(kind(span) for kind in KINDS)] == []


def test_so_do_the_metrics_outside_of_backticks_and_the_commands_to_run() -> None:
    assert metrics_in(TEXT) <= NAMES
    commands = commands_in(CODE)
    assert len(commands) >= 5
    for words in commands:
        assert exists(words), words
    for module in re.findall(r"python -m (tests\.\w+)", TEXT):
        assert import_module(module)


def test_what_does_not_exist_is_not_taken_for_something_that_does() -> None:
    for wrong in (
        *("compare_comparisons_runing", "compare_models_ended_total{colour}", "GET /readyness"),
        *('"event": "client cute"', "max_comparison", "compare-stream chek", "ratelimited"),
        *("compare-stream check --jsn", "--reuse-prot", "COMPARE_DEBUGS"),
    ):
        assert not any(kind(wrong) for kind in KINDS), wrong


def test_every_error_code_of_a_model_has_its_row() -> None:
    told = set(re.findall(r"`(\w+)`", section(PAGE, "## Models of one provider fail")))
    ours = {"cancelled", "server_shutdown"}  # somebody wanted it
    rare = {"empty_response", "frame_too_large"}
    assert {*ERROR_CODES} - told - ours - rare == set()


def test_every_reason_for_which_a_client_is_cut_has_its_row() -> None:
    [rows] = tables(section(PAGE, "## Clients are cut"))
    assert [row[0].strip("`") for row in rows] == [*Meter().cuts]
    told = re.findall(r'"client cut", reason="(\w+)"|tell_of_a_cut\(\s*"(\w+)"', SOURCE)
    assert set(chain.from_iterable(told)) - {""} == set(Meter().cuts)


def test_the_log_has_no_line_that_the_table_of_events_does_not_name() -> None:
    [rows] = tables(section(DEPLOYING, "## Logs"))
    told = chain.from_iterable(re.findall(r"`([^`]+)`", row[0]) for row in rows)
    assert set(told) == EVENTS
