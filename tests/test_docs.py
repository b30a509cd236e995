"""The documentation, held to what the code does: its examples run, its tables are complete.

Every block of sh, js or python in the README, in `docs/` and in `docs/operations/` runs, against a
served application with a simulator in a hurry, or says before it why it does not.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import httpx
import pytest
import trio
from msgspec import Struct

from service.application import CODES, create_app
from service.edge.http1 import REFUSALS
from service.events import (
    ERROR_CODES,
    Chunk,
    Complete,
    Done,
    ErrorChunk,
    Fallback,
    Metadata,
    Progress,
    Queued,
    Reasoning,
    Start,
    Timings,
    Usage,
)
from service.providers.catalogue import CatalogueModel, ModelPrice, SourceState
from service.question import QuestionBody, Turn
from service.replies import (
    Compared,
    Models,
    ModelStatistics,
    ModelStats,
    RateLimitStatus,
    ShortModelStatistics,
    Stopping,
)
from service.settings import ProviderSettings, Settings, load, settings_by_table
from service.simulator import MODELS
from service.testing import open_server
from tests.command import ROOT, environment
from tests.markdown import Block, anchors, blocks, links, section, tables
from tests.settings_page import PAGE as SETTINGS
from tests.settings_page import made_anew, tables_of
from tests.tools import require_tool

DOCS = ROOT / "docs"
README = ROOT / "README.md"
OPERATIONS = sorted((DOCS / "operations").glob("*.md"))
PAGES = [*([README] if README.exists() else []), *sorted(DOCS.glob("*.md")), *OPERATIONS]
ALL_PAGES = sorted({*PAGES, *DOCS.glob("*/*.md")})
ELSEWHERE = DOCS / "clients.md"
"""tests/test_clients_page.py runs its examples, tests/browser/test_client_in_browser.py one."""
BLOCKS = [block for page in PAGES if page != ELSEWHERE for block in blocks(page)]

TESTED = ["testing.md", "adding-a-dialect.md"]
"""Pages whose examples are tests; the first of them says how these are run."""
RUN = {"sh", "js", "python"}
SHOWN = {"toml", "ini", "nginx", "caddyfile", "haproxy", "yaml", "dockerfile", "promql", "mermaid"}


def is_test(block: Block) -> bool:
    return block.language == "python" and "def test_" in block.text


EXAMPLES = [
    block
    for block in BLOCKS
    if block.language in RUN and block.not_run is None and not is_test(block)
]
CLIENTS = [block for block in EXAMPLES if block.language in ("js", "python")]


def simulated(speed: float) -> Settings:
    return Settings(providers={"sim": ProviderSettings(dialect="simulated", speed=speed)})


HURRIED = simulated(50)
WATCHABLE = simulated(5)
"""Slow enough for `verify` to see who writes when."""
ADDRESS = "127.0.0.1:8000"
QUESTION = "Why is the sky blue?"
PATIENCE = 30


async def run(
    command: Sequence[str | Path], cwd: Path, **environ: str
) -> subprocess.CompletedProcess[bytes]:
    """A process that has the service at hand, as a module and as a command; and its output."""
    tools = cwd / "bin"
    tools.mkdir(exist_ok=True)
    script = tools / "compare-stream"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m service "$@"\n')
    script.chmod(0o755)
    env = environment(PYTHONPATH=str(ROOT), PYTHONUTF8="1", **environ)
    env["PATH"] = f"{tools}:{env['PATH']}"
    with trio.fail_after(PATIENCE):
        return await trio.run_process(
            list(map(str, command)),
            capture_stdout=True,
            capture_stderr=True,
            check=False,
            cwd=cwd,
            env=env,
        )


@pytest.fixture
def program(block: Block) -> Sequence[str]:
    """What runs an example; the test is skipped where it is missing.

    A fixture, because pytest-trio runs a test in a nursery, whose group hides the reason.
    """
    match block.language:
        case "sh":
            if "curl" in block.text:
                require_tool("curl")
            return ["sh", "-eu"]
        case "js":
            return [require_tool("node")]
        case _:
            return [sys.executable]


async def output_of(block: Block, program: Sequence[str], address: str, directory: Path) -> str:
    """What an example prints, with `address` in place of the one that is written there."""
    script = directory / ("example.mjs" if block.language == "js" else "example")
    script.write_text(block.text.replace(ADDRESS, address), encoding="utf-8")
    ended = await run([*program, script], directory)
    assert ended.returncode == 0, ended.stderr.decode()
    return ended.stdout.decode()


async def whole_answers(url: str, models: Sequence[str]) -> dict[str, str]:
    """What these models answer to the question of the examples; the simulator repeats itself."""
    async with httpx.AsyncClient(timeout=PATIENCE) as client:
        question = {"input_data": QUESTION, "models": list(models)}
        reply = await client.post(f"{url}/compare", json=question)
    answers: dict[str, str] = reply.json()["results"]
    return answers


# --- the examples run ---


@pytest.mark.parametrize("block", [b for b in EXAMPLES if b.language == "sh"], ids=str)
async def test_a_command_of_the_documentation_brings_a_whole_answer(
    block: Block, program: Sequence[str], tmp_path: Path
) -> None:
    settings = WATCHABLE if "verify" in block.text else HURRIED
    async with open_server(create_app(settings)) as url:
        output = await output_of(block, program, url.removeprefix("http://"), tmp_path)
    signs = (
        '{"type":"complete"',
        '{"results":',
        '{"html":',
        "\nCONCURRENT: ",
        '{"concurrent":true',
    )
    assert any(sign in output for sign in signs), output


@pytest.mark.parametrize("block", CLIENTS, ids=str)
async def test_a_client_of_the_documentation_prints_every_answer_whole(
    block: Block, program: Sequence[str], tmp_path: Path
) -> None:
    async with open_server(create_app(HURRIED)) as url:
        answers = await whole_answers(url, re.findall(r'"(sim:\w+)"', block.text))
        output = await output_of(block, program, url.removeprefix("http://"), tmp_path)
    assert answers
    for model, answer in answers.items():
        assert f"{model}\n\n{answer}" in output


@pytest.mark.parametrize("name", TESTED)
async def test_the_tests_of_the_documentation_pass(name: str, tmp_path: Path) -> None:
    modules = [block for block in blocks(DOCS / name) if is_test(block)]
    (configuration,) = [block for block in blocks(DOCS / TESTED[0]) if block.language == "toml"]
    (tmp_path / "pyproject.toml").write_text(configuration.text)
    for number, block in enumerate(modules):
        (tmp_path / f"test_{number}.py").write_text(block.text, encoding="utf-8")
    ended = await run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"], tmp_path)
    count = sum(block.text.count("def test_") for block in modules)
    assert ended.returncode == 0, ended.stdout.decode()
    assert f"{count} passed" in ended.stdout.decode()


def test_how_to_add_a_dialect_is_told_in_a_hundred_lines() -> None:
    assert (DOCS / "adding-a-dialect.md").read_text().count("\n") < 100


def test_no_example_is_left_unrun() -> None:
    assert {block.language for block in BLOCKS} <= RUN | SHOWN
    tests = [block for block in BLOCKS if is_test(block) and block.not_run is None]
    assert {block.page.name for block in tests} == {*TESTED}
    for block in BLOCKS:
        assert block.not_run != "", f"{block} does not say why it is not run"


@pytest.mark.parametrize(
    "block", [b for b in BLOCKS if b.page.name != "testing.md" and b.language == "toml"], ids=str
)
def test_an_example_of_a_file_is_one_that_the_service_takes(block: Block, tmp_path: Path) -> None:
    path = tmp_path / "compare.toml"
    path.write_text(block.text)
    names = ("OPENROUTER", "OPENAI", "ANTHROPIC", "GEMINI")
    load(path, {f"{name}_API_KEY": "k" for name in names})


# --- the tables are complete ---


def code(cell: str) -> str:
    """A cell's content without its backticks."""
    return cell.strip("`")


def first_column(page: Path, heading: str) -> list[list[str]]:
    """The first cells of each table under a heading."""
    return [[code(row[0]) for row in table] for table in tables(section(page, heading))]


def names(*structs: type[Struct]) -> list[str]:
    return list(dict.fromkeys(name for struct in structs for name in struct.__struct_fields__))


@pytest.mark.parametrize(
    ("heading", "expected"),
    [
        ("#### `start`", [names(Start)]),
        ("#### `queued`", [names(Queued)]),
        ("#### `fallback`", [names(Fallback)]),
        ("#### `chunk`", [names(Chunk, ErrorChunk)]),
        ("#### `reasoning`", [names(Reasoning)]),
        ("#### `progress`", [names(Progress)]),
        ("#### `done`", [names(Done), names(Timings), names(Usage)]),
        ("#### `complete`", [names(Complete), names(Metadata)]),
        ("## Ask", [names(QuestionBody), ["brief", "standard", "extended"], names(Turn)]),
        ("## Stop", [names(Stopping)]),
        ("## Wait for all: `POST /compare`", [names(Compared)]),
        (
            "## Simulated answers",
            [[model.id for model in MODELS if not model.well_behaved]],
        ),
    ],
)
def test_the_contract_names_every_field_in_its_order(
    heading: str, expected: list[list[str]]
) -> None:
    assert first_column(DOCS / "contract.md", heading) == expected


def test_the_contract_names_every_error_code() -> None:
    (rows,) = first_column(DOCS / "contract.md", "### Error codes")
    assert sorted(rows) == sorted(ERROR_CODES)


def _raising() -> list[Path]:
    """The files whose refusals are HTTP's."""
    service = ROOT / "service"
    return [*service.glob("*.py"), *service.glob("surface/*.py")]


def test_the_contract_names_every_refusal() -> None:
    (rows,) = tables(section(DOCS / "contract.md", "## Refusals"))
    source = "".join(path.read_text() for path in _raising())
    raised = set(re.findall(r'(?:Refusal|Denial)\(\s*(\d+),\s*"(\w+)"', source))
    words = {**CODES, **{status: word for status, (word, _) in REFUSALS.items()}}
    answered = {(str(status), word) for status, word in words.items()}
    rest = {("500", "internal_error"), ("other", "refused")}
    assert {(row[0], code(row[1])) for row in rows} == raised | answered | rest


def test_the_contract_names_the_fields_of_the_other_endpoints() -> None:
    page = DOCS / "contract.md"
    text = section(page, "## Other endpoints") + section(page, "### The list of models")
    for name in names(
        *(Models, CatalogueModel, ModelPrice, SourceState),
        *(ModelStats, ModelStatistics, ShortModelStatistics, RateLimitStatus),
    ):
        assert re.search(rf"\b{name}\b", text), name


def test_the_tables_of_the_settings_are_those_of_their_types() -> None:
    made = made_anew(SETTINGS)
    assert SETTINGS.read_text() == made, "run python -m tests.settings_page"


def test_the_tables_of_the_settings_stand_under_their_headings_and_none_is_missing() -> None:
    described = settings_by_table()
    assert sorted(tables_of(SETTINGS)) == sorted(name or "top" for name in described)
    for table, settings in described.items():
        heading = f"## `[{table}]`" if table else "## Which provider answers"
        told = [code(row[0]) for row in tables(section(SETTINGS, heading))[0]]
        assert told == [setting.name for setting in settings]
    page = SETTINGS.read_text()
    assert set(re.findall(r"^## `\[([^\]]+)", page, re.MULTILINE)) == {*described} - {""}


def test_a_setting_that_is_said_to_have_no_effect_has_none() -> None:
    told = re.findall(r"^\| `(\w+)` .*no effect in this", (DOCS / "settings.md").read_text(), re.M)
    for path in (ROOT / "service").rglob("*.py"):
        if path.parent.name != "settings":
            assert not [name for name in told if name in path.read_text()], path


# --- the links lead somewhere ---


@pytest.mark.parametrize("page", ALL_PAGES, ids=lambda page: page.name)
def test_every_link_leads_to_a_file_and_a_heading_that_is_there(page: Path) -> None:
    for link in links(page):
        if link.startswith(("http://", "https://", "mailto:")):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target), link
