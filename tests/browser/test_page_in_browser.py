"""Asking in a real browser: what the page promises whoever asks, watches, stops, and comes back."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

from service.surface import make_key
from tests.browser.service import Served, serving
from tests.browser.visit import OVER, Visit, visiting

THREE = ("sim:swift", "sim:steady", "sim:thinker")


def figure(visit: Visit, name: str) -> float:
    """A figure under the picture, without its unit."""
    found = re.search(r"[\d.]+", visit.page.text_content(f"#{name}"))
    assert found, name
    return float(found[0])


def test_a_first_visit_needs_one_click(visit: Visit) -> None:
    visit.open()
    assert visit.page.input_value("#prompt").strip()
    assert visit.page.locator("#chosen li").count() == 3
    visit.compare()
    seen = visit.watch()
    moved = next(ms for ms, cards in seen if any(size for _, size in cards.values()))
    assert moved < 1500  # milliseconds, on a busy machine
    assert {state for state, _ in seen[-1][1].values()} == {"done"}


def test_three_answers_grow_side_by_side(visit: Visit) -> None:
    visit.ask(*THREE)
    seen = visit.watch()

    # All headers at once, before any text: the first look that shows a card shows them all.
    first = next(cards for _, cards in seen if cards)
    assert tuple(first) == THREE
    assert sum(size for _, size in first.values()) == 0

    # Chunks in several cards at once: from look to look, two answers grow again and again.
    both = 0
    for (_, before), (_, after) in pairwise(seen):
        grown = [name for name in before if after[name][1] > before[name][1]]
        both += len(grown) >= 2
    assert both >= 5

    # Each ends at a time of its own.
    ended = {
        name: next(ms for ms, cards in seen if cards and cards[name][0] in OVER) for name in THREE
    }
    assert len({round(ms, -1) for ms in ended.values()}) == 3

    # The whole takes about as long as the slowest, and not the sum.
    wall, slowest, total = (figure(visit, name) for name in ("wall", "slowest", "sum"))
    assert wall < 1.3 * slowest
    assert total > 1.5 * wall
    assert figure(visit, "speedup") > 1.5
    assert max(ended.values()) / 1000 < 1.3 * slowest + 1


def test_an_answer_is_formatted_when_it_is_whole_and_raw_is_one_click_away(visit: Visit) -> None:
    visit.ask("sim:coder", "sim:analyst")
    visit.wait_for_all("done")
    visit.wait_for_format("sim:coder", "sim:analyst")
    assert visit.card("sim:coder").locator(".formatted pre code span[class]").count() > 5
    assert visit.card("sim:analyst").locator(".formatted table td").count() > 2
    visit.press("sim:coder", "raw")
    plain = visit.card("sim:coder").locator(".answer.plain")
    assert plain.is_visible()
    assert "```" in plain.text_content()
    visit.press("sim:coder", "raw")
    assert not plain.is_visible()


def test_what_is_shown_as_raw_is_the_answer_byte_for_byte(visit: Visit) -> None:
    text = "a  b\tc\n\n\n<b>&amp;\u00e9\U0001f600\u2028\u202ex " + "y" * 3000 + "\n z"
    visit.ask("echo:a", text=text)
    visit.wait("echo:a", "done")
    assert visit.text("echo:a") == text


def test_an_answer_that_can_not_be_formatted_stays_plain(visit: Visit) -> None:
    visit.service_may_fail = True
    visit.page.route("**/format", lambda route: route.abort())
    visit.ask("sim:terse")
    visit.wait("sim:terse", "done")
    visit.page.wait_for_timeout(200)
    assert visit.card("sim:terse").locator(".answer.plain").is_visible()
    assert not visit.card("sim:terse").locator(".answer.formatted").is_visible()


def test_reasoning_is_folded_and_no_part_of_the_answer(visit: Visit) -> None:
    visit.ask("sim:thinker")
    visit.wait("sim:thinker", "thinking")
    visit.wait("sim:thinker", "done")
    reasoning = visit.card("sim:thinker").locator("details.reasoning")
    assert reasoning.get_attribute("open") is None
    reasoning.locator("summary").click()
    thoughts = reasoning.locator(".thoughts").text_content()
    assert len(thoughts) > 20
    assert thoughts not in visit.text("sim:thinker")


def test_one_that_is_stopped_keeps_its_text_and_the_others_go_on(visit: Visit) -> None:
    visit.ask("sim:rambler", "sim:steady")
    visit.wait("sim:rambler", "writing")
    visit.page.wait_for_function(
        "() => document.querySelector('.card .answer.plain').textContent.length > 20"
    )
    visit.press("sim:rambler", "stop")
    visit.page.wait_for_selector('[data-model="sim:rambler"][data-state="stopped"]', timeout=4000)
    assert len(visit.text("sim:rambler")) > 20
    assert visit.state("sim:steady") not in {"stopped", "failed"}
    visit.wait("sim:steady", "done")
    assert visit.card("sim:rambler").locator('[data-action="again"]').is_visible()


def test_stop_all_stops_all(visit: Visit) -> None:
    visit.ask("sim:rambler", "sim:stalls", "sim:careful")
    visit.wait("sim:rambler", "writing")
    visit.page.click("#stop-all")
    visit.page.wait_for_function(
        "() => [...document.querySelectorAll('.card')].every((c) => c.dataset.state === 'stopped')",
        timeout=4000,
    )
    visit.page.wait_for_selector("#stop-all", state="hidden")
    assert visit.page.is_enabled("#compare")


def test_a_stop_needs_no_answer_of_the_service(visit: Visit) -> None:
    visit.page.route("**/comparisons/**", lambda _: None)
    visit.ask("sim:rambler", "sim:stalls")
    visit.wait("sim:rambler", "writing")
    visit.press("sim:stalls", "stop")
    said = '.card[data-model="sim:stalls"] .state:has-text("stopping")'
    visit.page.wait_for_selector(said)
    visit.page.click("#stop-all")
    visit.wait_for_all()
    assert visit.state("sim:stalls") == "stopped"


def test_a_question_that_nobody_has_answered_yet_can_be_stopped(visit: Visit) -> None:
    visit.page.route("**/compare-stream", lambda _: None)
    visit.ask("sim:rambler", "sim:swift")
    visit.page.click("#stop-all")
    visit.wait_for_all("stopped")
    assert visit.page.is_enabled("#compare")


def test_a_slow_model_never_holds_the_buttons_of_one_that_is_done(visit: Visit) -> None:
    visit.ask("sim:stalls", "sim:swift")
    visit.wait("sim:swift", "done")
    visit.wait_for_format("sim:swift")
    visit.press("sim:swift", "raw")
    assert visit.card("sim:swift").locator(".answer.plain").is_visible()
    visit.press("sim:swift", "again")
    visit.wait("sim:swift", "connecting", "thinking", "writing")
    visit.wait("sim:swift", "done")
    assert visit.state("sim:stalls") in {"connecting", "writing"}
    assert visit.questions[1]["models"] == ["sim:swift"]


def test_a_failure_is_told_in_words_with_what_to_do(visit: Visit) -> None:
    visit.ask("sim:refuses", "sim:truncates", "sim:swift")
    visit.wait_for_all()
    for model, words in (("sim:refuses", "Rate limited"), ("sim:truncates", "without finishing")):
        assert visit.state(model) == "failed"
        trouble = visit.card(model).locator(".trouble").inner_text()
        assert words in trouble
        assert re.search(r"[Tt]ry again|[Aa]sk again", trouble)
        assert visit.card(model).locator('[data-action="again"]').is_visible()
    assert len(visit.text("sim:truncates")) > 0
    assert visit.text("sim:refuses") == ""
    assert visit.state("sim:swift") == "done"


def test_a_question_that_is_refused_stays_to_be_mended(visit: Visit) -> None:
    visit.service_may_fail = True  # Chromium writes each refusal to the console
    visit.ask("sim:swift", text="x" * 5001)
    visit.page.wait_for_selector("#ask-error:not([hidden])")
    assert "5000" in visit.page.inner_text("#ask-error")
    assert visit.page.input_value("#prompt") == "x" * 5001
    visit.page.fill("#prompt", "  ")
    visit.page.click("#compare")
    assert visit.page.inner_text("#ask-error").endswith(".")
    assert len(visit.questions) == 1


def test_a_question_goes_further_with_each_models_own_history(visit: Visit) -> None:
    visit.ask("echo:a", "sim:terse", text="first")
    visit.wait_for_all("done")
    visit.page.fill("#prompt", "second")
    visit.page.press("#prompt", "Control+Enter")
    visit.page.wait_for_function("() => document.querySelector('#asked').textContent === 'second'")
    visit.wait_for_all("done")
    turns = visit.questions[1]["conversation_history"]
    assert turns[0] == {"role": "user", "content": "first"}
    assert {"role": "assistant", "content": "first", "model_id": "echo:a"} in turns
    assert [turn.get("model_id") for turn in turns[1:]] == ["echo:a", "sim:terse"]


def test_the_chosen_models_are_there_again_after_a_reload(visit: Visit) -> None:
    visit.open()
    visit.page.click("#open-models")
    visit.page.click("#picker-none")
    for model in ("sim:poet", "sim:terse"):
        visit.page.fill("#picker-search", model)
        visit.page.check(f'#picker-list input[value="{model}"]')
    visit.page.click("#picker footer [data-close]")
    visit.page.reload()
    visit.page.wait_for_function("() => document.querySelectorAll('#chosen li').length === 2")
    titles = visit.page.eval_on_selector_all("#chosen li", "(all) => all.map((li) => li.title)")
    assert titles == ["sim:poet", "sim:terse"]


def test_a_service_that_is_killed_takes_nothing_that_has_come(browser: Any) -> None:
    with serving() as service, visiting(browser, service) as visit:
        visit.service_may_fail = True
        visit.ask("sim:rambler", "sim:stalls", "echo:a")
        visit.wait("echo:a", "done")
        visit.page.wait_for_function(
            "() => document.querySelector('.card .answer.plain').textContent.length > 20"
        )
        service.kill()
        visit.wait("sim:rambler", "lost")
        visit.wait("sim:stalls", "lost")
        assert visit.state("echo:a") == "done"
        assert len(visit.text("sim:rambler")) > 20
        assert "connection lost" in visit.card("sim:rambler").locator("header").inner_text()
        visit.page.wait_for_selector('#notice:has-text("can\'t be reached")')
        service.start()
        again = visit.page.locator("#notice button", has_text="open ones")
        again.click()
        visit.wait("sim:rambler", "connecting", "thinking", "writing")
        assert visit.questions[1]["models"] == ["sim:rambler", "sim:stalls"]
        assert visit.state("echo:a") == "done"
        visit.page.click("#stop-all")
        visit.wait_for_all("done", "stopped")


def test_a_service_that_asks_for_a_key_is_given_one(browser: Any) -> None:
    key, digest = make_key()
    with serving(digest, speed=4) as service, visiting(browser, service) as visit:
        visit.service_may_fail = True
        visit.page.goto(service.url)
        visit.page.fill("#key", "csk-wrong")
        visit.page.click("#key-form .main")
        visit.page.wait_for_function("() => document.querySelector('#key-said').textContent !== ''")
        visit.page.fill("#key", key)
        visit.page.click("#key-form .main")
        visit.page.wait_for_selector("#key-needed", state="hidden")
        visit.page.fill("#prompt", "x")
        visit.page.click("#compare")
        visit.page.wait_for_selector('.card[data-state="done"]')
        kept = visit.page.evaluate("JSON.stringify({...localStorage}) + document.cookie")
        assert key not in kept


def test_nine_models_at_full_speed_lose_nothing(visit: Visit, service: Served) -> None:
    """Frame times are printed (-s) and not judged: they are the machine's as much as the page's."""
    models = [f"torrent:{n}" for n in range(9)]
    visit.open(*models)
    visit.page.evaluate(
        """() => {
          window.frames_ = []; window.long_ = [];
          let last = performance.now();
          const look = (now) => {
            frames_.push(now - last);
            last = now;
            requestAnimationFrame(look);
          };
          requestAnimationFrame(look);
          const keep = (list) => list.getEntries().forEach((task) => long_.push(task.duration));
          new PerformanceObserver(keep).observe({ type: "longtask" });
        }"""
    )
    visit.page.click("#compare")
    visit.wait_for_all("done")
    frames = sorted(visit.page.evaluate("frames_"))
    long = visit.page.evaluate("long_")
    at = {part: frames[int(len(frames) * part)] for part in (0.5, 0.95, 0.99)}
    print(  # noqa: T201, it is what the test is run for
        f"\n{len(frames)} frames: "
        + ", ".join(f"{part:.0%} within {ms:.0f} ms" for part, ms in at.items())
        + f"; longest {frames[-1]:.0f} ms; {len(long)} long tasks, {sum(long):.0f} ms in all"
    )
    for model in models:
        assert visit.text(model).split() == [f"word{n}" for n in range(900)]
