"""The routes of the contract. Whatever may refuse does so here, before a status has gone out."""

from __future__ import annotations

from collections import defaultdict
from hashlib import blake2b

from quart import Blueprint, Response, request
from werkzeug.routing import BaseConverter

from service.admission import Place
from service.answer import Answer
from service.bodies import json_body
from service.comparison import Comparison
from service.entrants import entrants_of, refuse_what_has_no_price
from service.events import Chunk, Complete, Done, ErrorChunk, ErrorCode
from service.generation import Generation
from service.providers.roster import UnknownModelError
from service.question import parse_question
from service.refusal import Refusal
from service.replies import (
    Compared,
    Health,
    Models,
    ModelStatistics,
    ModelStats,
    RateLimitStatus,
    Ready,
    ShortModelStatistics,
)
from service.responses import json_response
from service.shared import Shared
from service.stopping import stop_all, stop_one
from service.surface import key_name

__all__ = ["ModelId", "make_routes"]

NO_LIMIT = 2**31 - 1
"""Stands for "as many as you like" where clients expect a number and compare with it."""

STREAM_HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    # no-transform: a proxy that compresses would hold chunks back (RFC 9111, 5.2.2.6).
    "Cache-Control": "no-cache, no-transform",
    # nginx buffers responses unless told otherwise.
    "X-Accel-Buffering": "no",
}


class ModelId(BaseConverter):
    """The rest of a path, whatever it holds."""

    regex = ".+"
    part_isolating = False


def make_routes(shared: Shared) -> Blueprint:
    """The routes over one process's shared things."""
    routes = Blueprint("compare", __name__)

    @routes.post("/compare-stream", provide_automatic_options=False)
    async def compare_stream() -> Response:
        comparison = await _admitted(shared)
        answer = Answer(comparison)
        response = Response(answer, headers={**STREAM_HEADERS, "X-Comparison-Id": comparison.id})
        response.timeout = None  # Quart's 60 s would end the stream without a word
        return response

    @routes.post("/compare", provide_automatic_options=False)
    async def compare() -> Response:
        comparison = await _admitted(shared)
        compared = await _gather(comparison)
        response = json_response(compared, headers={"X-Comparison-Id": comparison.id})
        response.timeout = None
        return response

    @routes.delete("/comparisons/<comparison_id>", provide_automatic_options=False)
    async def stop_comparison(comparison_id: str) -> Response:
        return json_response(stop_all(shared.admission, comparison_id), 202)

    # Ids may hold slashes, two in a row among them, which is no reason to send anybody elsewhere.
    @routes.delete(
        "/comparisons/<comparison_id>/models/<model_id:name>",
        provide_automatic_options=False,
        merge_slashes=False,
    )
    async def stop_model(comparison_id: str, name: str) -> Response:
        return json_response(stop_one(shared.admission, comparison_id, name), 202)

    @routes.get("/models")
    async def models() -> Response:
        roster = Generation.of(request.scope).roster
        catalogue = roster.catalogue()
        by_provider = defaultdict(list)
        for model in catalogue:
            by_provider[model.provider].append(model)
        return json_response(Models(catalogue, dict(by_provider), roster.listed()))

    @routes.get("/model-stats")
    async def model_stats() -> Response:
        return json_response(_statistics(shared))

    @routes.get("/rate-limit-status")
    async def rate_limit_status() -> Response:
        return json_response(_rate_limit_status(shared, request.args.get("fingerprint")))

    @routes.get("/health")
    async def health() -> Response:
        return json_response(Health())

    @routes.get("/readyz")
    async def ready() -> Response:
        if shared.admission.draining:
            raise _no_place(shared)
        return json_response(Ready())

    return routes


async def _admitted(shared: Shared) -> Comparison:
    """The comparison that the request asks for; raises `Refusal` if it may not begin."""
    begun_under = Generation.of(request.scope)
    settings = begun_under.settings
    body = await json_body(settings.limits.max_body_bytes)
    question = parse_question(body, max_models=settings.limits.max_models)
    roster = begun_under.roster
    try:
        entrants = entrants_of(question, roster.find, roster.price)
    except UnknownModelError as exc:
        raise Refusal(400, "model_not_found", str(exc)) from None
    refuse_what_has_no_price(question, entrants)
    place = Place.of(request.scope)
    if not place.take():
        raise _no_place(shared)
    keys = _allowance_keys(question.fingerprint)
    if not shared.allowance.take(keys, len(entrants)):
        raise Refusal(
            429,
            "daily_limit_reached",
            f"This needs {len(entrants)} answers and fewer are left of today's "
            f"{shared.allowance.daily_limit}; the count begins anew at midnight UTC.",
            headers={"Retry-After": str(shared.allowance.seconds_to_reset())},
        )
    requested = {entry.name: entry.requested for entry in question.entries}

    def on_done(done: Done) -> None:
        shared.tally.record(requested[done.model], done)
        if done.error and done.code != "cancelled":
            shared.allowance.give_back(keys)

    comparison = Comparison(
        question,
        entrants,
        begun_under.patience,
        pulse=shared.pulse,
        heartbeat=settings.stream.heartbeat,
        limiters=begun_under.limiters,
        persistence=begun_under.persistence,
        on_done=on_done,
        experience=shared.experience,
        meter=shared.meter,
        trace=shared.tracing.of(request.scope),
    )
    place.hold(comparison)
    return comparison


def _no_place(shared: Shared) -> Refusal:
    if shared.admission.draining:
        headers = {"Retry-After": "1"}
        if request.http_version.startswith("1"):
            headers["Connection"] = "close"  # another one may lead to a process that stays
        return Refusal(
            503,
            "draining",
            "This process is stopping; try again, on a new connection.",
            headers=headers,
        )
    return Refusal(
        503,
        "busy",
        "The service runs as many comparisons as it may; try again in a second.",
        headers={"Retry-After": "1"},
    )


async def _gather(comparison: Comparison) -> Compared:
    """All answers of a comparison that nobody watches."""
    texts: defaultdict[str, list[str]] = defaultdict(list)
    errors: dict[str, ErrorCode] = {}
    async with comparison.open() as inbox:
        async for event in inbox:
            match event:
                case Chunk():
                    texts[event.model].append(event.content)
                case ErrorChunk():
                    parts = texts[event.model]
                    parts.append(f"\n\n{event.content}" if parts else event.content)
                case Done(code=code) if code is not None:
                    errors[event.model] = code
                case Complete():
                    results = {e.name: "".join(texts[e.name]) for e in comparison.entrants}
                    return Compared(results, errors, event.metadata)
    raise RuntimeError("a comparison ended without its last event")


def _statistics(shared: Shared) -> ModelStats:
    models = shared.tally.models
    return ModelStats(
        model_statistics={
            model_id: ModelStatistics(
                success_count=tally.success,
                failure_count=tally.failure,
                total_attempts=tally.total,
                success_rate=round(100 * tally.success / tally.total, 1),
                last_error=tally.last_error,
                last_success=tally.last_success,
            )
            for model_id, tally in models.items()
        },
        model_stats={
            model_id: ShortModelStatistics(
                tally.success, tally.failure, tally.last_error, tally.last_success
            )
            for model_id, tally in models.items()
        },
    )


def _rate_limit_status(shared: Shared, fingerprint: str | None) -> RateLimitStatus:
    address_key, *fingerprint_keys = _allowance_keys(fingerprint)
    allowance = shared.allowance
    used = allowance.used(address_key)
    of_fingerprint = allowance.used(fingerprint_keys[0]) if fingerprint_keys else None
    return RateLimitStatus(
        daily_usage=used,
        daily_limit=allowance.daily_limit or NO_LIMIT,
        remaining_usage=_remaining(shared, address_key),
        usage_reset_date=allowance.resets_at.isoformat(),
        authenticated=key_name(request.scope) is not None,
        ip_address=_client_address(),
        fingerprint_usage=of_fingerprint,
        fingerprint_remaining=_remaining(shared, fingerprint_keys[0]) if fingerprint_keys else None,
        fingerprint_usage_count=of_fingerprint,
        ip_usage_count=used,
    )


def _remaining(shared: Shared, key: str) -> int:
    left = shared.allowance.left(key)
    return NO_LIMIT if left is None else left


def _allowance_keys(fingerprint: str | None) -> tuple[str, ...]:
    address = f"ip:{_client_address()}"
    if not fingerprint:
        return (address,)
    # Digested: keys are remembered for a day, and this one is the caller's, of any length.
    return (address, f"fp:{blake2b(fingerprint.encode(), digest_size=16).hexdigest()}")


def _client_address() -> str:
    """The peer's address, or what a trusted proxy says; see `service.surface.forwarding`."""
    client = request.scope.get("client")
    return client[0] if client else "local"
