"""A Prometheus of its own, on loopback, that scrapes one address every second."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import trio

from tests.board.files import ALERTS, SCRAPE, read_yaml

__all__ = ["Prometheus", "Series", "open_prometheus"]

LISTENING = re.compile(rb'msg="Listening on" address=(\S+)')
READY = b"Server is ready to receive web requests."
STOP_SECONDS = 5


@dataclass(frozen=True, slots=True)
class Series:
    """One line of an answer."""

    labels: dict[str, str]
    value: float


class Prometheus:
    """What it can be asked."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def ask(self, expr: str) -> list[Series]:
        """What an expression is now; the test fails where it can't be read."""
        found = await self._get("query", query=expr)
        if found["resultType"] == "scalar":
            return [Series({}, float(found["result"][1]))]
        return [Series(each["metric"], float(each["value"][1])) for each in found["result"]]

    async def until(self, expr: str) -> None:
        """Wait until an expression has a value; the caller's clock says for how long."""
        while not await self.ask(expr):  # noqa: ASYNC110  # another process tells nobody
            await trio.sleep(0.1)

    async def values(self, label: str, match: str) -> list[str]:
        """What a label is on these series."""
        found: list[str] = await self._get(f"label/{label}/values", **{"match[]": match})
        return found

    async def rules(self) -> list[dict[str, Any]]:
        """The rules, and what has become of them."""
        groups = (await self._get("rules"))["groups"]
        return [rule for group in groups for rule in group["rules"]]

    async def _get(self, path: str, **parameters: str) -> Any:
        answer = (await self._client.get(f"/api/v1/{path}", params=parameters)).json()
        assert answer["status"] == "success", f"{parameters}: {answer}"
        return answer["data"]


def _configured(folder: Path, target: str, key: str) -> Path:
    """The example of a scrape, but for the address, the key, and how often."""
    (folder / "key").write_text(key)
    config = read_yaml(SCRAPE.read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["rule_files"] = [str(ALERTS)]
    (job,) = config["scrape_configs"]
    job["static_configs"] = [{"targets": [target]}]
    job["authorization"] = {"credentials_file": str(folder / "key")}
    path = folder / "prometheus.yaml"
    path.write_text(json.dumps(config))
    return path


@asynccontextmanager
async def open_prometheus(
    program: str, folder: Path, target: str, *, key: str
) -> AsyncIterator[Prometheus]:
    """Run it until the context is left; by then the process has ended."""
    process = await trio.lowlevel.open_process(
        [
            program,
            f"--config.file={_configured(folder, target, key)}",
            f"--storage.tsdb.path={folder / 'data'}",
            "--web.listen-address=127.0.0.1:0",
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    assert process.stderr is not None
    log = process.stderr
    try:
        async with log, trio.open_nursery() as nursery:
            address = await nursery.start(_read_log, log)
            async with httpx.AsyncClient(base_url=f"http://{address}") as client:
                yield Prometheus(client)
            nursery.cancel_scope.cancel("nobody reads it any more")
    finally:
        with trio.move_on_after(STOP_SECONDS, shield=True):
            process.terminate()
            await process.wait()
        if process.poll() is None:
            process.kill()
            with trio.move_on_after(STOP_SECONDS, shield=True):
                await process.wait()


async def _read_log(log: trio.abc.ReceiveStream, *, task_status: trio.TaskStatus[str]) -> None:
    """Report the address when it can be asked; go on reading, or it would have to wait for us."""
    said = b""
    while READY not in said:
        more = await log.receive_some()
        assert more, f"it ended after {said.decode()}"
        said += more
    found = LISTENING.search(said)
    assert found is not None
    task_status.started(found[1].decode())
    async for _ in log:
        pass
