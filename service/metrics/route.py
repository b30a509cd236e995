"""`GET /metrics`."""

from __future__ import annotations

from quart import Blueprint, Response, request

from service.metrics.shown import Metrics

__all__ = ["make_metrics"]


def make_metrics(metrics: Metrics) -> Blueprint:
    """The route that shows them."""
    routes = Blueprint("metrics", __name__)

    @routes.get("/metrics")
    async def show() -> Response:
        body, media_type = await metrics.render(request.headers.get("Accept", ""))
        return Response(body, content_type=media_type, headers={"Cache-Control": "no-store"})

    return routes
