"""The faults that are quick enough for every run; `python -m tests.chaos` has them all."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import tests.chaos.rows  # noqa: F401  # registers the faults
from tests.chaos.fault import FAULTS, NOT_RUN
from tests.command import ROOT, environment

PAGE = ROOT / "docs" / "reliability.md"
ROW_ID = re.compile(r"\b([CUPRX]-\d\d)")
ROWS = {"C": 20, "U": 24, "P": 15, "R": 10, "X": 16}
"""How many faults of each kind have a name; a letter behind a number is a case of it."""

SHORT = [
    pytest.param(id_, id=f"{id_} {fault.name}") for id_, fault in FAULTS.items() if fault.short
]


@pytest.fixture(scope="session")
def results(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, str]]:
    """What came of the faults whose tests were chosen; one run of the harness for all of them."""
    chosen = [
        str(item.callspec.params["id_"])
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.originalname == WITHSTANDS
    ]
    file = tmp_path_factory.mktemp("chaos") / "results.json"
    ran = subprocess.run(
        [
            *(sys.executable, "-m", "tests.chaos", "--short"),
            *("--only", ",".join(chosen), "--json", str(file)),
        ],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert file.exists(), ran.stderr
    return {result["id"]: result for result in json.loads(file.read_text())}


@pytest.mark.skipif(
    not Path("/proc/self/fd").exists(), reason="looks at processes by Linux's /proc"
)
@pytest.mark.parametrize("id_", SHORT)
def test_the_service_withstands(id_: str, results: dict[str, dict[str, str]]) -> None:
    result = results[id_]
    if result["verdict"] == "not run here":
        pytest.skip(result["said"])
    if result["verdict"] == "known fault":
        pytest.xfail(result["said"])
    assert result["verdict"] == "held", result["said"]


WITHSTANDS = test_the_service_withstands.__name__


def test_every_fault_of_the_matrix_is_run_or_said_not_to_be() -> None:
    expected = {f"{kind}-{n:02}" for kind, most in ROWS.items() for n in range(1, most + 1)}
    run = {id_[:4] for id_ in FAULTS}
    assert run | set(NOT_RUN) == expected
    assert not run & set(NOT_RUN)


def test_the_table_of_the_documentation_has_every_fault_once() -> None:
    told = re.findall(r"^\| \*\*([CUPRX]-\d\d[a-z]?)\*\* ", PAGE.read_text(), re.MULTILINE)
    assert sorted(told) == sorted([*FAULTS, *NOT_RUN])


def test_a_fault_that_the_documentation_names_is_there() -> None:
    named = set(ROW_ID.findall(PAGE.read_text()))
    assert named <= {id_[:4] for id_ in [*FAULTS, *NOT_RUN]}
