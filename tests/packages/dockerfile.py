"""As much of a Dockerfile as ours needs, and strictly: what this does not know is a mistake.

An engine would do more than read it. What that is worth is said in docs/operations/packages.md.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

__all__ = ["Copy", "Dockerfile", "Ignored", "Stage"]


@dataclass(frozen=True, slots=True)
class Copy:
    """`COPY`: sources, and where they go; `stage` is None for what comes from the context."""

    sources: tuple[str, ...]
    target: str
    stage: str | None


@dataclass(slots=True)
class Stage:
    """What stands behind one `FROM`."""

    image: str
    name: str | None
    workdir: str = "/"
    copies: list[Copy] = field(default_factory=list)
    runs: list[str] = field(default_factory=list)
    """Lines for a shell, in their order."""
    environment: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    user: str | None = None
    ports: list[int] = field(default_factory=list)
    stop_signal: str | None = None
    healthcheck: tuple[str, ...] = ()
    healthcheck_options: dict[str, str] = field(default_factory=dict)
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()


class Dockerfile:
    """The stages of a file; raises `ValueError` for what it does not know."""

    def __init__(self, text: str) -> None:
        self.stages: list[Stage] = []
        for name, arguments in _instructions(text):
            if name == "FROM":
                self.stages.append(_stage(arguments))
            elif not self.stages:
                raise ValueError(f"{name} stands before the first FROM")
            else:
                _add(self.stages[-1], name, arguments)
        if not self.stages:
            raise ValueError("there is no FROM")

    @property
    def build(self) -> Stage:
        """The stage that is thrown away."""
        return self.stages[0]

    @property
    def final(self) -> Stage:
        """The image."""
        return self.stages[-1]


def _instructions(text: str) -> Iterator[tuple[str, str]]:
    whole = re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ")
    for line in filter(str.strip, whole.splitlines()):
        name, _, arguments = line.strip().partition(" ")
        yield name, arguments.strip()


def _stage(arguments: str) -> Stage:
    found = re.fullmatch(r"(?P<image>\S+)(?: AS (?P<name>\w+))?", arguments)
    if found is None:
        raise ValueError(f"FROM {arguments}")
    return Stage(found["image"], found["name"])


def _add(stage: Stage, name: str, arguments: str) -> None:
    match name:
        case "WORKDIR":
            stage.workdir = arguments
        case "COPY":
            stage.copies.append(_copy(arguments))
        case "RUN":
            if arguments.startswith(("[", "--")):
                raise ValueError(f"RUN {arguments}")
            stage.runs.append(arguments)
        case "ENV":
            stage.environment |= _pairs(arguments)
        case "LABEL":
            stage.labels |= _pairs(arguments)
        case "USER":
            stage.user = arguments
        case "EXPOSE":
            stage.ports.append(int(arguments))
        case "STOPSIGNAL":
            stage.stop_signal = arguments
        case "HEALTHCHECK":
            options, command = re.split(r"\s+CMD\s+|^CMD\s+", arguments, maxsplit=1)
            stage.healthcheck = _exec_form(command)
            stage.healthcheck_options = _pairs(options.replace("--", ""))
        case "ENTRYPOINT":
            stage.entrypoint = _exec_form(arguments)
        case "CMD":
            stage.command = _exec_form(arguments)
        case _:
            raise ValueError(f"{name} is not known here")


def _exec_form(arguments: str) -> tuple[str, ...]:
    """A list in JSON. The other form puts a shell between, which hears the signals instead."""
    words = json.loads(arguments)
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise ValueError(f"not the exec form: {arguments}")
    return tuple(words)


def _copy(arguments: str) -> Copy:
    words = shlex.split(arguments)
    stage = None
    if words[0].startswith("--"):
        option, _, stage = words.pop(0).partition("=")
        if option != "--from":
            raise ValueError(f"COPY {option} is not known here")
    *sources, target = words
    if not sources or (len(sources) > 1 and not target.endswith("/")):
        raise ValueError(f"COPY {arguments}")
    return Copy(tuple(sources), target, stage)


def _pairs(arguments: str) -> dict[str, str]:
    pairs = [word.partition("=") for word in shlex.split(arguments)]
    if not all(separator for _, separator, _ in pairs):
        raise ValueError(f"expected name=value: {arguments}")
    return {name: value for name, _, value in pairs}


class Ignored:
    """A `.dockerignore`: the last pattern that fits a path, or a folder above it, decides."""

    def __init__(self, text: str) -> None:
        lines = [line.strip() for line in text.splitlines()]
        self._patterns = [line for line in lines if line and not line.startswith("#")]

    def __contains__(self, path: str) -> bool:
        ignored = False
        for pattern in self._patterns:
            if _fits(pattern.removeprefix("!"), path):
                ignored = not pattern.startswith("!")
        return ignored

    def files(self, context: Path, source: str) -> Iterator[str]:
        """The files of a context that `COPY source` would find."""
        start = context / source
        for path in [start] if start.is_file() else sorted(start.rglob("*")):
            name = path.relative_to(context).as_posix()
            if path.is_file() and name not in self:
                yield name


def _fits(pattern: str, path: str) -> bool:
    parts = PurePosixPath(path).parts
    anywhere = pattern.startswith("**/")
    wanted = PurePosixPath(pattern.removeprefix("**/")).parts
    starts = range(len(parts)) if anywhere else (0,)
    return any(
        len(parts) - start >= len(wanted) and all(map(fnmatchcase, parts[start:], wanted))
        for start in starts
    )
