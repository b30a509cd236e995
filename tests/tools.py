"""Programs that a test needs and that Python does not bring."""

from __future__ import annotations

import os
import shutil
from importlib import import_module
from types import ModuleType

import pytest

__all__ = ["require_module", "require_tool"]

PACKAGES = {"node": "nodejs"}
"""Debian's name for a program, where it is not the program's own."""


def require_tool(name: str) -> str:
    """The path of a program; without it the test is skipped.

    With COMPARE_REQUIRE_TOOLS=1, as CI sets it, the test fails instead: nothing is skipped unseen.
    Call it from a test that is not async, or from a fixture: pytest-trio loses a skip's reason.
    """
    path = shutil.which(name)
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
