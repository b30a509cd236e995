"""The service for tests in a browser: `python -m tests.browser.served ADDRESS SPEED [DIGEST]`.

Beside the simulator it has `echo`, whose models say what they are asked, and `torrent`, whose
models write 300 tokens a second. With a digest it asks for that key.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import trio

from service import log
from service.application import create_app
from service.edge import Binding, serve_until_signalled
from service.log_outlet import Outlet
from service.providers import Ending, Prompt, Sink
from service.providers.roster import Roster, open_roster
from service.settings import Limits, ProviderSettings, Server, Settings

TOKENS = 900
"""Of a torrent: three seconds."""


class Echo:
    """Says what it is asked, in pieces that keep nothing together."""

    name = "echo"
    simulated = False

    def parameters(self, prompt: Prompt) -> Mapping[str, Any]:
        return {"max_tokens": prompt.max_tokens}

    async def stream(self, prompt: Prompt, sink: Sink) -> Ending:
        sink.connected()
        sink.first_byte()
        text = prompt.messages[-1].content
        await sink.reasoning(text)
        for start in range(0, len(text), 700):
            await sink.text(
                *(text[at : at + 7] for at in range(start, min(start + 700, len(text)), 7))
            )
        return Ending(finish_reason="stop")


class Torrent(Echo):
    """Writes as fast as the fastest models do."""

    name = "torrent"

    async def stream(self, prompt: Prompt, sink: Sink) -> Ending:
        sink.connected()
        sink.first_byte()
        for n in range(0, TOKENS, 3):
            await trio.sleep(0.01)
            await sink.text(
                *(f"word{m} " for m in range(n, n + 3)), *(["\n\n"] if n % 60 == 0 else [])
            )
        return Ending(finish_reason="stop")


@asynccontextmanager
async def with_the_others(settings: Settings) -> AsyncIterator[Roster]:
    async with open_roster(settings) as roster:
        simulator, _ = roster.find("sim:swift")
        yield Roster({"sim": simulator, "echo": Echo(), "torrent": Torrent()}, "sim")


async def serve(address: str, speed: float, keys: dict[str, str]) -> None:
    settings = Settings(
        providers={"sim": ProviderSettings(dialect="simulated", speed=speed)},
        limits=Limits(max_models=12),
        server=Server(api_keys=keys),
    )
    app = create_app(settings, open_roster=with_the_others)

    def tell(url: str) -> None:
        sys.stdout.write(f"{url}\n")
        sys.stdout.flush()

    await serve_until_signalled(
        app, Binding(address=address), on_ready=tell, on_stopping=lambda: None
    )


if __name__ == "__main__":
    log.configure("warning", output=Outlet(sys.stderr))
    _, address, speed, *digests = sys.argv
    trio.run(serve, address, float(speed), {f"key{n}": d for n, d in enumerate(digests)})
