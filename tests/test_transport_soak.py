"""A thousand requests cancelled at any moment lose no connection; see `tests.soak_transport`."""

from __future__ import annotations

import pytest

from tests.soak_transport import WAYS, soak


@pytest.mark.parametrize(
    ("cancellations", "tls"), [(1000, False), (200, True)], ids=["clear", "TLS"]
)
async def test_requests_that_are_cancelled_at_any_moment_lose_no_connection(
    cancellations: int, tls: bool
) -> None:
    figures = await soak(cancellations, tls=tls)
    assert figures.cancelled >= cancellations
    assert figures.answered > len(WAYS)  # some were so quick
    assert figures.wrong == []
    assert figures.opened == figures.closed > 0
    assert figures.left == 0
    assert figures.answers_next
