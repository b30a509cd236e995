"""The page's modules that know no page, run by node: bytes to events, events to state.

Each file of `tests/modules` is copied beside the page's own, into a folder that says that `.js` is
a module, which older versions of node want to be told.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from importlib import resources
from pathlib import Path

import pytest

from service.eventstream import encode
from service.openapi.examples import EVENTS, STREAM
from tests.tools import require_tool

TESTS = sorted(Path(__file__).with_name("modules").glob("*.test.js"))
WEB = Path(str(resources.files("service.web")))
UNUSUAL = 'data: {"type":"chunk","model":"m","content":"\u00e9\u2028 \U0001f600\\n\\n"}\n\n'


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.name)
def test_a_module_of_the_page(path: Path, tmp_path: Path) -> None:
    node = require_tool("node")
    shutil.copytree(WEB, tmp_path / "web")
    shutil.copy(path, tmp_path)
    (tmp_path / "package.json").write_text('{"type": "module"}')
    stream = STREAM + UNUSUAL
    events = [json.loads(encode(event)[len(b"data: ") :]) for event in EVENTS]
    events.append(json.loads(UNUSUAL.removeprefix("data: ")))
    (tmp_path / "given.json").write_text(json.dumps({"stream": stream, "events": events}))
    ended = subprocess.run(
        [node, "--test", "--test-reporter=tap", path.name],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "\n# pass 0\n" not in ended.stdout


@pytest.mark.parametrize("path", sorted(WEB.glob("*.js")), ids=lambda path: path.name)
def test_each_module_can_be_read(path: Path) -> None:
    node = require_tool("node")
    ended = subprocess.run(
        [node, "--input-type=module", "--check"],
        input=path.read_bytes(),
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr.decode()
