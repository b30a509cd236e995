"""Imports point one way; who knows what is a short list."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SERVICE = Path(__file__).parents[1] / "service"

# From the values up; a module may import from rows above its own, and within its own package.
LAYERS = [
    {"events", "eventstream", "histogram", "log_outlet", "markup", "redaction", "refusal"}
    | {"responses", "surface", "verdict", "web"},
    {"errors", "jsonlines", "fanin", "pricing", "pulse", "tracing"},
    {"limiter", "patience", "persistence"},
    {"upstream", "simulator", "settings"},
    {"providers", "log"},
    {"request"},
    {"question", "account", "running", "observing", "tally", "allowance", "exposure"}
    | {"changes", "generation"},
    {"bodies", "entrants", "formatting", "heartbeat", "outcome", "progress", "spending"},
    {"outlet", "meter"},
    {"attempts"},
    {"contender"},
    {"race"},
    {"answering"},
    {"comparison"},
    {"admission"},
    {"answer", "shared", "replies"},
    {"metrics", "reloading", "stopping"},
    {"routes", "openapi", "page"},
    {"application"},
    {"edge"},
    {"testing", "cli", "app"},
    {"__init__", "__main__"},
]
WHO_MAY_IMPORT = {
    "httpx": {"upstream"},
    "hypercorn": {"edge"},
    "opentelemetry": {"tracing"},
    "quart": {"answer", "application", "bodies", "openapi", "page", "responses", "routes"}
    | {"metrics"},
    "quart_trio": {"application", "testing"},
    "markdown_it": {"markup"},
    "nh3": {"markup"},
    "pygments": {"markup"},
    "prometheus_client": {"metrics"},
    "rich": {"cli"},
    "click": {"cli"},
}


def unit(path: Path) -> str:
    """The module or package of `service` that a file belongs to."""
    return path.relative_to(SERVICE).parts[0].removesuffix(".py")


def imports_of(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            names.add(node.module or "")
            if node.module == "service":
                names |= {f"service.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return names


FILES = sorted(SERVICE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SERVICE)))
def test_a_module_imports_only_what_stands_below_it(path: Path) -> None:
    own = unit(path)
    [height] = [n for n, layer in enumerate(LAYERS) if own in layer]
    below = set().union(*LAYERS[:height])
    for name in imports_of(path):
        if name.startswith("service.") and (other := name.split(".")[1]) != own:
            if other == "__version__":
                continue
            assert other in below, f"{own} must not import {other}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SERVICE)))
def test_a_library_is_known_only_where_it_belongs(path: Path) -> None:
    for name in imports_of(path):
        owners = WHO_MAY_IMPORT.get(name.split(".")[0])
        assert owners is None or unit(path) in owners, f"{unit(path)} must not import {name}"
