"""`GET /metrics`."""

from __future__ import annotations

import structlog
from quart import Blueprint, Response, request

from service.metrics.shown import Metrics

__all__ = ["make_metrics"]

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


def make_metrics(metrics: Metrics) -> Blueprint:
    """The route that shows them."""
    routes = Blueprint("metrics", __name__)

    @routes.get("/metrics")
    async def show() -> Response:
        try:
            body, media_type = await metrics.render(request.headers.get("Accept", ""))
        except OSError as exc:
            log.warning("no metrics", reason=str(exc))
            words = "The figures of the processes at this address can't be gathered; see the log.\n"
            return Response(words, 503, content_type="text/plain; charset=utf-8")
        return Response(body, content_type=media_type, headers={"Cache-Control": "no-store"})

    return routes
