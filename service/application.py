"""The QuartTrio application: its routes, what they share, and the words for what goes wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import structlog
from quart import Response, request
from quart_trio import QuartTrio
from werkzeug.exceptions import HTTPException

from service.admission import Admission, placed
from service.generation import Asgi, OpenRoster
from service.metrics import Metrics, make_metrics
from service.openapi import make_documentation
from service.page import make_assets, make_page
from service.providers.roster import open_roster
from service.refusal import Refusal
from service.replies import Refused
from service.responses import json_response
from service.routes import ModelId, make_routes
from service.settings import Settings
from service.shared import Shared
from service.surface import ON_DENIED, may_have_an_unread_body, surfaced

__all__ = ["create_app"]

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()

BODY_SECONDS = 10
"""For a request's body to arrive; a megabyte takes that long at 100 kB/s."""

CODES = {
    400: "bad_request",
    404: "not_found",
    405: "method_not_allowed",
    408: "request_timeout",
    413: "body_too_large",
}
SENTENCES = {
    404: "There is nothing at this address; GET /docs lists what there is.",
    408: "The request's body did not arrive in time.",
}


def create_app(
    settings: Settings,
    *,
    open_roster: OpenRoster = open_roster,
    reread: Callable[[], Settings] | None = None,
) -> QuartTrio:
    """An ASGI application that serves the contract with these settings.

    `open_roster` gives it its providers; tests put their own there. `reread` reads the settings
    again; without it they stay as they are (`service.reloading`).
    """
    app = QuartTrio(__name__, static_folder=None)
    app.url_map.converters["model_id"] = ModelId
    app.config["BODY_TIMEOUT"] = BODY_SECONDS
    quart = app.asgi_app

    def behind_its_surface(settings: Settings, admission: Admission) -> Asgi:
        return surfaced(
            placed(quart, admission),
            api_keys=settings.server.api_keys,
            cors_origins=settings.server.cors_origins,
            hosts=settings.server.hosts,
            trusted_proxies=settings.server.trusted_proxies,
        )

    def bound_bodies(settings: Settings) -> None:
        app.config["MAX_CONTENT_LENGTH"] = settings.limits.max_body_bytes

    shared = Shared(settings, open_roster, make_app=behind_its_surface, reread=reread)
    shared.attach_to(app)
    shared.on_renewed = bound_bodies
    bound_bodies(settings)
    for name, prefix in (("bare", None), ("api", "/api")):
        app.register_blueprint(make_routes(shared), name=name, url_prefix=prefix)
        app.register_blueprint(make_page(shared), name=f"{name}_page", url_prefix=prefix)
    app.register_blueprint(make_assets())
    app.register_blueprint(make_documentation())
    metrics = Metrics(shared)
    metrics.attach_to(app)
    app.register_blueprint(make_metrics(metrics))

    def denied(code: str) -> None:
        shared.meter.refusals[code] += 1

    async def by_the_settings_in_force(scope: Any, receive: Any, send: Any) -> None:
        scope[ON_DENIED] = denied
        answer = quart if scope["type"] == "lifespan" else shared.in_force.answer
        await answer(scope, receive, send)

    app.asgi_app = by_the_settings_in_force  # type: ignore[method-assign]

    @app.before_serving
    async def open_providers() -> None:
        # In a task of the application's own nursery: a generator hook would have to hold a
        # nursery open across its yield.
        await app.nursery.start(shared.hold_open)

    @app.after_serving
    async def close_providers() -> None:
        # Not left to that nursery: cancelling it would cancel the answer to the server as well.
        shared.close()

    @app.errorhandler(Refusal)
    async def refuse(refusal: Refusal) -> Response:
        denied(refusal.code)
        return json_response(Refused(refusal.detail, refusal.code), refusal.status, refusal.headers)

    @app.errorhandler(HTTPException)
    async def refuse_http(error: HTTPException) -> Response:
        status = error.code or 500
        detail = SENTENCES.get(status)
        if status == 405:
            detail = "This address does not take this method; the header Allow says which."
        if status == 413:
            detail = f"The body is longer than {shared.settings.limits.max_body_bytes} bytes."
        headers = {name: value for name, value in error.get_headers() if name == "Allow"}
        if may_have_an_unread_body(request.scope):
            headers["Connection"] = "close"
        code = CODES.get(status, "refused")
        denied(code)
        return json_response(Refused(detail or f"{error.name}.", code), status, headers)

    @app.errorhandler(Exception)
    async def fail(error: Exception) -> Response:
        log.error("request failed", exc_info=error)
        denied("internal_error")
        return json_response(
            Refused(
                "The service failed on this request; its log has the reason.", "internal_error"
            ),
            500,
        )

    return app
