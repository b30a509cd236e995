"""The page as it is served: its files, and what browsers are told about them."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path

import pytest
import trio

from service.page import MEDIA_TYPES
from service.settings import Server, Settings
from service.surface import make_key
from service.testing import Script, app_for, open_app, open_server
from tests.clients import call, connect

WEB = Path(str(resources.files("service.web")))
FILES = sorted(path.name for path in WEB.iterdir() if path.suffix[1:] in MEDIA_TYPES)
HTML = {"Accept": "text/html"}


@pytest.mark.parametrize("name", FILES)
async def test_each_file_is_served_as_what_it_is(name: str) -> None:
    async with open_app(app := app_for(Script("a"))):
        reply = await call(app, "GET", f"/web/{name}")
    assert reply.status == 200
    assert reply.body == (WEB / name).read_bytes()
    assert reply.headers["content-type"] == MEDIA_TYPES[name.rpartition(".")[2]]
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert reply.headers["cache-control"] == "no-cache"
    assert "default-src 'none'" in reply.headers["content-security-policy"]


async def test_a_look_at_a_files_head_brings_no_body() -> None:
    request = b"HEAD /web/index.html HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"
    with trio.fail_after(5):
        async with open_server(app_for(Script("a"))) as url, await connect(url) as client:
            await client.send_all(request)
            answer = b"".join([bytes(part) async for part in client])
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert b"etag: " in head.lower()
    assert body == b""


@pytest.mark.parametrize("path", ["/", *(f"/web/{name}" for name in FILES)])
async def test_what_a_browser_has_is_not_sent_again(path: str) -> None:
    async with open_app(app := app_for(Script("a"))):
        first = await call(app, "GET", path, headers=HTML)
        again = await call(
            app, "GET", path, headers={**HTML, "If-None-Match": first.headers["etag"]}
        )
        other = await call(app, "GET", path, headers={**HTML, "If-None-Match": '"other"'})
    assert (again.status, again.body) == (304, b"")
    assert again.headers["etag"] == first.headers["etag"]
    assert other.status == 200


@pytest.mark.parametrize(
    "target",
    [
        "/web/",
        "/web",
        "/web/nothing.js",
        "/web/__init__.py",
        "/web/__pycache__",
        "/web/index",
        "/web/.js",
        "/web/INDEX.html",
        "/web/../routes.py",
        "/web/..%2froutes.py",
        "/web/%2e%2e/routes.py",
        "/web/%2e%2e%2froutes.py",
        "/web/..%5croutes.py",
        "/web/%2fetc%2fpasswd",
        "/web//etc/passwd",
        "/web/....//routes.py",
        "/web/index.html%00.js",
        "/web/index.html%0a",
        "/web/index.html/",
        "/web/index.html/x",
        "/web/%c0%ae%c0%ae/routes.py",
        "/web/../web/../openapi/docs.js",
        "/web/..%2fopenapi%2fdocs.js",
        "/api/web/index.html",
    ],
)
async def test_nothing_but_the_pages_own_files_is_there(target: str) -> None:
    request = f"GET {target} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n".encode()
    with trio.fail_after(5):
        async with open_server(app_for(Script("a"))) as url, await connect(url) as client:
            await client.send_all(request)
            answer = b"".join([bytes(part) async for part in client])
    assert re.match(rb"HTTP/1.1 (404|308) ", answer), answer
    assert b"import" not in answer


async def test_the_files_need_no_key_and_whatever_they_ask_for_does() -> None:
    _, digest = make_key()
    settings = Settings(server=Server(api_keys={"k": digest}))
    async with open_app(app := app_for(Script("a"), settings=settings)):
        for path in ("/", *(f"/web/{name}" for name in FILES)):
            assert (await call(app, "GET", path, headers=HTML)).status == 200
        for method, path in (("GET", "/models"), ("POST", "/format"), ("GET", "/web/x/y")):
            assert (await call(app, method, path)).status == 401


async def test_the_policy_lets_the_page_do_what_it_needs_and_nothing_else() -> None:
    async with open_app(app := app_for(Script("a"))):
        reply = await call(app, "GET", "/", headers=HTML)
    policy = dict(
        part.strip().split(" ", 1) for part in reply.headers["content-security-policy"].split(";")
    )
    assert policy == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "'self' data:",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
        "require-trusted-types-for": "'script'",
        "trusted-types": "formatted",
    }


async def test_what_the_root_is_depends_on_who_asks() -> None:
    async with open_app(app := app_for(Script("a"))):
        page = await call(app, "GET", "/", headers={"Accept": "text/html,*/*;q=0.8"})
        greeting = await call(app, "GET", "/")
    assert page.headers["content-type"] == MEDIA_TYPES["html"]
    assert greeting.headers["content-type"] == "application/json"
    assert page.headers["vary"] == greeting.headers["vary"] == "Accept"


class Asked(HTMLParser):
    """What a page loads."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.paths: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = dict(attrs)
        if (tag in {"script", "img", "link"}) and (path := names.get("src") or names.get("href")):
            self.paths.append(path)


async def test_all_that_the_page_asks_for_is_there() -> None:
    asked = Asked((WEB / "index.html").read_text(encoding="utf-8")).paths
    for name in FILES:
        text = (WEB / name).read_text(encoding="utf-8")
        named = re.findall(r"""(?:from|import|@import|url)\s*\(?\s*["']\./([^"']+)["']""", text)
        asked += [f"/web/{other}" for other in named]
    assert "/web/page.css" in asked
    assert "/web/page.js" in asked
    async with open_app(app := app_for(Script("a"))):
        for path in set(asked):
            if not path.startswith("data:"):
                assert (await call(app, "GET", path)).status == 200, path


def test_no_file_of_the_page_names_another_host_or_makes_markup_elsewhere() -> None:
    sinks = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|setHTML"
    for path in (WEB / name for name in FILES):
        text = path.read_text(encoding="utf-8")
        hosts = set(re.findall(r"""["'(]\s*(?:https?:)?//[\w.]+""", text))
        assert hosts <= {'"http://www.w3.org'}, path.name
        assert not re.search(r"\beval\(|new Function|javascript:", text), path.name
        assert bool(re.search(sinks, text)) == (path.name == "formatted.js"), path.name
