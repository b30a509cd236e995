"""Pictures that go with a question: what is taken, and the one sentence for what is not."""

from __future__ import annotations

import json

import pytest

from service.providers import Image, Message
from service.providers.images import parse_image
from service.providers.openai import ChatCompletions
from service.question import MOST_IMAGES, parse_question
from service.refusal import Refusal
from service.testing import Script, app_for, open_app, open_exchange
from service.testing.script import Step

PNG = "data:image/png;base64,aGVsbG8="
ASKED = {"input_data": "What is this?", "models": ["a:x"]}


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp", "gif"])
def test_a_picture_is_taken_as_it_is(kind: str) -> None:
    url = f"data:image/{kind};base64,aGVsbG8="
    assert parse_image(url) == Image(f"image/{kind}", "aGVsbG8=")
    assert parse_image(url).url == url


TYPES = "expected data:<type>;base64,... with one of image/png, image/jpeg, image/webp, image/gif"
BASE64 = "expected base64 behind the comma, with its padding and nothing else"


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("", TYPES),
        ("https://example.org/a.png", TYPES),
        ("file:///etc/passwd", TYPES),
        ("data:image/svg+xml;base64,aGVsbG8=", TYPES),
        ("data:image/png,aGVsbG8=", TYPES),
        ("data:image/png;charset=utf-8;base64,aGVsbG8=", TYPES),
        ("DATA:image/png;base64,aGVsbG8=", TYPES),
        ("data:image/png;base64,", BASE64),
        ("data:image/png;base64,aGVsbG8", BASE64),
        ("data:image/png;base64,aGVs bG8=", BASE64),
        ("data:image/png;base64,aGVsbG8=\n", BASE64),
        ("data:image/png;base64,aGVsbG8_", BASE64),
        ("data:image/png;base64,====", BASE64),
        ("data:image/png;base64,äöü=", BASE64),
    ],
)
def test_what_is_no_picture_is_refused_in_one_sentence(url: str, words: str) -> None:
    body = json.dumps({**ASKED, "images": [PNG, url]}).encode()
    with pytest.raises(Refusal) as refused:
        parse_question(body, max_models=9)
    assert (refused.value.status, refused.value.code) == (400, "invalid_image")
    assert refused.value.detail == f"images[1]: {words}."


@pytest.mark.parametrize("images", ["x", 3, {"url": PNG}, [3], [None], [{"url": PNG}]])
def test_what_is_no_list_of_texts_is_refused(images: object) -> None:
    with pytest.raises(Refusal) as refused:
        parse_question(json.dumps({**ASKED, "images": images}).encode(), max_models=9)
    assert refused.value.code == "invalid_request"
    assert refused.value.detail.startswith("images")


def test_there_may_be_so_many_and_no_more() -> None:
    for images in (None, [], [PNG] * MOST_IMAGES):
        question = parse_question(json.dumps({**ASKED, "images": images}).encode(), max_models=9)
        assert len(question.images) == len(images or [])
    with pytest.raises(Refusal) as refused:
        parse_question(
            json.dumps({**ASKED, "images": [PNG] * (MOST_IMAGES + 1)}).encode(), max_models=9
        )
    assert refused.value.code == "too_many_images"


async def test_every_model_is_shown_them_with_the_question_and_with_no_other_turn(
    autojump_clock: object,
) -> None:
    steps: tuple[float, Step] = (0, "A circle.")
    scripts = (Script("a", steps), Script("b", steps))
    asked = {
        **ASKED,
        "models": ["a:x", "b:x"],
        "images": [PNG],
        "conversation_history": [{"role": "user", "content": "Hello."}],
    }
    app = app_for(*scripts)
    async with open_app(app), open_exchange(app, "/compare", json_body=asked) as exchange:
        assert json.loads(await exchange.read())["metadata"]["models_successful"] == 2
    for script in scripts:
        assert [prompt.messages for prompt in script.prompts] == [
            (
                Message("user", "Hello."),
                Message("user", "What is this?", (Image("image/png", "aGVsbG8="),)),
            )
        ]


def test_the_openai_dialect_sends_them_as_parts_behind_the_text() -> None:
    question = parse_question(json.dumps({**ASKED, "images": [PNG]}).encode(), max_models=9)
    prompt = question.prompt_for(question.entries[0], "m")
    assert json.loads(ChatCompletions("http://a/v1").request(prompt).body)["messages"] == [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What is this?"},
                {"type": "image_url", "image_url": {"url": PNG}},
            ],
        }
    ]
