"""The audit of what is installed: what counts as looked up, and what never does."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from tests import audit
from tests.audit import (
    AUDITED,
    SILENT,
    VULNERABLE,
    Answer,
    AuditError,
    Verdict,
    judge,
    main,
    read_answer,
    unlisted,
)

PINS = {"h11": "0.16.0", "trio": "0.35.0"}
CLEAN = {"name": "h11", "version": "0.16.0", "vulns": []}
BAD = {
    "name": "Trio",
    "version": "0.35.0",
    "vulns": [{"id": "PYSEC-1", "fix_versions": ["0.36"], "aliases": ["CVE-1"]}],
}
UNKNOWN = {
    "name": "trio",
    "skip_reason": "Dependency not found on PyPI and could not be audited: trio (0.35.0)",
}


def told(*packages: dict[str, Any]) -> str:
    """As `pip-audit -f json` prints it."""
    return json.dumps({"dependencies": packages, "fixes": []})


def answer(*packages: dict[str, Any], service: str = "pypi", code: int = 0) -> Answer:
    return read_answer(service, code, told(*packages), "No known vulnerabilities found")


UNREACHABLE = [
    "ERROR:pip_audit._cli:Could not connect to PyPI's vulnerability feed\n"
    "ERROR:pip_audit._cli:Tip: your network may be blocking this service. "
    "Try another service with `-s SERVICE`\n",
    "Traceback (most recent call last):\n  ...\n"
    "requests.exceptions.ConnectionError: HTTPSConnectionPool(host='api.osv.dev', port=443): "
    "Max retries exceeded with url: /v1/query\n",
    "Traceback (most recent call last):\n  ...\npip_audit._service.interface.ServiceError\n",
]


# --- one service's answer ---


def test_a_package_that_was_skipped_was_not_looked_up_whatever_the_exit_code() -> None:
    found = answer(CLEAN, UNKNOWN)
    assert found.looked_up == {"h11"}
    assert found.found == {}
    assert found.silence is not None
    assert found.silence.startswith("skipped 1 of 2")


@pytest.mark.parametrize("errors", UNREACHABLE)
def test_a_service_that_can_not_be_reached_is_silent(errors: str) -> None:
    found = read_answer("osv", 1, "", errors)
    assert (found.found, found.looked_up) == ({}, frozenset())
    assert found.silence is not None
    assert found.silence.startswith("could not be reached: ")


@pytest.mark.parametrize(
    ("code", "output", "errors"),
    [
        (1, "", "Traceback (most recent call last):\nKeyError: 'affected'\n"),
        (2, "", "usage: pip-audit [-h]\npip-audit: error: unrecognized arguments: --desc off\n"),
        (0, "", ""),
        (0, "[]", ""),
        (1, told(CLEAN), ""),
        (0, told(BAD), ""),
        (3, told(BAD), ""),
    ],
)
def test_what_is_neither_an_answer_nor_a_silence_is_an_error(
    code: int, output: str, errors: str
) -> None:
    with pytest.raises(AuditError):
        read_answer("pypi", code, output, errors)


# --- the verdict ---


def test_all_looked_up_and_nothing_known_is_the_only_good_news() -> None:
    verdict = judge(PINS, [answer(CLEAN, {**CLEAN, "name": "trio"})])
    assert verdict == Verdict(AUDITED, ["AUDITED: nothing is known against 2 packages."])


def test_what_is_known_is_told_with_where_it_is_mended() -> None:
    verdict = judge(PINS, [answer(CLEAN, BAD, code=1)])
    assert verdict.code == VULNERABLE
    assert verdict.lines == [
        "VULNERABLE, says pypi:",
        "trio 0.35.0: PYSEC-1 CVE-1 (mended in: 0.36)",
    ]


def test_one_package_that_nobody_knew_is_not_audited_and_named() -> None:
    verdict = judge(PINS, [answer(CLEAN, UNKNOWN), read_answer("osv", 1, "", UNREACHABLE[1])])
    assert verdict.code == SILENT
    assert verdict.lines[0] == "NOT AUDITED: 1 of 2 packages were not looked up."
    assert verdict.lines[1].startswith("pypi: skipped 1 of 2")
    assert verdict.lines[2].startswith("osv: could not be reached")
    assert verdict.lines[-1].endswith(": trio.")


def test_a_package_that_a_service_left_out_of_its_answer_was_not_looked_up() -> None:
    assert judge(PINS, [answer(CLEAN)]).code == SILENT
    assert judge(PINS, [answer()]).code == SILENT


def test_the_next_service_is_asked_only_where_the_last_left_something_open() -> None:
    asked = []

    def answers() -> Any:
        for service, packages in (("pypi", [CLEAN, UNKNOWN]), ("osv", [{**CLEAN, "name": "trio"}])):
            asked.append(service)
            yield answer(*packages, service=service)
        raise AssertionError("all were looked up")

    assert judge(PINS, answers()).code == AUDITED
    assert asked == ["pypi", "osv"]


def test_a_second_service_can_bring_bad_news_of_what_the_first_did_not_know() -> None:
    verdict = judge(PINS, [answer(CLEAN, UNKNOWN), answer(BAD, service="osv", code=1)])
    assert (verdict.code, verdict.lines[0]) == (VULNERABLE, "VULNERABLE, says osv:")


# --- the list ---


def test_a_dependency_that_is_missing_or_of_another_version_is_seen() -> None:
    needed = ["h11>=0.16,<0.17", "trio>=9", "absent", "absent; python_version < '3'"]
    assert unlisted(needed, PINS) == ["trio>=9 is there as 0.35.0", "absent is not there"]


# --- the command ---

Asked = Callable[..., Answer]


def installed_here(tree: Path, folder: Path) -> Path:
    return Path(sys.executable)


def listed(tree: Path, python: Path, file: Path) -> dict[str, Any]:
    """A list with every dependency of the project, in a version that fits."""
    names = []
    for line in audit.project_of(tree)["dependencies"]:
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate():
            lowest = next(
                part.version for part in requirement.specifier if part.operator != "<"
            ).replace("*", "0")
            names.append({"name": requirement.name, "version": lowest})
    component = {"name": "compare-stream", "version": "1"}
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "metadata": {"component": component},
        "components": names,
    }


@pytest.fixture
def listing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "install", installed_here)
    monkeypatch.setattr(audit, "list_packages", listed)


def silent(service: str, pins: dict[str, str], folder: Path) -> Answer:
    return Answer(service, {}, frozenset(), "could not be reached: no route")


def knowing(service: str, pins: dict[str, str], folder: Path) -> Answer:
    return Answer(service, {"trio": "PYSEC-1"}, frozenset(pins))


def clean(service: str, pins: dict[str, str], folder: Path) -> Answer:
    return Answer(service, {}, frozenset(pins))


@pytest.mark.usefixtures("listing")
@pytest.mark.parametrize(
    ("ask", "arguments", "code", "word"),
    [
        (clean, [], 0, "AUDITED: "),
        (knowing, [], 1, "VULNERABLE, "),
        (knowing, ["--tolerate-silence"], 1, "VULNERABLE, "),
        (silent, [], 3, "NOT AUDITED: "),
        (silent, ["--tolerate-silence"], 0, "NOT AUDITED: "),
    ],
)
def test_the_command_says_the_verdict_and_ends_by_it(
    ask: Asked, arguments: list[str], code: int, word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments, ask) == code
    sbom, verdict, *_ = capsys.readouterr().out.splitlines()
    assert sbom.startswith("SBOM: CycloneDX 1.6, compare-stream 1 and ")
    assert verdict.startswith(word)
    assert ("AUDITED: nothing" in verdict) == (ask is clean)


@pytest.mark.usefixtures("listing")
def test_a_list_that_is_not_whole_ends_the_audit(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def short(tree: Path, python: Path, file: Path) -> dict[str, Any]:
        whole = listed(tree, python, file)
        return {**whole, "components": whole["components"][1:]}

    monkeypatch.setattr(audit, "list_packages", short)
    assert main(["--tolerate-silence"], clean) == 2
    assert "the list is not whole: trio>=0.34 is not there" in capsys.readouterr().out


def test_pip_audit_as_it_is_says_nothing_that_is_not_understood(tmp_path: Path) -> None:
    """With the extra `audit`, as CI has it: its answer about one package, whatever that is."""
    pytest.importorskip("pip_audit", reason="needs pip install '.[audit]'")
    found = audit.ask("pypi", {"h11": "0.16.0"}, tmp_path)
    assert bool(found.looked_up) == (found.silence is None)
