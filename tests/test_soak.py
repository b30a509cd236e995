"""The soak's instrument: it lets a sound service pass, finds what is planted, and counts right.

`python -m tests.soak` is the instrument itself; docs/operations/soak.md has the figures of a run.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import trio
from click.testing import CliRunner

from tests.command import ROOT, environment
from tests.grammar import names_of
from tests.soak.__main__ import main
from tests.soak.deeds import KINDS, deed
from tests.soak.findings import Findings
from tests.soak.ledger import WAIT_SECONDS, Ledger
from tests.soak.metrics import parsed, quantile
from tests.soak.pace import allowed
from tests.soak.plans import Plan, plan
from tests.soak.sampling import Sample
from tests.soak.series import judge
from tests.soak.setup import CALM, MOODY
from tests.soak.slopes import Slope, binned, judged, theil_sen
from tests.soak.truth import ending_of, judge_part, judge_stream

HARNESS = (sys.executable, "-m", "tests.soak")
SHORT = ("--minutes", "0.1", "--rate", "5", "--gap", "5")
PLANTED = {
    "descriptor": "descriptors more than at the beginning",
    "memory": "MiB more at rest after the load",
    "line": "comparisons have not ended in the log",
    "chunk": "is not what was said",
}
"""What is planted, and the words in which it has to be found."""

# --- the whole instrument -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, str, Any, Path]]:
    """A sound service and one with everything planted, at the same time: they mostly wait."""
    folder = tmp_path_factory.mktemp("soak")
    begun = {}
    for name, more in {"sound": (), "planted": ("--plant", ",".join([*PLANTED, "task"]))}.items():
        files = "--json", str(folder / f"{name}.json"), "--chart", str(folder / f"{name}.svg")
        begun[name] = subprocess.Popen(
            [*HARNESS, *SHORT, "--seed", "1", *files, *more],
            cwd=ROOT,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
    ended = {}
    try:
        for name, process in begun.items():
            said, _ = process.communicate(timeout=120)
            told = folder / f"{name}.json"
            assert told.exists(), said
            chart = folder / f"{name}.svg"
            ended[name] = process.returncode, said, json.loads(told.read_text()), chart
    finally:
        for process in begun.values():
            if process.poll() is None:
                process.kill()
                process.communicate()
    return ended


linux = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="looks at Linux's /proc")


@linux
def test_a_sound_service_passes(runs: dict[str, Any]) -> None:
    code, said, told, _ = runs["sound"]
    assert told["wrong"]["first"] == []
    assert code == 0, said
    assert said.startswith("seed 1;"), said
    # It was asked in every way, and everything that it was asked was judged.
    assert told["log"]["comparisons"] >= 10
    assert len(told["clients"]) >= 5
    assert len(told["endings"]) >= 8
    assert told["canary"]["numbers"] > 100
    first, last = told["rests"]["rest before"], told["rests"]["rest after"]
    assert last["provider_busy"] == 0
    assert last["descriptors"] - last["provider_connections"] <= first["descriptors"]


@linux
@pytest.mark.parametrize("fault", PLANTED)
def test_what_is_planted_is_found(fault: str, runs: dict[str, Any]) -> None:
    code, said, told, _ = runs["planted"]
    assert code == 1, said
    assert any(PLANTED[fault] in what for what in told["wrong"]["first"]), said


@linux
def test_a_lost_task_is_found_where_the_service_tells_its_tasks(runs: dict[str, Any]) -> None:
    _, said, told, _ = runs["planted"]
    if told["rests"]["rest after"]["tasks"] is None:
        pytest.skip("this service has no /metrics")
    assert any("tasks more than at the beginning" in what for what in told["wrong"]["first"]), said


@linux
def test_the_chart_is_a_picture_for_light_and_dark(runs: dict[str, Any]) -> None:
    for _, _, _, chart in runs.values():
        root = ElementTree.fromstring(chart.read_text())
        assert root.tag.endswith("svg")
        assert "prefers-color-scheme: dark" in chart.read_text()
        assert len(root.findall(".//{*}polyline")) >= 6


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--minutes", "0"], "--minutes must be above 0, not 0"),
        (["--minutes", "nan"], "--minutes must be above 0, not nan"),
        (["--minutes", "1", "--rate", "-2"], "--rate must be above 0, not -2"),
        (["--minutes", "1", "--json", "/nowhere/x.json"], "/nowhere is no folder"),
        (["--minutes", "1", "--plant", "bomb"], "no such fault: bomb; there are "),
    ],
)
def test_a_wrong_argument_is_one_line_and_2(arguments: list[str], words: str) -> None:
    ran = CliRunner().invoke(main, arguments)
    assert ran.exit_code == 2
    assert ran.stdout == ""
    assert ran.stderr.startswith(f"tests.soak: {words}")
    assert ran.stderr.count("\n") == 1


# --- the rate -------------------------------------------------------------------------------------


def test_the_service_gets_three_fifths_of_a_core() -> None:
    assert allowed({"service": 0.03, "clients": 0.01}, cores=8, waited=0) == (20, "service")


def test_the_slower_part_of_the_harness_sets_the_rate() -> None:
    assert allowed({"service": 0.03, "clients": 0.06}, cores=8, waited=0) == (10, "clients")


def test_all_processes_together_leave_a_part_of_the_cores() -> None:
    costs = {"service": 0.02, "clients": 0.02, "providers": 0.01}
    rate, who = allowed(costs, cores=1, waited=0)
    assert rate == pytest.approx(16)
    assert who == "all of them together"


def test_where_others_have_the_cores_the_rate_is_lower() -> None:
    rate, who = allowed({"service": 0.03, "clients": 0.01}, cores=8, waited=0.75)
    assert (rate, who) == (5, "service, beside others on this machine,")


# --- slopes ---------------------------------------------------------------------------------------


def test_the_slope_of_a_line_is_exact() -> None:
    assert theil_sen([(x, 3 * x + 7) for x in range(10)]) == Slope(3, 3, 3)


def test_one_wild_value_does_not_move_the_slope() -> None:
    assert theil_sen([(x, 1000 if x == 4 else 2 * x) for x in range(11)]).middle == 2


def test_the_slope_is_the_median_of_those_between_all_pairs() -> None:
    # Between them: 1, 1, 1, 10, 14.5, 28.
    assert theil_sen([(0, 0), (1, 1), (2, 2), (3, 30)]) == Slope(5.5, 1, 28)


def test_the_interval_is_sens() -> None:
    # Ten values without ties: the variance of Kendall's sum is 125, 1.96 of its roots are 21.9, so
    # of 45 slopes the interval is from the 12th to the 34th (M1 = 11.5, M2 = 33.5, rounded).
    values = [0, 3, 1, 5, 2, 8, 4, 7, 6, 9]
    slopes = sorted((values[b] - values[a]) / (b - a) for a in range(10) for b in range(a + 1, 10))
    assert theil_sen(list(enumerate(values))) == Slope(slopes[22], slopes[11], slopes[33])


def test_ties_make_the_interval_narrower() -> None:
    # Four equal ones of six take 26/3 of 28.3 from the variance: what is left is 19.7, and 1.96 of
    # its roots are 8.69, so of fifteen slopes the interval is from the 3rd to the 13th.
    values = [1, 1, 1, 1, 2, 3]
    slopes = sorted((values[b] - values[a]) / (b - a) for a in range(6) for b in range(a + 1, 6))
    assert theil_sen(list(enumerate(values))) == Slope(slopes[7], slopes[2], slopes[12])


def test_equal_values_have_no_slope_and_no_doubt() -> None:
    assert theil_sen([(x, 5) for x in range(8)]) == Slope(0, 0, 0)


def test_a_slope_takes_two_points() -> None:
    with pytest.raises(ValueError, match="two points"):
        theil_sen([(1, 1)])


def test_bins_are_the_medians_of_equal_stretches() -> None:
    points = [(0, 1), (1, 9), (2, 2), (9, 4), (10, 6)]
    assert binned(points, 2) == [(1, 2), (9.5, 5)]
    assert binned([], 2) == []
    assert binned([(3, 4)], 5) == [(3, 4)]


@pytest.mark.parametrize(
    ("slope", "verdict"),
    [
        (Slope(0, -1, 1), "flat"),
        (Slope(-5, -6, -4), "flat"),
        (Slope(1, 0.5, 1.5), "below the bound"),
        (Slope(3, 2.5, 4), "grows"),
        (Slope(3, 0.1, 9), "grows"),
        (Slope(0, -9, 9), "too short to tell"),
        (None, "too short to tell"),
    ],
)
def test_a_slope_is_judged_by_its_interval_and_the_bound(slope: Slope, verdict: str) -> None:
    assert judged(slope, bound=2) == verdict


def samples(minutes: float, **slopes: float) -> list[Sample]:
    """A run of that long with noise; `memory=10` grows by ten in an hour."""
    chance = random.Random(7)
    made = []
    for n in range(int(30 * minutes)):
        hours = n / 1800
        made.append(
            Sample(
                at=2.0 * n,
                phase="load",
                rss_mib=100 + slopes.get("memory", 0) * hours + chance.gauss(0, 1),
                uss_mib=90 + slopes.get("memory", 0) * hours + chance.gauss(0, 1),
                descriptors=200 + chance.randrange(-60, 60),
                unconnected=11 + int(slopes.get("unconnected", 0) * hours),
                sockets=190 + chance.randrange(-60, 60),
                threads=2,
                provider_connections=100 + chance.randrange(-40, 40),
                provider_busy=90,
                clients=40,
                comparisons=None,
                tasks=None,
                series=None,
                chunks=3000,
                health_p50_ms=2 + chance.random(),
                health_p99_ms=9 + 5 * chance.random(),
                lag_p99_ms=None,
                machine_late_ms=1,
                processor=0.5,
                waited=0.1,
            )
        )
    return made


def grows(run: Sequence[Sample]) -> list[str]:
    return [told.name for told in judge(run) if told.verdict == "grows"]


def test_noise_does_not_grow() -> None:
    told = judge(samples(60))
    assert {one.verdict for one in told} <= {"flat", "below the bound", "too short to tell"}
    assert {one.name for one in told if one.verdict == "flat"} >= {"memory of its own", "threads"}


def test_what_grows_in_the_noise_is_found() -> None:
    assert grows(samples(60, memory=20)) == ["memory of its own", "resident memory"]
    assert grows(samples(10, unconnected=30)) == ["descriptors without a connection"]


def test_a_short_run_judges_nothing_that_has_noise() -> None:
    assert grows(samples(1, memory=1000)) == []
    assert grows(samples(1, unconnected=600)) == ["descriptors without a connection"]


def test_a_figure_that_fills_up_is_judged_by_what_it_is_at_last() -> None:
    def with_series(each: int) -> list[Sample]:
        return [replace(one, series=each * n) for n, one in enumerate(samples(1))]

    assert "samples at /metrics" not in grows(with_series(100))
    assert "samples at /metrics" in grows(with_series(2000))


def test_a_figure_that_nobody_could_see_is_left_out() -> None:
    names = {told.name for told in judge(samples(10))}
    assert "tasks" not in names
    with_tasks = [replace(sample, tasks=50) for sample in samples(10)]
    assert "tasks" in {told.name for told in judge(with_tasks)}


# --- what was said, and what was heard ------------------------------------------------------------


def test_the_first_clients_ask_every_model() -> None:
    asked = {model for n in range(12) for model in plan(1, n).models}
    assert {f"{name}:{kind}" for name in CALM for kind in ("whole", "cut", "hang")} <= asked
    assert {f"{name}:busy" for name in MOODY} <= asked


def test_a_plan_and_a_deed_follow_from_the_seed() -> None:
    assert [plan(1, n) for n in range(50)] == [plan(1, n) for n in range(50)]
    assert [plan(1, n) for n in range(50)] != [plan(2, n) for n in range(50)]
    first, second = (deed(1, 7, "gemini", "whole") for _ in range(2))
    assert first.ending == second.ending
    assert list(first.steps) == list(second.steps)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("endless", "flood")])
@pytest.mark.parametrize("provider", CALM)
def test_what_must_be_heard_is_a_part_of_what_is_said(kind: str, provider: str) -> None:
    for question in range(5):
        done = deed(1, question, provider, kind)
        assert 0 <= done.ending.least <= len(done.ending.text)
        assert done.ending.codes
        if done.ending.codes == {None}:
            assert done.ending.least == len(done.ending.text) > 0
        if provider in MOODY:
            assert done.ending.least == 0


ASKED = Plan(number=3, behaviour="reads over HTTP/1.1", models=("openai:whole", "openai:cut"))
TEXT = deed(1, 3, "openai", "whole").ending.text
CUT = deed(1, 3, "openai", "cut").ending
[CODE] = CUT.codes


def stream(*, whole: str = TEXT, code: str | None = None, cut: str | None = None) -> bytes:
    """A stream by the contract in which the models say this."""
    names = names_of(ASKED.models)
    events: list[dict[str, Any]] = [
        {"model": name, "type": "start", "provider": "openai", "parameters": {}} for name in names
    ]
    said = {names[0]: (whole, code), names[1]: (CUT.text[: CUT.least], cut or CODE)}
    for name, (text, how) in said.items():
        if text:
            events.append({"model": name, "type": "chunk", "content": text})
        if how is not None:
            words = {"content": "Error: x", "error": True}
            events.append({"model": name, "type": "chunk", **words})
        done = {"model": name, "type": "done", "error": how is not None, "code": how}
        events.append({**done, "stopped_by": None})
    failed = sum(how is not None for _, how in said.values())
    metadata = {
        "input_length": 1,
        "models_requested": 2,
        "models_successful": 2 - failed,
        "models_failed": failed,
        "timestamp": "2025-01-01T00:00:00+00:00",
        "processing_time_ms": 1,
        "conversation_message_count": 0,
        "is_extended_interaction": False,
    }
    events.append({"type": "complete", "metadata": metadata})
    return b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events)


def test_a_true_stream_is_right() -> None:
    judged = judge_stream(1, ASKED, stream())
    assert judged.wrong == []
    assert judged.codes == {"openai:whole": None, "openai:cut": CODE}


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"whole": TEXT[:-1]}, "characters of"),
        ({"whole": TEXT + TEXT[-4:]}, "is not what was said"),
        ({"whole": TEXT[4:]}, "is not what was said"),
        ({"code": "truncated"}, "it ended in truncated, not in None"),
        ({"cut": "rate_limited"}, "it ended in rate_limited"),
        ({"cut": "cancelled"}, "it ended in cancelled, not in"),
    ],
    ids=["lost", "doubled", "lost at the beginning", "failed", "another cause", "stopped"],
)
def test_a_false_stream_is_wrong(told: dict[str, str], words: str) -> None:
    [*_, problem] = judge_stream(1, ASKED, stream(**told)).wrong
    assert words in problem


def test_white_space_alone_must_be_heard_but_for_a_model_that_is_raced_for() -> None:
    cut = "ollama:cut"
    alone = Plan(number=130, behaviour="reads over HTTP/2", models=(cut,))
    raced = replace(alone, fields={"hedge_after": 0.3})
    ending = ending_of(41, alone, cut)
    assert ending.text[: ending.least] == "\n\n"
    assert ending_of(41, raced, cut) == replace(ending, least=0)
    for question in range(30):  # whatever else was said must be heard from either
        other = replace(raced, number=question)
        ending = ending_of(1, other, cut)
        if ending.least > len("\n\n"):
            assert ending == ending_of(1, replace(other, fields={}), cut)


def test_the_beginning_of_a_stream_is_held_against_what_was_said() -> None:
    half = stream()[:-200]
    assert judge_part(1, ASKED, half) == []
    [problem] = judge_part(1, ASKED, stream(whole=TEXT[:-1])[:-200])
    assert "is done, and its text is not whole" in problem


# --- the log --------------------------------------------------------------------------------------


def model_ended(comparison: str, model: str, code: str | None = None) -> str:
    outcome = "failed" if code else "finished"
    line = {"event": "model ended", "level": "info", "comparison": comparison, "model": model}
    return json.dumps({**line, "outcome": outcome, "code": code})


def ended(comparison: str, models: int, outcome: str = "complete") -> str:
    line = {"event": "comparison ended", "level": "info", "comparison": comparison}
    return json.dumps({**line, "models": models, "outcome": outcome})


async def test_the_log_is_held_against_what_clients_were_told(
    autojump_clock: trio.testing.MockClock,
) -> None:
    findings = Findings()
    ledger = Ledger(findings.add)
    ledger.told("a", "client 1", {"m": None})
    for line in (model_ended("a", "m"), ended("a", 1)):
        ledger.take(line)
    ledger.look()
    assert (findings.count, ledger.open) == (0, 0)

    ledger.take(ended("a", 1))
    assert findings.first.pop() == "a comparison ended twice"
    ledger.take(model_ended("a", "m"))
    assert findings.first.pop() == "m ended after its comparison"
    for line in (model_ended("b", "m"), model_ended("b", "m"), ended("b", 2)):
        ledger.take(line)
    assert findings.first == ["m ended twice", "of 2 models 1 ended"]
    findings.first.clear()
    ledger.told("b", "client 2", {"m": "truncated"})
    ledger.look()
    assert findings.first.pop().startswith("client 2: it was told ")

    ledger.left("c", "client 3")
    await trio.sleep(WAIT_SECONDS + 1)
    ledger.look()
    assert findings.first.pop() == "client 3: its comparison 'c' has no end in the log"

    ledger.take(ended("d", 3, "client_gone"))
    assert findings.first == []  # left before anybody was asked
    ledger.take('{"event": "request failed", "level": "error", "exception": "x\\nBoom"}')
    ledger.take("Traceback (most recent call last):")
    assert findings.first == [
        "the log says 'request failed': Boom",
        "standard error says 'Traceback (most recent call last):'",
    ]


def test_findings_are_counted_by_kind_and_kept_to_a_bound() -> None:
    findings = Findings()
    for n in range(1000):
        findings.add(f"client {n}: took longer than 60 s")
    assert len(findings.first) == 100
    assert findings.kinds == {"client n: took longer than n s": 1000}


# --- /metrics -------------------------------------------------------------------------------------

PAGE = """# HELP compare_chunks_total Chunks.
compare_chunks_total{provider="a"} 10.0
compare_chunks_total{provider="b"} 5.0
compare_tasks 42.0
lag_bucket{le="0.001"} 50.0
lag_bucket{le="0.01"} 90.0
lag_bucket{le="+Inf"} 100.0
"""


def test_a_scrape_is_read_and_added_up() -> None:
    metrics = parsed(PAGE)
    assert metrics.total("compare_chunks_total") == 15
    assert metrics.total("compare_chunks_total", provider="b") == 5
    assert metrics.total("compare_tasks") == 42
    assert metrics.total("nothing") is None
    assert metrics.series == 6


def test_a_quantile_is_that_of_what_came_between_two_scrapes() -> None:
    before, after = parsed(""), parsed(PAGE)
    assert quantile(before, after, "lag", 0.5) == 0.001
    assert quantile(before, after, "lag", 0.7) == pytest.approx(0.0055)
    assert quantile(before, after, "lag", 0.99) == 0.01  # beyond the last bound: at least that
    assert quantile(after, after, "lag", 0.5) is None
