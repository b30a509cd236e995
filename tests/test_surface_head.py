"""A request's head, as the layers of the surface read it."""

from __future__ import annotations

import pytest

from service.surface import may_have_an_unread_body
from service.surface.asgi import path_of


@pytest.mark.parametrize(
    ("version", "headers", "expected"),
    [
        ("1.1", [], False),
        ("1.1", [(b"content-length", b"0")], False),
        ("1.1", [(b"content-length", b"1")], True),
        ("1.0", [(b"Content-Length", b"1")], True),
        ("1.1", [(b"transfer-encoding", b"chunked")], True),
        ("2", [(b"content-length", b"1")], False),
    ],
)
def test_a_body_that_is_not_read_is_in_the_way_on_http1_only(
    version: str, headers: list[tuple[bytes, bytes]], expected: bool
) -> None:
    assert may_have_an_unread_body({"http_version": version, "headers": headers}) is expected


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("/models", "/models"),
        ("//models", "//models"),
        ("/http://x/models", "/http://x/models"),
        ("http://x/models", "/models"),
        ("http://x//models", "//models"),
        ("http://x", ""),
        ("http://[x/health", ""),
        ("*", "*"),
        ("", ""),
    ],
)
def test_the_path_is_found_in_every_form_of_a_target(target: str, path: str) -> None:
    assert path_of({"path": target}) == path
