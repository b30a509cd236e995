"""Everything that a run brought, for programs: figures, rows, and on what machine."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from math import isnan
from pathlib import Path
from typing import Any

from tests.bench.bench import Bench, Figure

__all__ = ["as_json", "machine"]

LIBRARIES = (
    *("trio", "hypercorn", "quart", "quart-trio", "h11", "h2", "httpx", "msgspec"),
    *("aiohttp", "httptools", "uvicorn", "uvloop"),
)


def machine() -> dict[str, Any]:
    """What the figures depend on besides the programs."""
    return {
        "processors": len(os.sched_getaffinity(0)),
        "processor": _processor(),
        "platform": platform.platform(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "libraries": {name: _version(name) for name in LIBRARIES},
    }


def as_json(bench: Bench) -> str:
    """The whole; null where there is no figure."""
    whole = {
        "machine": machine(),
        "quick": bench.quick,
        "figures": [_figure(figure) for figure in bench.figures],
        "rows": [asdict(row) for row in bench.rows],
        "left_out": {str(server): reason for server, reason in bench.left_out.items()},
        "wrong": dict(bench.wrong),
    }
    return json.dumps(_without_nan(whole), indent=1) + "\n"


def _figure(figure: Figure) -> dict[str, Any]:
    goal = figure.goal
    return {
        "workload": figure.workload,
        "name": figure.name,
        "value": figure.value,
        "unit": figure.unit,
        "goal": None if goal is None else str(goal),
        "met": None if goal is None else goal.met(figure.value),
    }


def _without_nan(value: Any) -> Any:
    """JSON has no NaN."""
    if isinstance(value, float):
        return None if isnan(value) else round(value, 6)
    if isinstance(value, dict):
        return {name: _without_nan(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_without_nan(one) for one in value]
    return value


def _version(library: str) -> str | None:
    try:
        return version(library)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.machine()
