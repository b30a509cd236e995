"""What an installation holds, as a list, and what is known against it: `python -m tests.audit`.

The project goes into an empty environment, as in the Dockerfile; cyclonedx-bom lists what is there,
and pip-audit asks services about it. Its own word is not enough. It ends with 0 and "No known
vulnerabilities found" when its service knew none of the packages, as behind a mirror that has files
but no advisories, and with 1 alike for something found and for a service that can't be reached. So
its answer is read package by package: whoever was not looked up is named, and nothing that was not
looked up is called sound.

Exit code 0: all were looked up, and nothing is known. 1: something is. 2: the list is not whole, or
a tool did what we do not know. 3: not all could be looked up; with --tolerate-silence that is 0 and
said as loudly.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

__all__ = ["Answer", "AuditError", "Verdict", "judge", "main", "read_answer", "unlisted"]

ROOT = Path(__file__).parents[1]
SERVICES = ("pypi", "osv")
"""In the order in which they are asked; the next only about what the last did not know."""
PATIENCE = 300
"""Seconds for one service: forty packages at a few requests a second are done in a tenth of it."""
AUDITED, VULNERABLE, BROKEN, SILENT = 0, 1, 2, 3

_UNREACHABLE = re.compile(
    r"ConnectionError|Could not connect|ConnectTimeout|ReadTimeout|ServiceError|HTTPError|SSLError"
    r"|ProxyError|not redirecting properly"
)
"""In the last line of what pip-audit says when it ends without an answer."""

Pins = dict[str, str]
"""Packages by their canonical name, and the version of each."""


class AuditError(Exception):
    """Neither an answer nor a silence that we know; the message is one line."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What one service said."""

    service: str
    found: dict[str, str]
    """Package: what is known against it."""
    looked_up: frozenset[str]
    silence: str | None = None
    """Why it did not look up the rest."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What all answers come to."""

    code: int
    lines: Sequence[str]


def read_answer(service: str, code: int, output: str, errors: str) -> Answer:
    """What pip-audit's exit code and outputs mean; raises `AuditError`."""
    try:
        packages = json.loads(output)["dependencies"]
    except (json.JSONDecodeError, KeyError, TypeError):
        last = ([line.strip() for line in errors.splitlines() if line.strip()] or ["nothing"])[-1]
        tail = "\n".join(errors.splitlines()[-3:])
        if code != 0 and _UNREACHABLE.search(tail):
            return Answer(service, {}, frozenset(), f"could not be reached: {last[:200]}")
        raise AuditError(f"pip-audit ended with {code} and said {last[:200]}") from None
    skipped = [package for package in packages if "skip_reason" in package]
    known = {str(canonicalize_name(package["name"])): package for package in packages}
    found = {
        name: "; ".join(map(_words, package["vulns"]))
        for name, package in known.items()
        if package.get("vulns")
    }
    if code not in (0, 1) or (code == 1) != bool(found):
        raise AuditError(f"pip-audit ended with {code} and found {len(found)} vulnerable packages")
    looked_up = frozenset(name for name, package in known.items() if "vulns" in package)
    silence = None
    if skipped:
        first = skipped[0]["skip_reason"]
        silence = f"skipped {len(skipped)} of {len(packages)}, the first of them: {first}"
    return Answer(service, found, looked_up, silence)


def _words(vulnerability: dict[str, Any]) -> str:
    mended = ", ".join(vulnerability.get("fix_versions", ())) or "none"
    names = " ".join([vulnerability["id"], *vulnerability.get("aliases", ())])
    return f"{names} (mended in: {mended})"


def judge(pins: Pins, answers: Iterable[Answer]) -> Verdict:
    """What the answers about these packages come to; after bad news nobody else is asked."""
    looked_up: set[str] = set()
    silences = []
    for answer in answers:
        if answer.found:
            lines = [f"{name} {pins.get(name)}: {what}" for name, what in answer.found.items()]
            return Verdict(VULNERABLE, [f"VULNERABLE, says {answer.service}:", *lines])
        looked_up |= answer.looked_up
        if answer.silence:
            silences.append(f"{answer.service}: {answer.silence}")
        if looked_up >= set(pins):
            return Verdict(AUDITED, [f"AUDITED: nothing is known against {len(pins)} packages."])
    missing = sorted(set(pins) - looked_up)
    return Verdict(
        SILENT,
        [
            f"NOT AUDITED: {len(missing)} of {len(pins)} packages were not looked up.",
            *silences,
            f"Whether something is known against them nobody has said: {', '.join(missing)}.",
        ],
    )


def unlisted(requirements: Iterable[str], pins: Pins) -> list[str]:
    """The requirements that a list of packages does not meet, in words."""
    missing = []
    for line in requirements:
        requirement = Requirement(line)
        if requirement.marker is not None and not requirement.marker.evaluate():
            continue
        version = pins.get(canonicalize_name(requirement.name))
        if version is None:
            missing.append(f"{line} is not there")
        elif version not in requirement.specifier:
            missing.append(f"{line} is there as {version}")
    return missing


def project_of(tree: Path) -> dict[str, Any]:
    """What pyproject.toml says of the project."""
    project: dict[str, Any] = tomllib.loads((tree / "pyproject.toml").read_text())["project"]
    return project


def _run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        list(map(str, command)), capture_output=True, text=True, check=False, timeout=PATIENCE
    )


def _must(*command: str | Path) -> None:
    ran = _run(*command)
    if ran.returncode != 0:
        raise AuditError(f"{' '.join(map(str, command[:4]))} failed: {ran.stderr.strip()[-500:]}")


def install(tree: Path, folder: Path) -> Path:
    """The project and what it needs in an empty environment; its Python."""
    _must(sys.executable, "-m", "venv", "--without-pip", folder)
    python = folder / "bin" / "python"
    _must(sys.executable, "-m", "pip", "--python", python, "install", "-q", tree)
    return python


def list_packages(tree: Path, python: Path, file: Path) -> dict[str, Any]:
    """Write what that Python has as CycloneDX, and return it."""
    project = ("--pyproject", tree / "pyproject.toml", "--output-reproducible", "--of", "JSON")
    _must(sys.executable, "-m", "cyclonedx_py", "environment", *project, "-o", file, python)
    told = _run(python, "-c", "import service; print(service.__version__)")
    bom: dict[str, Any] = json.loads(file.read_text())
    bom["metadata"]["component"]["version"] = told.stdout.strip()  # pyproject.toml does not say it
    file.write_text(json.dumps(bom, indent=2) + "\n")
    return bom


def ask(service: str, pins: Pins, folder: Path) -> Answer:
    """What a service knows against these packages."""
    pinned = folder / "pinned.txt"
    pinned.write_text("".join(f"{name}=={version}\n" for name, version in pins.items()))
    options = ("--no-deps", "--disable-pip", "-f", "json", "--desc", "off", "--timeout", "10")
    command = (sys.executable, "-m", "pip_audit", "-r", pinned, "-s", service, *options)
    try:
        ran = _run(*command, "--progress-spinner", "off")
    except subprocess.TimeoutExpired:
        return Answer(service, {}, frozenset(), f"gave no answer in {PATIENCE} s")
    return read_answer(service, ran.returncode, ran.stdout, ran.stderr)


Ask = Callable[[str, Pins, Path], Answer]


def audit(tree: Path, sbom: Path | None, ask: Ask = ask) -> Verdict:
    """The list and the verdict on it; raises `AuditError`."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        python = install(tree, folder / "installed")
        bom = list_packages(tree, python, sbom or folder / "sbom.json")
        pins = {str(canonicalize_name(part["name"])): part["version"] for part in bom["components"]}
        if missing := unlisted(project_of(tree)["dependencies"], pins):
            raise AuditError(f"the list is not whole: {'; '.join(missing)}")
        told = f"{bom['bomFormat']} {bom['specVersion']}, {_named(bom['metadata']['component'])}"
        parts = ", ".join(map(_named, bom["components"]))
        listed = f"SBOM: {told} and {len(pins)} packages: {parts}"
        verdict = judge(pins, (ask(service, pins, folder) for service in SERVICES))
        return Verdict(verdict.code, [listed, *verdict.lines])


def _named(component: dict[str, Any]) -> str:
    return f"{component['name']} {component['version']}"


def main(arguments: Sequence[str] | None = None, ask: Ask = ask) -> int:
    """The command; its exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.audit", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--sbom", type=Path, help="where to write the list (CycloneDX, JSON)")
    parser.add_argument(
        "--tolerate-silence", action="store_true", help="0 in place of 3, in the same words"
    )
    options = parser.parse_args(arguments)
    try:
        verdict = audit(ROOT, options.sbom, ask)
    except AuditError as exc:
        print(f"the audit failed: {exc}")
        return BROKEN
    print("\n".join(verdict.lines))
    return 0 if options.tolerate_silence and verdict.code == SILENT else verdict.code


if __name__ == "__main__":
    raise SystemExit(main())
