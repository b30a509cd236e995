"""What browsers are told about what we send."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path

import pytest

import service.openapi
from service.settings import Server, Settings
from service.surface import make_key
from service.testing import Script, app_for, open_app
from tests.clients import asking, call

PAGES = ["/", "/api/", "/docs"]
SCRIPT = Path(service.openapi.__file__).with_name("docs.js")


@pytest.mark.parametrize("path", PAGES)
async def test_a_page_may_be_framed_by_nobody_and_tells_nobody_where_it_was(path: str) -> None:
    async with open_app(app := app_for(Script("a"))):
        reply = await call(app, "GET", path, headers={"Accept": "text/html"})
    assert reply.headers["content-type"].startswith("text/html")
    policy = dict(
        part.strip().split(" ", 1) for part in reply.headers["content-security-policy"].split(";")
    )
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert not {"unsafe", "*", "http"} & set(re.findall(r"unsafe|\*|http", str(policy)))
    assert reply.headers["x-frame-options"] == "DENY"
    assert reply.headers["referrer-policy"] == "no-referrer"
    assert reply.headers["permissions-policy"] == "camera=(), geolocation=(), microphone=()"
    assert reply.headers["cross-origin-opener-policy"] == "same-origin"


async def test_no_browser_guesses_what_a_response_is() -> None:
    _, digest = make_key()
    settings = Settings(server=Server(api_keys={"k": digest}, hosts=("ours",), cors_origins=("*",)))
    guarded = app_for(Script("a"), settings=settings)
    async with open_app(app := app_for(Script("a", (0, "x")))), open_app(guarded):
        replies = [
            await call(app, "POST", "/compare-stream", json_body=asking("a:m")),
            await call(app, "POST", "/compare", json_body=asking("a:m")),
            await call(app, "POST", "/compare", json_body=[]),
            await call(app, "GET", "/", headers={"Accept": "text/html"}),
            await call(app, "GET", "/docs/docs.js"),
            await call(app, "GET", "/openapi.json"),
            await call(app, "GET", "/nowhere"),
            await call(guarded, "GET", "/models"),
            await call(guarded, "GET", "/models", headers={"Host": "ours"}),
            await call(
                guarded,
                "OPTIONS",
                "/models",
                headers={"Host": "ours", "Origin": "x", "Access-Control-Request-Method": "GET"},
            ),
        ]
    assert [reply.status for reply in replies] == [200, 200, 400, 200, 200, 200, 404, 421, 401, 204]
    assert {reply.headers["x-content-type-options"] for reply in replies} == {"nosniff"}


class Elements(HTMLParser):
    """What a strict policy forbids in a page."""

    def __init__(self) -> None:
        super().__init__()
        self.forbidden: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = dict(attrs)
        if tag == "style" or (tag == "script" and "src" not in names):
            self.forbidden.append(f"<{tag}>")
        self.forbidden += [name for name in names if name == "style" or name.startswith("on")]
        self.forbidden += [
            value for value in names.values() if value and value.startswith("javascript:")
        ]


@pytest.mark.parametrize(
    "page",
    [
        resources.files("service.web").joinpath("index.html"),
        resources.files("service.openapi").joinpath("docs.html"),
    ],
    ids=["/", "/docs"],
)
def test_nothing_in_a_page_is_what_its_policy_forbids(page: Path) -> None:
    elements = Elements()
    elements.feed(page.read_text(encoding="utf-8"))
    assert elements.forbidden == []


def test_the_script_of_the_documentation_needs_no_eval_and_no_other_host() -> None:
    script = SCRIPT.read_text(encoding="utf-8")
    assert not re.search(r"\beval\b|new Function|https?:", script)
    assert "validatorUrl: null" in script
