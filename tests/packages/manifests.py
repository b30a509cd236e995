"""The files that say how the service is run, as values, with questions that several tests ask."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from service.settings import Settings, load
from tests.packages.container import CONTEXT

__all__ = ["FOLDER", "Compose", "Kubernetes", "Unit", "seconds", "settings_of"]

FOLDER = CONTEXT / "docs" / "operations"


def seconds(text: str) -> float:
    """`40s` or `40`."""
    return float(text.removesuffix("s"))


def settings_of(text: str, folder: Path) -> Settings:
    """What the service reads in such a file, with a key in its environment."""
    file = folder / "compare.toml"
    file.write_text(text)
    return load(file, {"OPENROUTER_API_KEY": "k"})


class Compose:
    """compose.yaml."""

    def __init__(self) -> None:
        self.whole: dict[str, Any] = yaml.safe_load((FOLDER / "compose.yaml").read_text())
        self.service: dict[str, Any] = self.whole["services"]["compare-stream"]

    @property
    def environment(self) -> dict[str, str]:
        environment: dict[str, str] = self.service["environment"]
        return environment

    @property
    def settings(self) -> str:
        """The settings file that it mounts."""
        (volume,) = self.service["volumes"]
        source, target, mode = volume.split(":")
        assert mode == "ro"
        named = Path(self.environment["COMPARE_CONFIG"])
        assert named.parent == Path(target)
        return (FOLDER / str(source) / named.name).read_text()


class Kubernetes:
    """kubernetes.yaml: one object of each kind."""

    def __init__(self) -> None:
        whole = yaml.safe_load_all((FOLDER / "kubernetes.yaml").read_text())
        self.objects: dict[str, dict[str, Any]] = {found["kind"]: found for found in whole}
        self.deployment: dict[str, Any] = self.objects["Deployment"]["spec"]
        self.pod: dict[str, Any] = self.deployment["template"]["spec"]
        (self.container,) = self.pod["containers"]

    @property
    def environment(self) -> dict[str, str]:
        return {pair["name"]: pair["value"] for pair in self.container["env"]}

    @property
    def mounts(self) -> dict[str, dict[str, Any]]:
        """What is mounted, by its path."""
        volumes = {volume["name"]: volume for volume in self.pod["volumes"]}
        return {
            mount["mountPath"]: {**volumes[mount["name"]], **mount}
            for mount in self.container["volumeMounts"]
        }

    @property
    def settings(self) -> str:
        named = Path(self.environment["COMPARE_CONFIG"])
        mount = self.mounts[str(named.parent)]
        config = self.objects["ConfigMap"]
        assert mount["configMap"]["name"] == config["metadata"]["name"]
        text: str = config["data"][named.name]
        return text

    def probes(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        for name in ("startupProbe", "readinessProbe", "livenessProbe"):
            yield name, self.container[name]


@dataclass(frozen=True, slots=True)
class Unit:
    """compare-stream.service: all values of each name, in their order."""

    values: dict[str, list[str]]

    @classmethod
    def read(cls) -> Unit:
        values: dict[str, list[str]] = {}
        for line in (FOLDER / "compare-stream.service").read_text().splitlines():
            if line and not line.startswith(("#", "[")):
                name, separator, value = line.partition("=")
                assert separator, line
                values.setdefault(name, []).append(value)
        return cls(values)

    def one(self, name: str) -> str:
        """Of a name that is there once."""
        (value,) = self.values[name]
        return value

    @property
    def command(self) -> list[str]:
        return shlex.split(self.one("ExecStart"))

    @property
    def environment(self) -> dict[str, str]:
        pairs = (pair.partition("=") for pair in self.values["Environment"])
        return {name: value for name, _, value in pairs}
