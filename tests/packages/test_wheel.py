"""What is in the wheel and in the source archive, held against the tree."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from email.parser import HeaderParser
from pathlib import Path

import pytest

from service import __version__
from tests.command import ROOT, run
from tests.tools import require_module

PARTS = ("service", "tests", "docs")
TOP = {"CHANGELOG.md", "LICENSE", "README.md", "hypercorn.toml", "pyproject.toml"}
LEFT_OUT = re.compile(r"(^|/)(__pycache__|\.hypothesis)/|\.py[co]$|\.key$")
"""As .gitignore has it: what running the project leaves, and what must never be given away."""


def files(part: str) -> Iterator[str]:
    for path in (ROOT / part).rglob("*"):
        name = path.relative_to(ROOT).as_posix()
        if path.is_file() and not LEFT_OUT.search(name):
            yield name


def build(tree: Path, target: str, folder: Path) -> Path:
    """What the backend that pyproject.toml names makes; no network, nothing left in the tree."""
    require_module("hatchling")
    command = [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(folder)]
    ran = subprocess.run(command, cwd=tree, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    (built,) = folder.iterdir()
    return built


@dataclass(frozen=True, slots=True)
class Built:
    wheel: Path
    sdist: Path
    unpacked: Path
    """The archive's tree."""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    folder = tmp_path_factory.mktemp("built")
    wheel = build(ROOT, "wheel", folder / "wheel")
    sdist = build(ROOT, "sdist", folder / "sdist")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder / "unpacked", filter="data")
    (unpacked,) = (folder / "unpacked").iterdir()
    return Built(wheel, sdist, unpacked)


def test_the_wheel_holds_the_whole_package_and_nothing_else(built: Built) -> None:
    with zipfile.ZipFile(built.wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert names == set(files("service"))
    for name in ("service/web/index.html", "service/openapi/docs.html", "service/py.typed"):
        assert name in names


def test_the_wheel_says_who_it_is(built: Built) -> None:
    with zipfile.ZipFile(built.wheel) as archive:
        info = f"compare_stream-{__version__}.dist-info"
        metadata = HeaderParser().parsestr(archive.read(f"{info}/METADATA").decode())
        points = archive.read(f"{info}/entry_points.txt").decode()
        assert archive.read(f"{info}/licenses/LICENSE") == (ROOT / "LICENSE").read_bytes()
    assert (metadata["Name"], metadata["Version"]) == ("compare-stream", __version__)
    assert metadata["License-Expression"] == "MIT"
    assert points == "[console_scripts]\ncompare-stream = service.cli:main\n"
    assert run("--version").output == f"compare-stream, version {__version__}\n"


def test_the_source_archive_holds_the_tests_and_the_documentation(built: Built) -> None:
    names = {
        path.relative_to(built.unpacked).as_posix()
        for path in built.unpacked.rglob("*")
        if path.is_file()
    }
    expected = {name for part in PARTS for name in files(part)}
    assert names - {"PKG-INFO", ".gitignore"} == expected | TOP | {".dockerignore"}


def test_from_the_source_archive_comes_the_same_wheel(built: Built, tmp_path: Path) -> None:
    again = build(built.unpacked, "wheel", tmp_path / "again")
    assert again.name == built.wheel.name
    assert again.read_bytes() == built.wheel.read_bytes()
