"""One browser for a module, one page for a test; whatever goes wrong in the page fails the test."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.browser.service import Served, serving
from tests.browser.visit import Visit, visiting
from tests.tools import require_module, require_tool


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """The system's Chromium; Playwright's own are not downloaded."""
    program = require_tool("chromium")
    sync_api = require_module("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program,
            # As root there is no sandbox; and a background page is drawn as one in front.
            args=["--no-sandbox", "--disable-dev-shm-usage", "--disable-renderer-backgrounding"],
        )
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def service() -> Iterator[Served]:
    """A service whose simulated models are three times as fast as usual."""
    with serving(speed=3) as served:
        yield served


@pytest.fixture
def visit(browser: Any, service: Served) -> Iterator[Visit]:
    """A first visit on a wide screen."""
    with visiting(browser, service) as visit:
        yield visit
