"""The client of docs/clients.md that is made for browsers, in one, on a page of another origin."""

from __future__ import annotations

import json
import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection, HTTPResponse
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from tests.browser.visit import PATIENCE
from tests.command import ROOT, environment
from tests.markdown import blocks

[CLIENT] = [
    block.text for block in blocks(ROOT / "docs" / "clients.md") if block.language == "html"
]
ADDRESS = "127.0.0.1:8000"
MODELS = ["sim:terse", "sim:poet"]
QUESTION = {"input_data": "Why is the sky blue?", "models": MODELS}
SECONDS = PATIENCE / 1000
SPEED = 3
"""Slow enough to leave in the middle of an answer."""


class Service:
    """A service as a process, which pages of one origin may ask."""

    def __init__(self, folder: Path, origin: str) -> None:
        config = folder / "compare.toml"
        config.write_text(
            f'[server]\ncors_origins = ["{origin}"]\n[limits]\nmax_comparisons = 1\n'
            f'[providers.sim]\ndialect = "simulated"\nspeed = {SPEED}\n'
        )
        arguments = ["serve", "--bind", "127.0.0.1:0", "--config", str(config)]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "service", *arguments],
            cwd=ROOT,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
        )
        assert self.process.stdout is not None
        self.address = self.process.stdout.readline().decode().split()[3].removeprefix("http://")

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()

    def logs(self, **said: str) -> None:
        """Wait until its log has a line that says so."""
        assert self.process.stderr is not None
        while select.select([self.process.stderr], [], [], SECONDS)[0]:
            if said.items() <= json.loads(self.process.stderr.readline()).items():
                return
        raise AssertionError(f"no line with {said} within {SECONDS} s")

    @contextmanager
    def asked(self, path: str, *models: str) -> Iterator[HTTPResponse]:
        """A question of somebody else's."""
        with closing(HTTPConnection(self.address, timeout=SECONDS)) as connection:
            body = json.dumps({**QUESTION, "models": models})
            connection.request("POST", path, body, {"Content-Type": "application/json"})
            yield connection.getresponse()


class Site(BaseHTTPRequestHandler):
    """Somebody's site, with the page on it."""

    text = ""
    """What a test has put there."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/" else 204)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(self.text.encode())

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the library's name
        pass


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    """The site's origin."""
    with HTTPServer(("127.0.0.1", 0), Site) as server:
        thread = Thread(target=server.serve_forever, name="site")
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def service(site: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """It answers one comparison at a time."""
    service = Service(tmp_path_factory.mktemp("service"), site)
    yield service
    service.kill()


@pytest.fixture
def page(browser: Any, service: Service) -> Iterator[Any]:
    """A tab that has seen nothing yet; the site has the page for this service."""
    Site.text = CLIENT.replace(ADDRESS, service.address)
    context = browser.new_context()
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    yield page
    context.close()


def wait_until(page: Any, state: str) -> str:
    """The page's state, once it begins so."""
    page.wait_for_function(
        "state => document.querySelector('#state').textContent.startsWith(state)", arg=state
    )
    return str(page.inner_text("#state"))


def wait_for_words(page: Any) -> None:
    page.wait_for_function("document.querySelector('pre')?.textContent.length > 0")


def answers(page: Any) -> dict[str, list[str]]:
    """Each model's answer, and how it ended."""
    sections = page.query_selector_all("section")
    return {
        section.query_selector("h2").text_content(): [
            section.query_selector("pre").text_content(),
            section.get_attribute("data-end"),
        ]
        for section in sections
    }


def test_it_shows_every_answer_whole(page: Any, site: str, service: Service) -> None:
    with service.asked("/compare", *MODELS) as response:
        whole = json.load(response)["results"]
    page.goto(site)
    wait_until(page, "complete")
    assert answers(page) == {model: [text, "whole"] for model, text in whole.items()}


def test_it_asks_again_when_it_was_refused_for_now(page: Any, site: str, service: Service) -> None:
    with service.asked("/compare-stream", "sim:stalls") as response:
        assert response.status == 200
        with page.expect_response(lambda response: response.status == 503):
            page.goto(site)
    service.logs(event="comparison ended", outcome="client_gone")
    wait_until(page, "complete")
    assert [end for _, end in answers(page).values()] == ["whole", "whole"]


def test_it_says_when_it_is_refused(page: Any, site: str) -> None:
    Site.text = Site.text.replace('"sim:poet"', '"sim:nobody"')
    page.goto(site)
    assert "sim:nobody" in wait_until(page, "refused: ")


def test_a_stream_that_ends_in_order_without_complete_is_no_success(page: Any, site: str) -> None:
    stream = "".join(
        f"data: {json.dumps(event)}\n\n"
        for event in (
            {"model": "sim:poet", "type": "start"},
            {"model": "sim:poet", "type": "chunk", "content": "half <b>an</b> answer"},
        )
    )
    anybody = {"Access-Control-Allow-Origin": "*", "Access-Control-Allow-Headers": "*"}
    page.route("**/compare-stream", lambda route: route.fulfill(body=stream, headers=anybody))
    page.goto(site)
    assert wait_until(page, "cut: ") == "cut: no complete came"
    assert answers(page) == {"sim:poet": ["half <b>an</b> answer", None]}


@pytest.mark.parametrize("how", ["the button", "the page is closed"])
def test_who_leaves_stops_the_models(page: Any, site: str, service: Service, how: str) -> None:
    page.goto(site)
    wait_for_words(page)
    if how == "the button":
        page.click("#stop")
        wait_until(page, "stopped")
    else:
        page.close()
    service.logs(event="comparison ended", outcome="client_gone")


# The last one: the service does not live through it.
def test_words_are_shown_as_they_come_and_a_connection_that_breaks_is_no_success(
    page: Any, site: str, service: Service
) -> None:
    page.goto(site)
    wait_for_words(page)
    service.kill()
    wait_until(page, "cut: ")
