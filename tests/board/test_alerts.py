"""The alerts: they ask for what is there, fire when they should, and say what to do."""

from __future__ import annotations

import json
import re
import subprocess
from collections import defaultdict
from pathlib import Path

import pytest

from tests.board.cases import CASES, Case
from tests.board.checking import labels_of
from tests.board.files import ALERTS, OPERATIONS, SCRAPE, Rule, alerts, read_yaml, recorded, samples
from tests.command import ROOT
from tests.markdown import anchors, blocks
from tests.tools import require_tool

PAGE = OPERATIONS / "monitoring.md"
RULES = [*recorded(), *alerts()]


def promtool(*arguments: str | Path) -> str:
    """What promtool says; the test fails when it has something against it."""
    ended = subprocess.run(
        [require_tool("promtool"), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


# --- what can be known without data ---


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_a_rule_asks_for_what_is_there(rule: Rule) -> None:
    labels = labels_of(rule.expr, samples(), raw_counters=rule.grows)
    assert "job" in labels, "two services in one Prometheus would be one"
    for text in rule.annotations.values():
        assert set(re.findall(r"\$labels\.(\w+)", text)) <= labels


def test_what_is_recorded_is_used_and_named_for_its_labels() -> None:
    for rule in recorded():
        used = [other for other in RULES if re.search(rf"{rule.name}(?![\w:])", other.expr)]
        assert used, rule.name
        level, _, _ = rule.name.split(":")
        told = {"job", *level.split("_")}
        assert labels_of(rule.expr, samples(), raw_counters=rule.grows) == told


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: alert.name)
def test_an_alert_says_what_is_wrong_what_to_do_and_how_urgent_it_is(alert: Rule) -> None:
    assert alert.labels["severity"] in ("critical", "warning")
    assert list(alert.annotations) == ["summary", "description", "do", "runbook"]
    for text in alert.annotations.values():
        assert text
    for name in ("summary", "description", "do"):
        assert alert.annotations[name][-1] in ".?"


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: alert.name)
def test_the_runbook_of_an_alert_is_a_heading_that_is_there(alert: Rule) -> None:
    path, _, anchor = alert.annotations["runbook"].partition("#")
    assert anchor in anchors(ROOT / path)


def test_the_page_names_every_alert_and_no_other() -> None:
    told = re.findall(r"^\| `(CompareStream\w+)`", PAGE.read_text(), re.MULTILINE)
    assert told == [alert.name for alert in alerts()]
    severities = re.findall(r"^\| `CompareStream\w+` \| (\w+) ", PAGE.read_text(), re.MULTILINE)
    assert severities == [alert.labels["severity"] for alert in alerts()]


# --- as Prometheus reads them ---


def test_prometheus_takes_the_rules_and_the_example_of_a_scrape() -> None:
    assert f"{len(RULES)} rules found" in promtool("check", "rules", "--lint-fatal", ALERTS)
    promtool("check", "config", SCRAPE)


def test_prometheus_takes_the_examples_of_the_page(tmp_path: Path) -> None:
    examples = [read_yaml(block.text) for block in blocks(PAGE) if block.language == "yaml"]
    scrapes = [example for example in examples if "scrape_configs" in example]
    assert scrapes
    for number, scrape in enumerate(scrapes):
        for job in scrape["scrape_configs"]:
            job.pop("kubernetes_sd_configs", None)  # Debian's Prometheus is built without it
        path = tmp_path / f"{number}.yaml"
        path.write_text(json.dumps(scrape))
        promtool("check", "config", "--syntax-only", path)


def test_every_alert_has_a_case_in_which_it_fires_and_one_in_which_it_does_not() -> None:
    seen: dict[str, set[bool]] = defaultdict(set)
    for case in CASES:
        seen[case.alert].add(bool(case.fires))
    assert dict(seen) == {alert.name: {True, False} for alert in alerts()}


def needed_by(alert: Rule) -> list[dict[str, object]]:
    """The alert, and before it what is recorded for it; with all rules it takes far longer."""
    rules: list[dict[str, object]] = []
    wanted = alert.expr
    for rule in reversed(recorded()):
        if re.search(rf"{rule.name}(?![\w:])", wanted):
            rules.insert(0, {"record": rule.name, "expr": rule.expr})
            wanted += rule.expr
    return [*rules, alert.written()]


def as_promtool_has_it(case: Case, alert: Rule) -> dict[str, object]:
    firing = {"alertname": alert.name, "alertstate": "firing", **alert.labels}
    expected = [
        ", ".join(f'{name}="{value}"' for name, value in {**firing, **labels}.items())
        for labels in case.fires
    ]
    return {
        "name": str(case),
        "interval": "15s",
        "input_series": [
            {"series": name, "values": values} for name, values in case.series.items()
        ],
        "promql_expr_test": [
            {
                "expr": 'ALERTS{alertstate="firing"}',
                "eval_time": case.at,
                "exp_samples": [{"labels": f"ALERTS{{{each}}}", "value": 1} for each in expected],
            }
        ],
    }


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: alert.name)
def test_an_alert_fires_when_it_should_and_not_otherwise(alert: Rule, tmp_path: Path) -> None:
    rules, tests = tmp_path / "rules.yaml", tmp_path / "tests.yaml"  # JSON, which is YAML
    rules.write_text(json.dumps({"groups": [{"name": "one", "rules": needed_by(alert)}]}))
    cases = [as_promtool_has_it(case, alert) for case in CASES if case.alert == alert.name]
    tests.write_text(
        json.dumps({"rule_files": [str(rules)], "evaluation_interval": "15s", "tests": cases})
    )
    promtool("test", "rules", tests)
