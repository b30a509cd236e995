"""The commands of docs/operations, run in a plain environment: build, start, ask, stop."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trio

from service import __version__
from tests.command import ROOT
from tests.packages.container import Box, Image, can_confine, python_of_the_image, running
from tests.packages.dockerfile import Dockerfile
from tests.packages.manifests import Compose, Kubernetes, Unit

PATIENCE = 120
"""Seconds for a start, a question and a stop; two on a machine that has nothing else to do."""

PYTHON = "/opt/compare-stream/bin/python"
VISIT = """
import json
from urllib.request import Request, urlopen

address = "http://127.0.0.1:8000"
paths = ("/health", "/readyz", "/docs")
seen = {path: urlopen(address + path, timeout=60).status for path in paths}
page = urlopen(Request(address, headers={"Accept": "text/html"}), timeout=60).read().decode()
question = {"input_data": "Hello", "models": ["sim:terse"]}
asked = Request(
    address + "/compare-stream",
    data=json.dumps(question).encode(),
    headers={"Content-Type": "application/json"},
)
blocks = urlopen(asked, timeout=60).read().decode().split("\\n\\n")
events = [json.loads(block[6:]) for block in blocks if block.startswith("data: ")]
print(json.dumps({"seen": seen, "page": page, "events": events}))
"""
"""What a caller does, by the image's own Python: there is no curl in it."""

HURRIED = """
[catalogue]
refresh = 0

[providers.sim]
dialect = "simulated"
speed = 20
"""
"""Behind the settings: nobody is asked for a list, and the simulator is quick."""

WITHOUT_WRITABLE_CODE = """
import ctypes, os, sys
PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN = 65, 1
if ctypes.CDLL(None).prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0):
    print("this kernel knows no MDWE", file=sys.stderr)
os.execv(sys.argv[1], sys.argv[1:])
"""
"""MemoryDenyWriteExecute=yes, as systemd does it where the kernel can (Linux 6.3)."""


@dataclass(frozen=True, slots=True)
class Run:
    """How one of the files starts the service."""

    command: Sequence[str]
    environment: dict[str, str] = field(default_factory=dict)
    settings: str | None = None


def run_of(name: str, dockerfile: Dockerfile) -> Run:
    final = dockerfile.final
    match name:
        case "Dockerfile":
            return Run([*final.entrypoint, *final.command])
        case "compose.yaml":
            compose = Compose()
            command = compose.service.get("command", final.command)
            return Run([*final.entrypoint, *command], compose.environment, compose.settings)
        case "kubernetes.yaml":
            pod = Kubernetes()
            command = [*final.entrypoint, *pod.container["args"]]
            return Run(command, pod.environment, pod.settings)
    unit = Unit.read()
    confined = [PYTHON, "-c", WITHOUT_WRITABLE_CODE, *unit.command]
    folder = "/run/credentials/compare-stream.service"
    named = {variable: value.replace("%d", folder) for variable, value in unit.environment.items()}
    return Run(confined, named, Compose().settings)


@contextmanager
def mounted(image: Image, run: Run) -> Iterator[None]:
    """The settings and the key where the run looks for them."""
    if run.settings is None:
        yield
        return
    files = {
        "/etc/compare-stream/compare.toml": f"{run.settings}\n{HURRIED}",
        run.environment["OPENROUTER_API_KEY_FILE"]: "sk-or-of-this-test\n",
    }
    for path, text in files.items():
        here = Path(image(path))
        here.parent.mkdir(parents=True, exist_ok=True)
        here.write_text(text)
    try:
        yield
    finally:
        for name in ("etc", "run"):
            shutil.rmtree(image.root / name)


def snapshot(image: Image) -> dict[Path, int]:
    return {path: path.lstat().st_mtime_ns for path in image.root.rglob("*")}


async def written(box: Box) -> str:
    """The files in the only places where one can be written."""
    if not box.confined:
        return ""
    return (await box.run("find", "/tmp", "/dev/shm", "-xdev", "-type", "f")).stdout.decode()


@pytest.mark.parametrize(
    "name", ["Dockerfile", "compose.yaml", "kubernetes.yaml", "compare-stream.service"]
)
async def test_it_starts_answers_writes_nothing_and_ends_on_the_signal(
    name: str, image: Image, dockerfile: Dockerfile
) -> None:
    run = run_of(name, dockerfile)
    with mounted(image, run), trio.fail_after(PATIENCE):
        before = snapshot(image)
        async with running(image, run.command, **run.environment) as box:
            ready = await box.said(b")\n")
            assert ("providers: sim, openrouter" in ready) == (run.settings is not None)
            visit = await box.run(PYTHON, "-c", VISIT)
            assert visit.returncode == 0, visit.stderr.decode()
            assert (await box.run(*dockerfile.final.healthcheck)).returncode == 0
            assert await written(box) == ""
            box.stop()
            assert await box.process.wait() == 0
            log = await box.rest()
        assert snapshot(image) == before
    told = json.loads(visit.stdout)
    assert set(told["seen"].values()) == {200}
    assert told["page"] == (ROOT / "service" / "web" / "index.html").read_text()
    assert [event["type"] for event in told["events"][-2:]] == ["done", "complete"]
    assert told["events"][-1]["metadata"]["models_successful"] == 1
    assert "Traceback" not in log
    assert "sk-or" not in log
    assert "MDWE" not in log


async def test_the_health_check_says_no_where_nobody_answers(
    image: Image, dockerfile: Dockerfile
) -> None:
    with trio.fail_after(PATIENCE):
        async with running(image, ["sh", "-c", "echo '()'; exec sleep 60"]) as box:
            await box.said(b")\n")
            assert (await box.run(*dockerfile.final.healthcheck)).returncode == 1


@pytest.mark.skipif(not can_confine(), reason="needs root, and namespaces")
async def test_the_process_is_as_confined_as_a_careful_operator_makes_it(
    image: Image, dockerfile: Dockerfile
) -> None:
    """Of these tests themselves: what they show is worth no more than that."""
    final = dockerfile.final
    with trio.fail_after(PATIENCE):
        async with running(image, [*final.entrypoint, *final.command]) as box:
            await box.said(b")\n")
            assert box.status("NSpid").split()[-1] == "1"
            assert set(box.status("Uid").split()) == {"10001"}
            assert set(box.status("Gid").split()) == {"10001"}
            assert (box.status("CapBnd"), box.status("NoNewPrivs")) == ("0" * 16, "1")
            for path in ("/", "/var/tmp", "/opt/compare-stream", "/opt/compare-stream/lib"):
                refused = await box.run("touch", f"{path}/x")
                assert b"Read-only file system" in refused.stderr, path
            assert (await box.run("touch", "/tmp/x")).returncode == 0
            assert await written(box) == "/tmp/x\n"
            routes = await box.run("ip", "route")
            assert (routes.returncode, routes.stdout) == (0, b"")


def test_the_image_holds_the_environment_and_nothing_of_its_making(image: Image) -> None:
    assert [path.name for path in image.root.iterdir()] == ["opt"]
    (site,) = image.venv.glob("lib/python3*/site-packages")
    names = {path.name for path in site.iterdir()}
    assert not names & {"pip", "setuptools", "hatchling", "pytest"}
    assert f"compare_stream-{__version__}.dist-info" in names
    expected = "python3.13" if python_of_the_image() != sys.executable else site.parent.name
    assert site.parent.name == expected
    assert list(site.glob("service/__pycache__/*.pyc")), "the first start would compile, and can't"
