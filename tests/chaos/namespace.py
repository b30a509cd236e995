"""A network of our own: one namespace and a pair of interfaces into it, for root only.

Nothing leaves the machine: the pair has no way to any other interface.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import trio

from tests.chaos.fault import NotRunHere

__all__ = ["INSIDE", "IN_NAMESPACE", "NAMESPACE", "OUTSIDE", "in_namespace", "open_namespace"]

NAMESPACE = f"chaos-{os.getpid()}"
OUTSIDE, INSIDE = "10.253.7.1", "10.253.7.2"
IN_NAMESPACE = ("ip", "netns", "exec", NAMESPACE)


async def in_namespace(*command: str) -> None:
    """Run a command inside."""
    await _run(*IN_NAMESPACE, *command)


@asynccontextmanager
async def open_namespace() -> AsyncIterator[None]:
    """The namespace, for as long as the context lasts; raises `NotRunHere` without the right."""
    if shutil.which("ip") is None or os.geteuid() != 0:
        raise NotRunHere("a network namespace needs root and the program ip")
    outer, inner = f"cho{os.getpid()}", f"chi{os.getpid()}"
    try:
        await _run("ip", "netns", "add", NAMESPACE)
    except subprocess.CalledProcessError as exc:
        raise NotRunHere("this machine lets nobody make a network namespace") from exc
    try:
        await _run("ip", "link", "add", outer, "type", "veth", "peer", "name", inner)
        await _run("ip", "link", "set", inner, "netns", NAMESPACE)
        await _run("ip", "addr", "add", f"{OUTSIDE}/30", "dev", outer)
        await _run("ip", "link", "set", outer, "up")
        await in_namespace("ip", "addr", "add", f"{INSIDE}/30", "dev", inner)
        await in_namespace("ip", "link", "set", inner, "up")
        await in_namespace("ip", "link", "set", "lo", "up")
        yield
    finally:
        with trio.CancelScope(shield=True), suppress(subprocess.CalledProcessError):
            await _run("ip", "netns", "delete", NAMESPACE)  # the interfaces go with it


async def _run(*command: str) -> None:
    await trio.run_process(command, capture_stderr=True)
