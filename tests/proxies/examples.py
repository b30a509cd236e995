"""The examples, changed in as little as a test must: ports, paths, and who they run as.

A change that finds nothing to change raises. So an example that drifts from what is known of it
here fails every test instead of being tested as something that it is not.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tests.command import ROOT

__all__ = ["CLEAN_ENDS", "EXAMPLES", "NAME", "Change", "Example", "Place", "changed"]

FOLDER = ROOT / "docs" / "operations"
NAME = "compare.example.org"
"""What the examples call the service."""
CLEAN_ENDS = {("caddy", "http/1.1"), ("caddy", "h2"), ("haproxy", "h2")}
"""Where the installed versions make a clean end of a stream that was cut, by what the client
speaks; docs/operations/proxies.md says so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a proxy runs in a test."""

    folder: Path
    """Everything that it writes, and what the test gives it."""
    https: int
    http: int
    service: str
    """`host:port` of the service."""

    @property
    def certificate(self) -> Path:
        """The chain and then the key, in one file."""
        return self.folder / "compare.pem"


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that is otherwise in a test."""

    pattern: str
    """A regular expression; `^` and `$` are a line's."""
    by: str
    times: int = 1
    """How often it stands in the file."""

    def apply(self, text: str) -> str:
        """The text with the change; raises ValueError where it does not find what it changes."""
        text, times = re.subn(self.pattern, lambda _: self.by, text, flags=re.MULTILINE)
        if times != self.times:
            raise ValueError(f"{self.pattern!r} stands there {times} times, not {self.times}")
        return text


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One of the files, and the program that it is for."""

    program: str
    file: str
    changes: Callable[[Place], Sequence[Change]]
    command: Callable[[Place, Path], list[str]]
    """The arguments, given the place and the changed file."""
    refusal: str
    """The line that keeps strangers from /metrics, up to its status, which is 404."""
    reload: signal.Signals | Sequence[str]
    """What makes it read its file again: a signal, or arguments for which it has to be run."""
    several: Callable[[str], Sequence[Change]]
    """What the file says of several processes, put in force; given the second one's address."""
    silence: Sequence[str]
    """Patterns of the limits on silence that are to be scaled down, each of them `... 60s`."""
    stop: signal.Signals = signal.SIGTERM
    """What ends it at once, with its children."""
    limited: Change | None = None
    """Gives it a limit on silence of one second, where the file sets none."""
    extras: Sequence[Change] = ()

    def text(self) -> str:
        """The file as it stands in the documentation."""
        return (FOLDER / self.file).read_text(encoding="utf-8")

    def with_changes(self, *changes: Change) -> Example:
        """The same, with further changes."""
        return replace(self, extras=(*self.extras, *changes))

    def impatient(self) -> Example:
        """The same, bearing only one second of silence."""
        if self.limited is not None:
            return self.with_changes(self.limited)
        scaled = [Change(rf"(?<={pattern}) 60s", " 1s") for pattern in self.silence]
        return self.with_changes(*scaled)


def changed(example: Example, place: Place) -> str:
    """What the program is given."""
    text = example.text()
    for change in (*example.extras, *example.changes(place)):
        text = change.apply(text)
    return text


def _nginx(place: Place) -> list[Change]:
    folder = place.folder
    temporary = "".join(
        f"    {kind}_temp_path {folder}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    return [
        Change(r"^user www-data;\n", ""),
        Change(r"^worker_processes auto;", "worker_processes 1;"),
        Change(r"/run/nginx\.pid", f"{folder}/nginx.pid"),
        Change(r"/var/log/nginx/error\.log", "stderr"),
        Change(r"/var/log/nginx/access\.log", f"{folder}/access.log"),
        Change(r"^http \{\n", f"http {{\n{temporary}"),
        Change(r"server 127\.0\.0\.1:8000;", f"server {place.service};"),
        # Where tests run there may be no IPv6.
        Change(r"^ *listen \[::\]:\d+.*;\n", "", times=2),
        Change(r"listen 80;", f"listen 127.0.0.1:{place.http};"),
        Change(r"^( *)listen 443 ssl", f"        listen 127.0.0.1:{place.https} ssl"),
        Change(r"/etc/ssl/compare\.pem", str(place.certificate)),
        Change(r"/etc/ssl/compare\.key", str(place.certificate)),
    ]


def _caddy(place: Place) -> list[Change]:
    options = f"\tadmin unix//{place.folder}/admin.sock\n"
    options += f"\thttp_port {place.http}\n\thttps_port {place.https}\n"
    options += "\tdefault_bind 127.0.0.1\n"
    certificate = f"\ttls {place.certificate} {place.certificate}\n"
    return [
        # Its own certificates would have to come from an authority; the port of its control is one
        # for the whole machine.
        Change(rf"^{re.escape(NAME)} \{{\n", f"{{\n{options}}}\n\n{NAME} {{\n{certificate}"),
        Change(r"127\.0\.0\.1:8000", place.service),
    ]


def _haproxy(place: Place) -> list[Change]:
    return [
        Change(r"^ *(chroot|user|group) .*\n", "", times=3),
        Change(r"log /dev/log local0", "log stderr format raw local0"),
        Change(r"/run/haproxy/admin\.sock", f"{place.folder}/admin.sock"),
        Change(r"bind :80,:::80", f"bind 127.0.0.1:{place.http}"),
        Change(r"bind :443,:::443", f"bind 127.0.0.1:{place.https}"),
        Change(r"/etc/haproxy/compare\.pem", str(place.certificate)),
        Change(r"server one 127\.0\.0\.1:8000", f"server one {place.service}"),
    ]


EXAMPLES = {
    example.program: example
    for example in (
        Example(
            program="nginx",
            file="nginx.conf",
            changes=_nginx,
            command=lambda place, file: [
                *("-p", str(place.folder), "-c", str(file)),
                *("-e", "stderr", "-g", "daemon off;"),
            ],
            refusal="return",
            reload=signal.SIGHUP,
            several=lambda second: [
                Change(r"#server 127\.0\.0\.1:8001;", f"server {second};"),
                Change(r"#(?=proxy_next_upstream )", ""),
            ],
            silence=("proxy_read_timeout",),
        ),
        Example(
            program="caddy",
            file="Caddyfile",
            changes=_caddy,
            command=lambda place, file: ["run", "--adapter", "caddyfile", "--config", str(file)],
            refusal="respond @inside",
            reload=("reload", "--force", "--adapter", "caddyfile", "--config", "Caddyfile"),
            several=lambda second: [
                Change(r"(?<=reverse_proxy 127\.0\.0\.1:8000)", f" {second}"),
                Change(r"#(?=lb_policy|health_uri)", "", times=2),
                Change("#health_interval 2s", "health_interval 50ms"),
            ],
            silence=(),
            stop=signal.SIGKILL,  # at any other it waits for its streams; it has no children
            limited=Change(
                r"^\t\t\tkeepalive 60s\n", "\t\t\tkeepalive 60s\n\t\t\tread_timeout 1s\n"
            ),
        ),
        Example(
            program="haproxy",
            file="haproxy.cfg",
            changes=_haproxy,
            command=lambda place, file: ["-W", "-db", "-f", str(file)],
            refusal="http-request return status",
            reload=signal.SIGUSR2,
            several=lambda second: [
                Change(r"#server two 127\.0\.0\.1:8001", f"server two {second}"),
                Change(
                    r"#(?=balance|option httpchk|default-server|option redis|retry-on)", "", times=5
                ),
            ],
            silence=("timeout client", "timeout server"),
        ),
    )
}
