"""A Prometheus scrapes a service at work, and every query of the board and the alerts is asked."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio

from service.surface import make_key
from service.testing import Wire, open_wire
from tests.board.files import alerts, board, recorded
from tests.board.known import SAMPLES, allowed
from tests.board.prometheus import Prometheus, Series, open_prometheus
from tests.clients import asking, connect, http1_request, read_until
from tests.command import running
from tests.test_serve import url_of
from tests.tools import require_tool

PATIENCE = 60
"""Seconds for all of it, on a machine that has other things to do; it takes some ten."""
ROUNDS = 2
MODELS = ("sim:swift", "sim:terse", "sim:fails", "priced:m")
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: %d\r\n\r\n"
PRICED = (
    b'data: {"choices":[{"delta":{"content":"one "}}]}\n\n'
    b'data: {"choices":[{"delta":{"content":"two"}}]}\n\n'
    b'data: {"choices":[{"delta":{},"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":10,"completion_tokens":2,"cost":0.25}}\n\n'
    b"data: [DONE]\n\n"
)
SETTINGS = """
[providers.sim]
dialect = "simulated"
speed = 20
max_concurrency = 4

[providers.priced]
dialect = "openai"
flavour = "openrouter"
base_url = "{base_url}"

[catalogue]
refresh = 0

[server.api_keys]
prometheus = "{digest}"
"""

QUERIES = {
    target["expr"]: f"{panel['title']}: {target['legendFormat']}"
    for panel in board()["panels"]
    for target in panel.get("targets", ())
}
MARKS = [mark["expr"] for mark in board()["annotations"]["list"]]
CHOICES = [each["definition"] for each in board()["templating"]["list"] if each["type"] == "query"]
WINDOWS = {"$__rate_interval": "1m", "$__range": "5m"}


def chosen(query: str, instance: str) -> str:
    """The query as Grafana sends it, with this address chosen, and all models."""
    values = {**WINDOWS, "$job": "compare-stream", "$instance": re.escape(instance)}
    for name, value in {**values, "$provider": ".*", "$model": ".*"}.items():
        query = query.replace(name, value.replace("\\", "\\\\"))
    assert not re.search(r"\$[a-z_{]", query), query
    return query


@dataclass(frozen=True, slots=True)
class Scraped:
    """What Prometheus knows in the end."""

    answers: Mapping[str, list[Series]]
    """By query, as the board and the rules have it."""
    samples: Mapping[str, list[Series]]
    """By name."""
    choices: Mapping[str, list[str]]
    rules: list[dict[str, Any]]

    def tells(self, query: str) -> bool:
        """Whether a query has an answer that is a number."""
        return any(math.isfinite(each.value) for each in self.answers[query])

    def sum(self, name: str, **labels: str) -> float:
        """Of the samples with these labels."""
        wanted = labels.items()
        return sum(each.value for each in self.samples[name] if wanted <= each.labels.items())


@pytest.fixture(scope="module")
def scraped(tmp_path_factory: pytest.TempPathFactory) -> Scraped:
    program = require_tool("prometheus")
    return trio.run(scrape, program, tmp_path_factory.mktemp("prometheus"))


async def scrape(program: str, folder: Path) -> Scraped:
    key, digest = make_key()
    with trio.fail_after(PATIENCE):
        async with open_wire(HEAD % len(PRICED) + PRICED) as wire:
            config = write_settings(folder, wire, digest)
            async with running("serve", "--config", config, "--bind", "127.0.0.1:0") as service:
                url = await url_of(service)
                address = url.removeprefix("http://")
                async with open_prometheus(program, folder, address, key=key) as prometheus:
                    return await work_and_look(prometheus, url, key)
    raise AssertionError("unreachable")


def write_settings(folder: Path, wire: Wire, digest: str) -> str:
    path = folder / "compare.toml"
    path.write_text(SETTINGS.format(base_url=wire.base_url, digest=digest))
    return str(path)


async def work_and_look(prometheus: Prometheus, url: str, key: str) -> Scraped:
    instance = url.removeprefix("http://")
    for done in range(1, ROUNDS + 1):
        await work(url, key)
        # In each round the same happens, so when this has been seen all has.
        await prometheus.until(f"sum(compare_comparisons_ended_total) >= {3 * done}")
    # What is recorded is seen one scrape later, and an increase needs two scrapes of a count.
    await prometheus.until("count_over_time(job_provider:compare_answers_failed:ratio_5m[1m]) > 2")
    queries = [*QUERIES, *MARKS, *(rule.expr for rule in [*recorded(), *alerts()])]
    return Scraped(
        answers={query: await prometheus.ask(chosen(query, instance)) for query in queries},
        samples={name: await prometheus.ask(name) for name in SAMPLES},
        choices={choice: await values_of(prometheus, choice, instance) for choice in CHOICES},
        rules=await prometheus.rules(),
    )


async def values_of(prometheus: Prometheus, choice: str, instance: str) -> list[str]:
    found = re.fullmatch(r"label_values\((.+), (\w+)\)", chosen(choice, instance))
    assert found is not None
    return await prometheus.values(found[2], found[1])


async def work(url: str, key: str) -> None:
    """Two comparisons that end, one of whose models fails; one that is left; one refusal."""
    headers = {"Authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(headers=headers, timeout=PATIENCE) as client:
        for path in ("/compare-stream", "/compare"):
            response = await client.post(f"{url}{path}", json=asking(*MODELS))
            assert response.status_code == 200
        assert (await client.post(f"{url}/compare", json=asking())).status_code == 400
    async with await connect(url) as leaves:
        known = f"\r\nAuthorization: Bearer {key}\r\n".encode()
        await leaves.send_all(http1_request("sim:stalls").replace(b"\r\n", known, 1))
        await read_until(leaves, b'"chunk"')


def test_every_query_of_the_board_has_an_answer(scraped: Scraped) -> None:
    assert [title for query, title in QUERIES.items() if not scraped.tells(query)] == []


def test_every_figure_that_is_recorded_for_the_alerts_has_an_answer(scraped: Scraped) -> None:
    assert [rule.name for rule in recorded() if not scraped.tells(rule.expr)] == []


def test_prometheus_can_work_every_rule_out_and_no_alert_fires(scraped: Scraped) -> None:
    names = [rule.name for rule in [*recorded(), *alerts()]]
    assert sorted(rule["name"] for rule in scraped.rules) == sorted(names)
    for rule in scraped.rules:
        assert rule["health"] == "ok", rule
        assert rule.get("state") != "firing", rule


def test_every_choice_has_something_to_choose(scraped: Scraped) -> None:
    job, instance, provider, model = (scraped.choices[choice] for choice in CHOICES)
    assert job == ["compare-stream"]
    assert len(instance) == 1
    assert provider == ["priced", "sim"]
    assert set(model) >= {"m", "sim:swift", "sim:terse"}


def test_the_figures_are_what_was_done(scraped: Scraped) -> None:
    ended = "compare_models_ended_total"
    assert scraped.sum(ended, outcome="finished") == ROUNDS * 2 * 3
    assert scraped.sum(ended, outcome="failed") == ROUNDS * 2
    assert scraped.sum(ended, outcome="cancelled") == ROUNDS
    assert scraped.sum("compare_comparisons_ended_total", outcome="client_gone") == ROUNDS
    assert scraped.sum("compare_requests_refused_total") == ROUNDS
    assert scraped.sum("compare_cost_usd_total", estimated="false") == ROUNDS * 2 * 0.25
    (share,) = scraped.answers[next(q for q in QUERIES if "vector(0)" in q)]
    assert share.value == pytest.approx(0.25, abs=0.1)


def test_no_label_holds_what_the_check_of_queries_does_not_know(scraped: Scraped) -> None:
    for name, series in scraped.samples.items():
        for each in series:
            own = SAMPLES[name].labels
            assert each.labels.keys() - {"__name__"} <= own
            for label in own:
                values = allowed(name, label)
                assert values is None or each.labels.get(label, "") in values, each


def test_all_that_a_query_may_select_is_scraped(scraped: Scraped) -> None:
    assert not [name for name, series in scraped.samples.items() if not series]
