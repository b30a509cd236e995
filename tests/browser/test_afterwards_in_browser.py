"""What can be done with answers when they are there: compared, taken along, kept, played again."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from tests.browser.visit import Visit

MODELS = ("sim:swift", "sim:refuses", "echo:a")
QUESTION = "=1+1 is a *question*, with a comma"


def answered(visit: Visit) -> dict[str, str]:
    """A question that has been answered, and the answers."""
    visit.ask(*MODELS, text=QUESTION)
    visit.wait_for_all()
    return {model: visit.text(model) for model in MODELS}


def exported(visit: Visit, kind: str) -> str:
    visit.page.click("#open-export")
    with visit.page.expect_download() as download:
        visit.page.click(f'[data-export="{kind}"]')
    return Path(download.value.path()).read_text(encoding="utf-8")


def test_what_is_exported_has_every_answer_and_its_timings(visit: Visit) -> None:
    answers = answered(visit)

    whole = json.loads(exported(visit, "json"))
    assert {answer["model"]: answer["text"] for answer in whole["answers"]} == answers
    assert all(answer["facts"]["timings"]["duration_ms"] >= 0 for answer in whole["answers"])
    assert whole["recording"]["log"]

    rows = list(csv.DictReader(io.StringIO(exported(visit, "csv"), newline="")))
    assert [row["model"] for row in rows] == list(MODELS)
    assert rows[0]["answer"] == answers["sim:swift"]
    assert float(rows[0]["duration_ms"]) > 0
    assert rows[1]["code"] == "rate_limited"
    # A spreadsheet would take it for a formula.
    assert rows[2]["answer"] == f"'{QUESTION}"

    text = exported(visit, "md")
    for model, answer in answers.items():
        assert f"## {model}" in text
        assert answer in text


def test_a_recording_is_played_again_without_asking_anybody(visit: Visit) -> None:
    answers = answered(visit)
    visit.page.click("#play")
    visit.page.wait_for_selector("#replay:not([hidden])")
    visit.page.select_option("#replay-speed", "4")
    visit.page.wait_for_selector('[data-model="sim:swift"][data-state="writing"]')
    visit.page.click("#replay-end")
    visit.wait_for_all("done", "failed")
    assert {model: visit.text(model) for model in MODELS} == answers
    assert len(visit.questions) == 1


def test_what_is_asked_under_a_recording_continues_nothing(visit: Visit) -> None:
    visit.ask("echo:a", text="first")
    visit.wait_for_all()
    visit.page.click("#play")
    visit.page.wait_for_selector("#replay:not([hidden])")
    visit.page.click("#replay-end")
    assert visit.page.inner_text("#compare") == "Compare"
    assert visit.page.is_hidden("#follow")
    visit.page.fill("#prompt", "second")
    visit.page.click("#compare")
    visit.page.wait_for_function("() => document.querySelector('#asked').textContent === 'second'")
    visit.wait_for_all("done")
    assert visit.questions[1]["conversation_history"] == []
    assert visit.card("echo:a").locator(".earlier details").count() == 0


def test_a_file_that_was_exported_can_be_played(visit: Visit, tmp_path: Path) -> None:
    answers = answered(visit)
    path = tmp_path / "recording.json"
    path.write_text(exported(visit, "json"), encoding="utf-8")
    visit.page.click("#start-over")
    visit.page.click("#open-history")
    visit.page.set_input_files("#recording-file", path)
    visit.page.wait_for_selector("#replay:not([hidden])")
    visit.page.click("#replay-end")
    visit.wait_for_all("done", "failed")
    assert {model: visit.text(model) for model in MODELS} == answers


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '{"recording": {}}',
        '{"recording": {"id": 1, "question": "x", "models": [{"id": "a"}], "log": [[0]]}}',
        '{"recording": {"question": {"x": 1}, "models": "abc", "log": {}}}',
    ],
)
def test_a_file_that_is_no_recording_is_told_in_words(
    visit: Visit, tmp_path: Path, text: str
) -> None:
    visit.open("echo:a")
    path = tmp_path / "recording.json"
    path.write_text(text)
    visit.page.click("#open-history")
    said = "document.querySelector('#history-said').textContent"
    visit.page.wait_for_function(f"() => {said}.startsWith('Nothing yet')")
    visit.page.set_input_files("#recording-file", path)
    visit.page.wait_for_function(f"() => {said} && !{said}.startsWith('Nothing yet')")
    assert visit.page.is_hidden("#replay")


def test_what_was_asked_is_there_after_a_reload_until_it_is_deleted(visit: Visit) -> None:
    answers = answered(visit)
    visit.wait_for_format("echo:a")
    visit.page.reload()
    visit.page.click("#open-history")
    kept = visit.page.locator("#history-list li")
    kept.first.wait_for()
    assert kept.count() == 1
    assert QUESTION in kept.first.inner_text()
    kept.first.locator("button").first.click()
    visit.wait_for_all("done", "failed")
    assert {model: visit.text(model) for model in MODELS} == answers
    assert len(visit.questions) == 1
    visit.page.click("#open-history")
    kept.first.get_by_text("Delete", exact=True).click()
    visit.page.wait_for_function("() => !document.querySelector('#history-list li')")
    visit.page.reload()
    visit.page.click("#open-history")
    visit.page.wait_for_function(
        "() => document.querySelector('#history-said').textContent.startsWith('Nothing yet')"
    )


def open_kept(visit: Visit, place: int = 0) -> None:
    visit.page.click("#open-history")
    row = visit.page.locator("#history-list li").nth(place)
    row.get_by_text("Open", exact=True).click()


def test_a_conversation_that_goes_on_is_not_stopped_by_opening_it(visit: Visit) -> None:
    visit.ask("echo:a", text="first")
    visit.wait_for_all("done")
    visit.page.click("#start-over")
    visit.page.fill("#prompt", "second")
    visit.page.click("#compare")
    visit.wait_for_all("done")
    # One model is asked again and does not answer: the conversation runs.
    visit.page.route("**/compare-stream", lambda _: None)
    visit.press("echo:a", "again")
    visit.wait("echo:a", "connecting")
    for place, hint in ((0, False), (1, True)):
        open_kept(visit, place)
        visit.page.wait_for_selector("#history", state="hidden")
        visit.page.wait_for_timeout(100)
        assert visit.page.is_visible("#hint") is hint
        assert visit.page.inner_text("#asked") == "second"
        assert visit.state("echo:a") == "connecting"
        assert visit.page.is_visible("#stop-all")


def test_whoever_opens_what_was_kept_is_led_to_it(visit: Visit) -> None:
    answered(visit)
    visit.page.reload()
    open_kept(visit)
    visit.page.wait_for_function("() => document.activeElement.id === 'asked'")


def test_two_answers_can_be_compared_word_by_word(visit: Visit) -> None:
    answered(visit)
    visit.page.click("#open-differences")
    visit.page.select_option("#left-model", label="sim:swift")
    visit.page.select_option("#right-model", label="echo:a")
    assert visit.page.locator("#left-text del").count() > 0
    assert visit.page.locator("#right-text ins").count() > 0
    assert visit.page.text_content("#right-text") == QUESTION
