"""Programs that a test needs and that Python does not bring."""

from __future__ import annotations

import os
import shutil
from importlib import import_module
from types import ModuleType

import pytest

__all__ = ["path_of", "require_module", "require_tool"]

PACKAGES = {"node": "nodejs", "promtool": "prometheus"}
"""Debian's name for a program, where it is not the program's own."""
FOR_ADMINISTRATORS = "/usr/local/sbin:/usr/sbin:/sbin"
"""Where nginx and HAProxy are, and the path of those who are none does not look."""


def path_of(name: str) -> str | None:
    """The path of a program; None without it."""
    return shutil.which(name) or shutil.which(name, path=FOR_ADMINISTRATORS)


def require_tool(name: str) -> str:
    """The path of a program; without it the test is skipped.

    With COMPARE_REQUIRE_TOOLS=1, as CI sets it, the test fails instead: nothing is skipped unseen.
    Call it from a test that is not async, or from a fixture: pytest-trio loses a skip's reason.
    """
    path = path_of(name)
    if path is not None:
        return path
    missing = f"needs {name}: apt-get install {PACKAGES.get(name, name)}"
    if os.environ.get("COMPARE_REQUIRE_TOOLS") == "1":
        pytest.fail(missing)
    pytest.skip(missing)


def require_module(name: str) -> ModuleType:
    """A module that the extra `test` brings; the same holds."""
    try:
        return import_module(name)
    except ImportError:
        missing = f"needs {name.partition('.')[0]}: pip install '.[test]'"
    if os.environ.get("COMPARE_REQUIRE_TOOLS") == "1":
        pytest.fail(missing)
    pytest.skip(missing)
