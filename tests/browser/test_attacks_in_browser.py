"""What a model says never runs in a real browser, and calls nobody: plain or formatted."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.attacks import ATTACKS, CANARY
from tests.browser.visit import Visit

BATCH = 12
"""Attacks in one answer: together they stay within the length of a question."""
BATCHES = [list(ATTACKS.items())[start : start + BATCH] for start in range(0, len(ATTACKS), BATCH)]


def check_harmless(visit: Visit) -> None:
    """Nothing has run and nothing is there that could."""
    assert visit.page.evaluate("() => window.ran") is None
    assert visit.page.evaluate("() => location.pathname + location.hash") == "/"
    live = "script, style, img, svg, iframe, object, embed, video, form, input, link, meta, base"
    for part in (".answer", ".thoughts", ".trouble", ".earlier"):
        chosen = ", ".join(f"#cards {part} {element}" for element in live.split(", "))
        assert visit.page.locator(chosen).count() == 0
    handlers = visit.page.evaluate(
        """() => [...document.querySelectorAll("#cards .answer *")].flatMap((element) =>
             [...element.attributes].map(({ name }) => name)
               .filter((name) => name.startsWith("on") || ["style", "id", "src"].includes(name)))"""
    )
    assert handlers == []
    places = visit.page.evaluate(
        "() => [...document.querySelectorAll('#cards a')].map((a) => a.protocol)"
    )
    assert set(places) <= {"http:", "https:", "mailto:", ":"}  # the last: a link to nowhere
    assert visit.elsewhere == []


def test_no_attack_runs_or_calls_plain_or_formatted(visit: Visit) -> None:
    texts = ["\n\n".join(text for _, text in batch) for batch in BATCHES]
    visit.open("echo:a")
    for text in texts:
        visit.page.fill("#prompt", text[:5000])
        visit.page.press("#prompt", "Control+Enter")
        visit.page.wait_for_selector('.card[data-state="done"]')
        visit.wait_for_format("echo:a")
        visit.card("echo:a").locator("details.reasoning summary").first.click()
        check_harmless(visit)
        visit.page.keyboard.press("Escape")
        visit.page.click("#start-over")


def test_no_attack_runs_as_the_formatter_gives_it_one_by_one(visit: Visit) -> None:
    """Each by itself, put where the page puts it, clicked on, and hovered over."""
    visit.open("echo:a")
    visit.page.evaluate(
        """async (texts) => {
          const { formatInto } = await import("/web/formatted.js");
          const place = document.createElement("div");
          document.body.append(place);
          const parts = texts.map(() => document.createElement("div"));
          place.append(...parts);
          const { signal } = new AbortController();
          const done = await Promise.all(
            parts.map((part, at) => formatInto(part, texts[at], signal)));
          if (!done.every(Boolean)) throw new Error("not all were formatted");
          for (const part of parts) {
            for (const element of part.querySelectorAll("*")) {
              if (element.href) element.addEventListener("click", (e) => e.preventDefault());
              for (const kind of ["mouseover", "focus", "click", "toggle", "error", "load"])
                element.dispatchEvent(new Event(kind, { bubbles: true, cancelable: true }));
            }
          }
        }""",
        list(ATTACKS.values()),
    )
    time.sleep(0.3)  # whatever would load or run by itself has begun to
    check_harmless(visit)
    assert visit.page.evaluate("() => document.body.lastElementChild.children.length") == len(
        ATTACKS
    )


SINKS = {
    "an inline handler": "document.body.setAttribute('onclick', 'window.ran=1')",
    "markup outside the one place": "document.body.innerHTML = '<b>x</b>'",
    "a second policy": "trustedTypes.createPolicy('another', { createHTML: (x) => x })",
    "eval": "(0, eval)('window.ran=1')",
    "a script's address": "document.createElement('script').src = '/web/page.js'",
}


@pytest.mark.parametrize("code", SINKS.values(), ids=SINKS.keys())
def test_should_the_page_make_a_mistake_its_policy_stops_it(visit: Visit, code: str) -> None:
    visit.open("echo:a")
    # Later: whatever the debugger itself calls is let through by the browser.
    outcome = visit.page.evaluate(
        f"""() => new Promise((resolve) => setTimeout(() => {{
          try {{ {code}; resolve("done"); }} catch (error) {{ resolve(error.name); }}
        }}, 1))"""
    )
    visit.page.click("h1")
    assert visit.page.evaluate("() => window.ran") is None
    assert outcome in {"TypeError", "EvalError"}
    visit.wrong.clear()  # the browser tells of it, as it should


@pytest.mark.parametrize(
    "make",
    [
        f"new Image().src = '{CANARY}/i.png'",
        f"fetch('{CANARY}/f').catch(() => 0)",
        f"navigator.sendBeacon('{CANARY}/b')",
        f"document.body.append(Object.assign(document.createElement('link'), "
        f"{{ rel: 'stylesheet', href: '{CANARY}/s.css' }}))",
    ],
)
def test_nothing_can_be_loaded_from_elsewhere(visit: Visit, make: str) -> None:
    failed: list[Any] = []
    visit.open("echo:a")
    visit.page.on("requestfailed", lambda request: failed.append(request))
    visit.page.evaluate(f"() => {{ {make}; }}")
    time.sleep(0.2)
    # Chromium shows what it blocks as a request that failed, before anything is sent.
    assert all("csp" in (request.failure or "") for request in failed)
    assert any("Content Security Policy" in line for line in visit.wrong)
    visit.wrong.clear()
    visit.elsewhere.clear()
