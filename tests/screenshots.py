"""The pictures of the page for the README and the docs: `python -m tests.screenshots [FOLDER]`.

Nine simulated models, one of which is refused and one of which stalls, are asked; the pictures are
taken when the fast ones are done and the slow ones still write. Made anew whenever the page looks
different; needs Chromium and Playwright, as tests/browser does.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.browser.service import Served, serving
from tests.browser.visit import visiting
from tests.command import ROOT

MODELS = (
    *("sim:swift", "sim:steady", "sim:thinker", "sim:coder", "sim:analyst", "sim:bursty"),
    *("sim:careful", "sim:refuses", "sim:rambler"),
)
QUESTION = "Explain structured concurrency to a Go programmer."
LARGEST_BYTES = 200 * 1024
"""Of a picture: it is kept in the repository, and in every copy of it."""

PICTURES: Mapping[str, Mapping[str, Any]] = {
    "page-wide": {"viewport": {"width": 1400, "height": 900}, "color_scheme": "light"},
    "page-dark": {"viewport": {"width": 1400, "height": 900}, "color_scheme": "dark"},
    "page-phone": {
        "viewport": {"width": 390, "height": 844},
        "color_scheme": "light",
        "is_mobile": True,
        "has_touch": True,
    },
}


def take(browser: Any, service: Served, folder: Path, name: str) -> Path:
    """One picture, in the middle of a comparison."""
    path = folder / f"{name}.png"
    with visiting(browser, service, **PICTURES[name]) as visit:
        visit.ask(*MODELS, text=QUESTION)
        for model in ("sim:swift", "sim:thinker"):
            visit.wait(model, "writing" if model == "sim:thinker" else "done")
        if name != "page-phone":
            visit.wait_for_format("sim:swift")
        visit.page.evaluate("() => { document.activeElement.blur(); scrollTo(0, 0); }")
        visit.page.screenshot(path=path)
        visit.page.click("#stop-all")
        visit.wait_for_all()
    size = path.stat().st_size
    if size > LARGEST_BYTES:
        raise SystemExit(f"{path} has {size} bytes; at most {LARGEST_BYTES} are kept.")
    return path


def main() -> None:
    """Take them all."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "images"
    program = shutil.which("chromium")
    if program is None:
        raise SystemExit("needs chromium: apt-get install chromium")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        raise SystemExit("needs playwright: pip install '.[test]'") from None
    folder.mkdir(parents=True, exist_ok=True)
    with serving() as service, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        for name in PICTURES:
            path = take(browser, service, folder, name)
            sys.stdout.write(f"{path}: {path.stat().st_size // 1024} KiB\n")
        browser.close()


if __name__ == "__main__":
    main()
