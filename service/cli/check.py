"""`compare-stream check`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import click
import msgspec

from service.cli.options import DONE, SAID_NO, config_option, json_option, read_settings
from service.cli.running import log_kept_apart, run
from service.cli.streams import Output
from service.cli.words import printable
from service.providers.checking import CHECK_SECONDS, Finding, check_all
from service.settings import Settings

__all__ = ["check"]


@click.command()
@config_option
@json_option('One JSON object: {"ok": ..., "providers": [...]}.')
def check(config: Path | None, as_json: bool) -> int:
    """Check the settings, and each provider's key and reachability; it costs nothing.

    No model is asked: a provider is asked for its list of models, and OpenRouter for what it
    knows of the key. One line each, in the settings' order, after ten seconds at most.

    Exit code: 0 all well, 1 something is wrong with a provider, 2 with the settings.
    """
    settings = read_settings(config)
    output = Output()
    with log_kept_apart(settings, on_screen=False):
        return run(partial(_check, settings, output, as_json=as_json))


async def _check(settings: Settings, output: Output, *, as_json: bool) -> int:
    findings = await check_all(settings, seconds=CHECK_SECONDS)
    ok = all(finding.ok for finding in findings)
    if as_json:
        await output.write(msgspec.json.encode({"ok": ok, "providers": findings}) + b"\n")
    else:
        lines = _lines(settings, findings)
        await output.write(output.encode("".join(f"{line}\n" for line in lines)))
    return DONE if ok else SAID_NO


def _lines(settings: Settings, findings: Sequence[Finding]) -> Iterator[str]:
    width = max(len(name) for name in ("settings", *settings.providers))
    count = f"{len(findings)} provider{'' if len(findings) == 1 else 's'}"
    yield f"{'settings':{width}}  ok      {count}, default {settings.default_provider}"
    for finding in findings:
        word = "ok" if finding.ok else "FAILED"
        yield f"{finding.provider:{width}}  {word:6}  {printable(finding.words)}"
