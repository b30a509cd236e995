"""What holds for every test: it leaves no task and no connection behind, and its log is kept.

A nursery gives back what it started, so a task that outlives a test is one that somebody hid from
the nurseries: a system task, an async generator that nobody closed. A file descriptor has no such
guardian. Only sockets, pipes and epoll instances are counted, for they are what a service leaks;
plain files are opened by libraries when they please (a database of examples, certificates) and
may stay. Garbage is not collected before the count: a connection that only the collector would
close is lost for as long as the collector likes. Should it run by chance, its `ResourceWarning`
is an error and fails the test all the same.
"""

from __future__ import annotations

import functools
import os
import ssl
from collections.abc import Awaitable, Callable, Generator, Iterator, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trio
import trustme
from structlog.testing import capture_logs
from structlog.typing import EventDict

AsyncTest = Callable[..., Awaitable[None]]

DESCRIPTORS = Path("/proc/self/fd")
COUNTED = ("socket:", "pipe:", "anon_inode:[eventpoll]")
LOG = pytest.StashKey[list[EventDict]]()


def connections() -> Set[str]:
    """What this process has open and might leak; nothing where the system does not tell."""
    found = set()
    for descriptor in DESCRIPTORS.iterdir() if DESCRIPTORS.exists() else ():
        try:
            target = os.readlink(descriptor)
        except FileNotFoundError:
            continue  # the listing's own
        if target.startswith(COUNTED):
            found.add(f"{descriptor.name} -> {target}")
    return found


def tasks() -> Set[str]:
    """The living tasks of this run of Trio, by name and identity."""
    root = trio.lowlevel.current_root_task()
    waiting = [root] if root is not None else []
    found = set()
    while waiting:
        task = waiting.pop()
        found.add(f"{task.name} {id(task):#x}")
        waiting += [child for nursery in task.child_nurseries for child in nursery.child_tasks]
    return found


def leaving_nothing(test: AsyncTest) -> AsyncTest:
    """`test`, but it fails when a task or a connection is left at its end, inside its run.

    Later would be too late: the end of the run closes what only the run's end would close.
    """

    @functools.wraps(test)
    async def watched(**arguments: Any) -> None:
        tasks_before, connections_before = tasks(), connections()
        await test(**arguments)
        assert tasks() - tasks_before == set(), "tasks were left"
        assert connections() - connections_before == set(), "connections were left"

    return watched


def pytest_configure(config: pytest.Config) -> None:
    """Except one warning from "warnings are errors".

    httpx makes an async generator of a request's body, and a cancelled request leaves it where it
    is (https://github.com/encode/httpx/pull/3777). It holds some bytes and no connection.
    """
    body = r"Async generator 'httpx\._content\.ByteStream\.__aiter__'"
    config.addinivalue_line("filterwarnings", f"ignore:{body}:ResourceWarning")


@pytest.hookimpl(tryfirst=True, wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None]:
    """Watch a Trio test from inside; before pytest-trio makes a plain function of it."""
    if isinstance(item, pytest.Function) and item.get_closest_marker("trio") is not None:
        inner = getattr(item.obj, "hypothesis", None)
        if inner is None:
            item.obj = leaving_nothing(item.obj)
        else:
            inner.inner_test = leaving_nothing(inner.inner_test)
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the service's log beside a failure."""
    report = yield
    if report.failed and (lines := item.stash.get(LOG, [])):
        report.sections.append(("Log of the service", "\n".join(map(str, lines))))
    return report


@pytest.fixture(autouse=True)
def log_lines(request: pytest.FixtureRequest) -> Iterator[list[EventDict]]:
    """The service's log during the test, oldest line first, of every level; none is printed."""
    with capture_logs() as lines:
        request.node.stash[LOG] = lines
        yield lines


@pytest.fixture(autouse=True)
def no_connection_is_left() -> Iterator[None]:
    """Fails the test that leaves one, whatever it opened it in: a run of its own, a fixture."""
    before = connections()
    yield
    assert connections() - before == set(), "connections were left"


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate of the loopback address, and a client's trust in it."""

    certfile: Path
    keyfile: Path
    authority: trustme.CA

    def trusting(self, *protocols: str) -> ssl.SSLContext:
        """What a client needs that offers these protocols (ALPN)."""
        context = ssl.create_default_context()
        self.authority.configure_trust(context)
        context.set_alpn_protocols(list(protocols))
        return context


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """One for all tests: making it takes a while."""
    folder = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1", "localhost")
    certfile, keyfile = folder / "cert.pem", folder / "key.pem"
    for pem in issued.cert_chain_pems:
        pem.write_to_path(certfile, append=True)
    issued.private_key_pem.write_to_path(keyfile)
    return Certificate(certfile, keyfile, authority)
