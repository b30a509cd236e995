"""The page by keyboard, on a phone, in the dark, and read aloud."""

from __future__ import annotations

from typing import Any

import pytest

from tests.browser.audit import CONTRAST, NAMES, UNSEEN_FOCUS
from tests.browser.service import Served
from tests.browser.visit import Visit, visiting

PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}
NINE = tuple(
    f"sim:{name}"
    for name in (
        *("swift", "steady", "thinker", "poet", "coder", "analyst", "terse", "fails", "refuses"),
    )
)
DIALOGS = ["open-models", "open-parameters", "open-history", "open-keys"]


def audit(visit: Visit) -> list[str]:
    """What whoever can't see well, or at all, would stumble over."""
    found: list[str] = visit.page.evaluate(CONTRAST) + visit.page.evaluate(NAMES)
    return found


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("kind", [{}, PHONE], ids=["wide", "phone"])
def test_everything_can_be_read_and_has_a_name(
    browser: Any, service: Served, scheme: str, kind: dict[str, Any]
) -> None:
    with visiting(browser, service, color_scheme=scheme, **kind) as visit:
        visit.open(*NINE)
        visit.page.wait_for_timeout(300)  # colours may fade in
        assert audit(visit) == []
        for dialog in DIALOGS:
            if visit.page.is_visible(f"#{dialog}"):
                visit.page.click(f"#{dialog}")
                assert audit(visit) == []
                visit.page.keyboard.press("Escape")
        visit.page.click("#compare")
        visit.wait("sim:swift", "writing", "done")
        assert audit(visit) == []
        visit.wait_for_all()
        visit.page.wait_for_timeout(300)
        assert audit(visit) == []


def test_a_phone_has_no_sideways_scrolling_and_one_card_open(browser: Any, service: Served) -> None:
    with visiting(browser, service, **PHONE) as visit:
        visit.open(*NINE)
        assert visit.fits()
        visit.page.fill("#prompt", f"Why {'a' * 300}?")
        visit.page.click("#compare")
        visit.wait("sim:swift", "writing", "done")
        assert visit.fits()
        visit.wait_for_all()
        visit.wait_for_format("sim:swift")
        assert visit.fits()
        assert visit.page.locator(".card.opened").count() == 1
        for model in ("sim:coder", "sim:analyst", "sim:refuses"):
            visit.press(model, "open")
            assert visit.page.locator(".card.opened").get_attribute("data-model") == model
            assert visit.fits()
        # The names in the picture are there for all nine, and within it.
        outside = visit.page.evaluate(
            """() => { const { left, right } = document.getElementById("timeline")
                 .getBoundingClientRect();
               return [...document.querySelectorAll("#timeline text")].map((text) => {
                 const box = text.getBoundingClientRect();
                 return box.left < left - 1 || box.right > right + 1 ? text.textContent : "";
               }).filter(Boolean); }"""
        )
        assert outside == []


def test_a_phone_stays_where_one_reads_when_the_answers_end(browser: Any, service: Served) -> None:
    with visiting(browser, service, **PHONE) as visit:
        visit.ask("sim:steady", *NINE[3:])
        visit.wait("sim:steady", "writing")
        assert visit.page.evaluate("() => document.activeElement.id") == "stop-all"
        visit.page.evaluate("() => scrollTo(0, 0)")
        visit.wait_for_all()
        visit.page.wait_for_function("() => document.activeElement.id === 'compare'")
        assert visit.page.evaluate("() => scrollY") == 0


def test_a_phone_has_a_broken_connection_in_sight(browser: Any, service: Served) -> None:
    with visiting(browser, service, **PHONE) as visit:
        visit.service_may_fail = True
        visit.page.route("**/compare-stream", lambda route: route.abort())
        visit.ask(*NINE)
        again = visit.page.locator("#notice button", has_text="open ones")
        again.wait_for()
        for where in ("0", "document.body.scrollHeight / 2", "document.body.scrollHeight"):
            visit.page.evaluate(f"() => scrollTo(0, {where})")
            assert again.evaluate(
                """(button) => { const box = button.getBoundingClientRect();
                     return button.contains(document.elementFromPoint(
                       (box.left + box.right) / 2, (box.top + box.bottom) / 2)); }"""
            )
        assert visit.fits()


def test_nothing_needs_a_mouse(visit: Visit) -> None:
    keyboard = visit.page.keyboard
    visit.open("sim:rambler", "sim:swift")
    for _ in range(40):  # to the question by Tab alone
        if visit.page.evaluate("() => document.activeElement.id") == "prompt":
            break
        keyboard.press("Tab")
    else:
        pytest.fail("Tab does not lead to the question")
    keyboard.press("Control+A")
    keyboard.type("Why?")
    keyboard.press("Control+Enter")
    visit.wait("sim:rambler", "writing")
    keyboard.press("Escape")
    keyboard.press("1")
    keyboard.press("s")
    visit.wait("sim:rambler", "stopped")
    visit.wait("sim:swift", "done")
    visit.wait_for_format("sim:swift")
    keyboard.press("2")
    keyboard.press("r")
    assert visit.card("sim:swift").locator(".answer.plain").is_visible()
    keyboard.press("a")
    visit.wait("sim:swift", "connecting", "thinking", "writing")
    keyboard.press("x")
    visit.wait_for_all("stopped", "done")
    keyboard.press("?")
    assert visit.page.is_visible("#keys")
    keyboard.press("Escape")
    assert not visit.page.is_visible("#keys")
    keyboard.press("/")
    assert visit.page.evaluate("() => document.activeElement.id") == "prompt"
    keyboard.type("sx?1")  # keys of one letter are letters where one writes
    assert visit.page.input_value("#prompt").endswith("sx?1")
    assert visit.page.evaluate("() => window.scrollX") == 0


def test_the_focus_can_be_seen_wherever_it_is(visit: Visit) -> None:
    visit.ask("sim:swift", "sim:refuses")
    visit.wait_for_all()
    visit.wait_for_format("sim:swift")
    visit.page.evaluate("() => document.activeElement.blur()")
    reached = set()
    for _ in range(60):
        visit.page.keyboard.press("Tab")
        unseen = visit.page.evaluate(UNSEEN_FOCUS)
        assert unseen == "", "the focus can't be seen"
        here = visit.page.evaluate(
            "() => document.activeElement.id || document.activeElement.dataset.action || ''"
        )
        reached.add(here)
    assert {"prompt", "compare", "open-models", "again", "raw", "copy"} <= reached


def test_a_dialog_keeps_the_focus_and_gives_it_back(visit: Visit) -> None:
    visit.open()
    visit.page.focus("#open-models")
    visit.page.keyboard.press("Enter")
    for _ in range(12):
        visit.page.keyboard.press("Tab")
        inside = visit.page.evaluate(
            "() => document.activeElement === document.body"  # the browser's own bar
            " || document.getElementById('picker').contains(document.activeElement)"
        )
        assert inside
    visit.page.keyboard.press("Escape")
    assert visit.page.evaluate("() => document.activeElement.id") == "open-models"


def test_what_is_read_aloud_is_short_and_seldom(visit: Visit) -> None:
    visit.open("sim:swift", "sim:steady", "sim:refuses")
    visit.page.evaluate(
        """() => {
          window.said_ = [];
          const said = document.getElementById("said");
          new MutationObserver(() => said.textContent && said_.push(said.textContent))
            .observe(said, { childList: true, characterData: true, subtree: true });
        }"""
    )
    visit.page.click("#compare")
    visit.wait_for_all()
    visit.page.wait_for_function("() => said_.some((words) => words.includes('2 done, 1 not'))")
    said = visit.page.evaluate("() => said_")
    assert len(said) <= 8
    assert max(map(len, said)) < 300
    assert any("sim:refuses: failed" in words for words in said)
    live = visit.page.evaluate(
        "() => document.querySelectorAll('#cards [aria-live], #cards [role=status]').length"
    )
    assert live == 0  # what models write is never shouted


@pytest.mark.parametrize(("scheme", "dark"), [("light", False), ("dark", True)])
def test_the_page_is_as_dark_as_the_system_until_it_is_told(
    browser: Any, service: Served, scheme: str, dark: bool
) -> None:
    def is_dark(visit: Visit) -> bool:
        colour = "() => getComputedStyle(document.body).backgroundColor.match(/[\\d.]+/g)"
        return max(float(part) for part in visit.page.evaluate(colour)[:3]) < 80

    with visiting(browser, service, color_scheme=scheme) as visit:
        visit.open()
        assert is_dark(visit) is dark
        seen = set()
        for _ in range(3):
            visit.page.click("#theme")
            visit.page.wait_for_timeout(250)
            seen.add(is_dark(visit))
        assert seen == {True, False}
        chosen = is_dark(visit)
        visit.page.reload()
        visit.page.wait_for_timeout(250)
        assert is_dark(visit) is chosen


def test_nothing_moves_for_whoever_wants_no_motion(browser: Any, service: Served) -> None:
    with visiting(browser, service, reduced_motion="reduce") as visit:
        visit.ask("sim:steady")
        visit.wait("sim:steady", "writing")
        moving = visit.page.evaluate(
            "() => document.getAnimations()"
            ".filter((each) => each.effect.getTiming().iterations > 1).length"
        )
        assert moving == 0
