"""Programs that a test needs and that Python does not bring."""

from __future__ import annotations

import os
import shutil

import pytest

__all__ = ["require_tool"]

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
