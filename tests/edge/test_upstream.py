"""What was corrected is what is there: Hypercorn's code by its hash."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable
from typing import Any

import hypercorn.protocol
import hypercorn.protocol.h2
import hypercorn.protocol.h11
import hypercorn.protocol.http_stream
import hypercorn.run
import hypercorn.trio.run
import hypercorn.trio.task_group
import hypercorn.trio.tcp_server
import hypercorn.trio.worker_context
import pytest

from service.edge.corrections import CORRECTIONS, ORIGINALS

TCPServer = hypercorn.trio.tcp_server.TCPServer
H11Protocol = hypercorn.protocol.h11.H11Protocol
H2Protocol = hypercorn.protocol.h2.H2Protocol
StreamBuffer = hypercorn.protocol.h2.StreamBuffer
ORIGINAL = {name: original for _, name, original in ORIGINALS}

# What each correction replaces, calls, or relies on the order of steps in.
HASHES: dict[str, tuple[Any, str]] = {
    "worker_serve": (ORIGINAL["worker_serve"], "8dc8347a9fc357ca"),
    "trio_worker": (hypercorn.trio.run.trio_worker, "93848f30a88b8175"),
    "run": (hypercorn.run.run, "d84ea71e1b5fc628"),
    "TCPServer": (TCPServer, "5593e38b83d3e22e"),
    "TaskGroup": (hypercorn.trio.task_group.TaskGroup, "8467a3a16a7e8763"),
    "_handle": (hypercorn.trio.task_group._handle, "06081a56a9930825"),
    "TrioSingleTask": (hypercorn.trio.worker_context.TrioSingleTask, "aa59316c028b876a"),
    "ProtocolWrapper": (hypercorn.protocol.ProtocolWrapper, "caf949187e9b4a81"),
    "H11Protocol": (H11Protocol, "b32a61e0a8ca2127"),
    "H2Protocol": (H2Protocol, "7257f8bafccaa2e5"),
    "StreamBuffer": (StreamBuffer, "346f631a67cefa4b"),
    "HTTPStream": (hypercorn.protocol.http_stream.HTTPStream, "e0f656feb55ab89c"),
}


def hash_of(code: Callable[..., Any]) -> str:
    return hashlib.sha256(inspect.getsource(code).encode()).hexdigest()[:16]


@pytest.mark.parametrize("name", HASHES)
def test_hypercorn_is_the_one_that_was_corrected(name: str) -> None:
    code, known = HASHES[name]
    assert hash_of(code) == known, (
        f"Hypercorn's {name} ({inspect.getsourcefile(code)}) is not the one that service/edge "
        "corrects. Read what has changed in it, and docs/edge.md for the corrections that rest on "
        "it; drop those that are no longer needed (tests/edge/test_corrections.py shows which "
        f"promises Hypercorn keeps by itself now), then put {hash_of(code)!r} here."
    )


@pytest.mark.parametrize(("module", "name", "ours"), CORRECTIONS)
def test_whoever_imports_the_edge_has_the_corrections(module: Any, name: str, ours: Any) -> None:
    assert vars(module)[name] is ours


@pytest.mark.parametrize(("module", "name", "ours"), CORRECTIONS)
def test_a_class_of_ours_is_hypercorns_with_corrections(module: Any, name: str, ours: Any) -> None:
    original = ORIGINAL[name]
    if isinstance(original, type):
        assert issubclass(ours, original)
    else:
        known = set(inspect.signature(original).parameters)
        assert known <= set(inspect.signature(ours).parameters)
