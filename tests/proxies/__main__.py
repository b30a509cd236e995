"""`python -m tests.proxies --full`: a silence of more than a minute, with the files as they are.

The tests scale the proxies' minute down to a second. This does not, and prints what
docs/operations/proxies.md says of it: for each proxy and protocol, whether an answer came whole
whose model was silent for 65 s in its middle, with the heartbeat, without it, and asked for as a
whole. All of them are silent at the same time.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

import click
import structlog
import trio
import trustme

from tests.proxies.behind import FAR_AWAY, Behind, open_behind
from tests.proxies.clients import PROTOCOLS, Protocol, open_client
from tests.proxies.examples import EXAMPLES, Example
from tests.proxies.running import Proxy, open_proxy
from tests.tools import path_of

SILENCE = 65
"""Seconds; the proxies' limits are 60."""
HEARTBEAT = 10
"""Seconds, the service's default."""
FOREVER = 100
"""Seconds; nothing that is right takes so long."""


@dataclass(frozen=True, slots=True)
class Way:
    """How an answer is asked for."""

    words: str
    path: str
    heartbeat: float
    survives: frozenset[str]
    """With which proxies it comes whole."""


@dataclass(frozen=True, slots=True)
class Row:
    """What came of one question."""

    cells: tuple[str, ...]
    as_said: bool


WAYS = (
    Way("a stream with the heartbeat", "/compare-stream", HEARTBEAT, frozenset(EXAMPLES)),
    Way("a stream without it", "/compare-stream", FAR_AWAY, frozenset({"caddy"})),
    Way("`POST /compare`", "/compare", FAR_AWAY, frozenset(EXAMPLES)),
)


@click.command()
@click.option("--full", is_flag=True, help="Really: it takes 70 seconds.")
def main(full: bool) -> None:
    """A minute's silence through each of the proxies; exit code 1 if one of them is not as said."""
    if not full:
        raise click.UsageError("--full is needed: the scaled checks are tests, run by pytest")
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    sys.exit(0 if trio.run(_run) else 1)


async def _run() -> bool:
    authority = trustme.CA()
    rows: list[Row] = []
    async with trio.open_nursery() as nursery:
        for example in EXAMPLES.values():
            for way in WAYS:
                nursery.start_soon(_one, example, way, authority, rows)
    click.echo("| proxy | asked for | client speaks | came whole | after | heartbeats |")
    click.echo("|---|---|---|---|---|---|")
    for row in sorted(rows, key=lambda row: row.cells):
        click.echo(f"| {' | '.join(row.cells)} |" + ("" if row.as_said else " not as it should be"))
    return all(row.as_said for row in rows)


async def _one(example: Example, way: Way, authority: trustme.CA, rows: list[Row]) -> None:
    path = path_of(example.program)
    if path is None:
        raise click.ClickException(f"needs {example.program}: apt-get install {example.program}")
    async with (
        open_behind(heartbeat=way.heartbeat) as behind,
        open_proxy(example, path, authority, behind.address) as proxy,
        trio.open_nursery() as nursery,
    ):
        for protocol in PROTOCOLS:
            nursery.start_soon(_ask, proxy, behind, way, protocol, authority, rows)


async def _ask(
    proxy: Proxy,
    behind: Behind,
    way: Way,
    protocol: Protocol,
    authority: trustme.CA,
    rows: list[Row],
) -> None:
    model = behind.another(protocol)

    async def speak() -> None:
        await model.say("one")
        await trio.sleep(SILENCE)
        await model.say("two")
        model.finish()

    async with open_client(proxy, authority, protocol) as client, trio.open_nursery() as nursery:
        await client.ask(way.path, model=protocol)
        nursery.start_soon(speak)
        began = trio.current_time()
        with trio.fail_after(FOREVER):
            await client.over()
        seconds = trio.current_time() - began
        nursery.cancel_scope.cancel("it is over")
    whole = b"complete" in client.body or b'"results"' in client.body
    beats = client.body.count(b": ping\n\n")
    said = "yes" if whole else "no"
    cells = (proxy.program, way.words, protocol, said, f"{seconds:.1f} s", str(beats))
    rows.append(Row(cells, whole == (proxy.program in way.survives)))


if __name__ == "__main__":
    main()
