"""What a visitor does and sees, in the words of the page's hooks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.browser.service import Served

__all__ = ["OVER", "Visit", "visiting"]

PATIENCE = 15_000
"""Milliseconds for whatever a test waits for."""

OVER = ("done", "failed", "stopped", "lost")

# Looks at every card once a frame, until all have ended; gives [ms, {name: [state, characters]}].
WATCH = """
() => { window.watched = new Promise((resolve) => {
  const seen = [];
  const began = performance.now();
  const look = () => {
    const cards = {};
    for (const card of document.querySelectorAll(".card")) {
      const text = card.querySelector(".answer.plain").textContent;
      cards[card.dataset.model] = [card.dataset.state ?? "", text.length];
    }
    seen.push([performance.now() - began, cards]);
    const states = Object.values(cards).map(([state]) => state);
    const over = states.length > 0 && states.every((state) => OVER.includes(state));
    if (over || performance.now() - began > 20000) resolve(seen);
    else requestAnimationFrame(look);
  };
  look();
}); }
""".replace("OVER", json.dumps(OVER))


class Visit:
    """A page of the service in a browser, and all that went wrong in it."""

    def __init__(self, page: Any, service: Served) -> None:
        self.page = page
        self.service = service
        self.wrong: list[str] = []
        self.elsewhere: list[str] = []
        self.questions: list[dict[str, Any]] = []
        self.service_may_fail = False
        page.set_default_timeout(PATIENCE)
        page.on("pageerror", lambda error: self.wrong.append(f"exception: {error}"))
        page.on("console", self._on_console)
        page.on("dialog", self._on_dialog)
        page.on("request", self._on_request)

    def _on_console(self, message: Any) -> None:
        if message.type not in {"error", "warning"}:
            return
        if self.service_may_fail and "Failed to load resource" in message.text:
            return
        self.wrong.append(f"console: {message.text}")

    def _on_dialog(self, dialog: Any) -> None:
        self.wrong.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _on_request(self, request: Any) -> None:
        if not request.url.startswith((f"{self.service.url}/", "data:", "blob:")):
            self.elsewhere.append(request.url)
        if request.url.endswith("/compare-stream"):
            self.questions.append(request.post_data_json)

    def open(self, *models: str) -> None:
        """The page, with these models chosen as on an earlier visit; with none as on a first."""
        self.page.goto(self.service.url)
        if models:
            self.page.evaluate(
                "(ids) => localStorage.setItem('compare-stream.models', JSON.stringify(ids))",
                list(models),
            )
            self.page.reload()
        self.page.wait_for_function("() => document.querySelectorAll('#chosen li').length > 0")

    def ask(self, *models: str, text: str = "Why is the sky blue?") -> None:
        """Open the page, write a question to these models, and press the button."""
        self.open(*models)
        self.page.fill("#prompt", text)
        self.compare()

    def compare(self) -> None:
        """Press the button; what comes of it is noted for `watch`."""
        self.page.evaluate(WATCH)
        self.page.click("#compare")

    def watch(self) -> list[tuple[float, dict[str, tuple[str, int]]]]:
        """What each frame showed of the cards since `compare`, until all have ended."""
        seen: list[tuple[float, dict[str, tuple[str, int]]]]
        seen = self.page.evaluate("() => window.watched")
        return seen

    def card(self, model: str) -> Any:
        """The card of a model."""
        return self.page.locator(f'.card[data-model="{model}"]')

    def press(self, model: str, action: str) -> None:
        """A button of a card."""
        self.card(model).locator(f'[data-action="{action}"]').click()

    def wait(self, model: str, *states: str) -> None:
        """Until the card is in one of these states."""
        chosen = ", ".join(f'.card[data-model="{model}"][data-state="{state}"]' for state in states)
        self.page.wait_for_selector(chosen, state="attached")

    def wait_for_all(self, *states: str) -> None:
        """Until every card is in one of these."""
        self.page.wait_for_function(
            "(states) => [...document.querySelectorAll('.card')]"
            ".every((card) => states.includes(card.dataset.state))",
            arg=list(states or OVER),
        )

    def state(self, model: str) -> str:
        """The state of a card."""
        return str(self.card(model).get_attribute("data-state"))

    def text(self, model: str) -> str:
        """The answer as it came."""
        return str(self.card(model).locator(".answer.plain").text_content())

    def wait_for_format(self, *models: str) -> None:
        """Until these answers are shown formatted."""
        for model in models:
            self.card(model).locator(".answer.formatted").wait_for(state="visible")

    def fits(self) -> bool:
        """Whether nothing is wider than the screen."""
        return bool(
            self.page.evaluate(
                "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
            )
        )


@contextmanager
def visiting(browser: Any, service: Served, **context: Any) -> Iterator[Visit]:
    """A visit by somebody who was never here; at its end nothing went wrong and nothing got out."""
    opened = browser.new_context(**{"viewport": {"width": 1400, "height": 900}, **context})
    try:
        visit = Visit(opened.new_page(), service)
        yield visit
        assert visit.wrong == []
        assert visit.elsewhere == []
    finally:
        opened.close()
