"""What docs/operations says of the image, read out of its Dockerfile and the project's own file."""

from __future__ import annotations

import re
import tomllib

import pytest

from tests.packages.container import CONTEXT
from tests.packages.dockerfile import Dockerfile, Ignored
from tests.packages.manifests import FOLDER

PROJECT = tomllib.loads((CONTEXT / "pyproject.toml").read_text())["project"]


def dockerfile() -> Dockerfile:
    return Dockerfile((FOLDER / "Dockerfile").read_text())


def test_the_image_has_the_newest_python_that_the_project_names_and_no_tools_of_the_build() -> None:
    build, final = dockerfile().stages
    assert build.image == final.image == "python:3.13-slim"
    assert "Programming Language :: Python :: 3.13" in PROJECT["classifiers"]
    assert final.runs == []
    assert [(copy.stage, copy.sources, copy.target) for copy in final.copies] == [
        (build.name, ("/opt/compare-stream",), "/opt/compare-stream")
    ]
    assert any("--without-pip" in line for line in build.runs)


def test_what_the_build_copies_is_there_and_is_all_that_the_context_has() -> None:
    ignored = Ignored((CONTEXT / ".dockerignore").read_text())
    sources = [source for copy in dockerfile().build.copies for source in copy.sources]
    for source in sources:
        assert (CONTEXT / source).exists(), source
        assert list(ignored.files(CONTEXT, source)), f"{source} is ignored"
    for path in CONTEXT.iterdir():
        assert (path.name in ignored) == (path.name not in sources), path.name
    for secret in ("service/__pycache__/x.pyc", "docs/operations/openrouter.key", ".git/config"):
        assert secret in ignored


def test_the_image_runs_as_nobody_in_particular_and_hears_its_signal() -> None:
    final = dockerfile().final
    assert final.user is not None
    assert re.fullmatch(r"[1-9]\d{3,}:[1-9]\d{3,}", final.user)
    assert final.stop_signal == "SIGTERM"
    assert final.entrypoint
    assert final.command
    assert final.healthcheck


@pytest.mark.parametrize(
    "text",
    [
        "RUN pip install x\n",  # before there is a stage
        "FROM python\nENTRYPOINT compare-stream serve\n",  # a shell between
        'FROM python\nCMD "serve"\n',
        "FROM python\nHEALTHCHECK CMD curl http://127.0.0.1:8000/health\n",
        "FROM python\nADD https://example.org/x /x\n",
        "FROM python\nCOPY --chown=10001 a b\n",
        "FROM python\nENV NAME value\n",
        "",
    ],
)
def test_a_dockerfile_that_promises_less_is_seen(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # whichever way it is wrong
        Dockerfile(text)


def test_the_version_is_said_in_one_place() -> None:
    assert "version" not in PROJECT
    assert PROJECT["dynamic"] == ["version"]
    said = re.compile(r"\b\d+\.\d+\.\d+\b")
    for name in ("Dockerfile", "compose.yaml", "kubernetes.yaml"):
        lines = (FOLDER / name).read_text().splitlines()
        assert not [
            line
            for line in lines
            if "compare-stream" in line
            and said.findall(line.replace("0.0.0.0", "").replace("127.0.0.1", ""))
        ]
    assert not [name for name in dockerfile().final.labels if name.endswith("version")]
