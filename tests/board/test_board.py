"""The board for Grafana: its queries ask for what is there, and its panels can be read."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.board.checking import labels_of
from tests.board.files import ALERTS, BOARD, board, samples
from tests.board.grafana import WIDTH
from tests.board.known import SAMPLES
from tests.board.panels import written
from tests.board.promql import Selector, parse, walk
from tests.board.queries import WHOLE

PANELS: list[dict[str, Any]] = [p for p in board()["panels"] if p["type"] != "row"]
TARGETS = [
    pytest.param(panel, target, id=f"{panel['title']}: {target['legendFormat']}")
    for panel in PANELS
    for target in panel["targets"]
]
VARIABLES = board()["templating"]["list"]
UNITS = {"short", "s", "percentunit", "bytes", "Bps", "cps", "currencyUSD", "dateTimeFromNow"}
"""Of Grafana's units those that the board uses: one that Grafana does not know is a bare number."""


def test_the_file_is_what_its_source_makes() -> None:
    assert BOARD.read_text() == written(), "python -m tests.board"


# --- the queries ---


@pytest.mark.parametrize(("panel", "target"), TARGETS)
def test_a_query_asks_for_what_is_there_and_its_legend_names_what_it_has(
    panel: dict[str, Any], target: dict[str, Any]
) -> None:
    labels = labels_of(target["expr"], samples())
    named = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
    assert named <= labels
    if panel["type"] == "timeseries":
        assert named == labels, "two lines would have one name"


def test_every_metric_is_on_the_board() -> None:
    asked = {
        node.name
        for panel in PANELS
        for target in panel["targets"]
        for node in walk(parse(target["expr"]))
        if isinstance(node, Selector)
    }
    families = {re.sub("_(bucket|count|sum)$", "", name) for name in asked}
    missing = {re.sub("_(bucket|count|sum)$", "", name) for name in SAMPLES} - families
    assert missing == {"up"}


def test_every_query_is_about_what_is_chosen_at_the_top() -> None:
    for panel in PANELS:
        for target in panel["targets"]:
            for node in walk(parse(target["expr"])):
                if not isinstance(node, Selector):
                    continue
                chosen = {m.label: m.value for m in node.matchers if m.value.startswith("$")}
                assert chosen["job"] == "$job"
                assert chosen["instance"] == "$instance"
                labels = SAMPLES[node.name].labels
                assert ("provider" in labels) == ("provider" in chosen), panel["title"]
                assert ("gen_ai_request_model" in labels) == ("gen_ai_request_model" in chosen)


def test_the_choices_are_labels_that_are_there_and_each_is_used() -> None:
    source, *others = VARIABLES
    assert (source["name"], source["type"], source["query"]) == (
        "datasource",
        "datasource",
        "prometheus",
    )
    known = {"datasource"}
    for variable in others:
        query = variable["query"]["query"]
        assert variable["definition"] == query
        found = re.fullmatch(r"label_values\((.+), (\w+)\)", query)
        assert found is not None
        assert found[2] in labels_of(found[1], SAMPLES, raw_counters=True)
        assert set(re.findall(r"\$(\w+)", query)) <= known, "it depends on one before it"
        known.add(variable["name"])
    used = set(re.findall(r"\$\{?([a-z]+)\}?", BOARD.read_text()))
    assert used == known


def test_the_board_and_the_alerts_leave_out_the_same_failures() -> None:
    left_out = set(re.findall(r'code!~"([^"]+)"', ALERTS.read_text()))
    assert left_out == set(re.findall(r'code!~"([^"]+)"', WHOLE))


# --- the panels ---


def test_no_panel_lies_on_another_and_none_sticks_out() -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in board()["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= WIDTH
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert (x, y) not in taken, f"{panel['title']} lies on {taken[x, y]}"
                taken[x, y] = panel["title"]


def test_the_board_is_of_a_model_that_grafana_reads() -> None:
    whole = board()
    assert whole["id"] is None, "Grafana gives it one"
    assert re.fullmatch(r"[\w-]{1,40}", whole["uid"])
    assert whole["schemaVersion"] == 38
    assert whole["refresh"] == "10s"
    assert whole["refresh"] in whole["timepicker"]["refresh_intervals"]
    numbers = [panel["id"] for panel in whole["panels"]]
    assert len(set(numbers)) == len(numbers)
    assert all(panel["panels"] == [] for panel in whole["panels"] if panel["type"] == "row")


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_a_panel_says_what_it_means_and_has_a_unit_a_source_and_ascending_limits(
    panel: dict[str, Any],
) -> None:
    assert len(panel["description"]) > 60
    assert panel["description"].endswith(".")
    assert panel["datasource"]["uid"] == "${datasource}"
    references = [target["refId"] for target in panel["targets"]]
    assert sorted(set(references)) == references
    for target in panel["targets"]:
        assert target["datasource"] == panel["datasource"]
        assert target["format"] == ("heatmap" if panel["type"] == "heatmap" else "time_series")
    if panel["type"] == "heatmap":
        assert panel["options"]["yAxis"]["unit"] in UNITS
        return
    defaults = panel["fieldConfig"]["defaults"]
    assert defaults["unit"] in UNITS
    first, *steps = defaults["thresholds"]["steps"]
    assert first == {"color": "green", "value": None}
    values = [step["value"] for step in steps]
    assert values == sorted(values)


def test_a_title_names_one_panel() -> None:
    titles = [panel["title"] for panel in PANELS]
    assert len(set(titles)) == len(titles)
