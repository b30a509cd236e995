"""Stops on request: a whole comparison, or one model of it, while it runs.

Whoever has the id of a comparison may read its stream, and may stop it; it is 128 random bits. A
stop is no answer: what becomes of the models is told in the stream, as ever.
"""

from __future__ import annotations

from service.admission import Admission
from service.comparison import Comparison
from service.refusal import Refusal
from service.replies import Stopping

__all__ = ["stop_all", "stop_one"]


def stop_all(admission: Admission, comparison_id: str) -> Stopping:
    """Stop every model of a comparison that has not ended; raises `Refusal` (404)."""
    comparison = _comparison(admission, comparison_id)
    stopping = comparison.stop("cancelled", by="request")
    if not stopping:
        raise _no_such_comparison()
    return Stopping(comparison_id, stopping)


def stop_one(admission: Admission, comparison_id: str, name: str) -> Stopping:
    """Stop one model, by the name that its events have; raises `Refusal` (404)."""
    comparison = _comparison(admission, comparison_id)
    stopping = comparison.stop_model(name)
    if not stopping:
        raise Refusal(
            404,
            "model_not_running",
            "No model of this name runs in the comparison: it has ended, or was not asked.",
        )
    return Stopping(comparison_id, stopping)


def _comparison(admission: Admission, comparison_id: str) -> Comparison:
    comparison = admission.comparison(comparison_id)
    if comparison is None:
        raise _no_such_comparison()
    return comparison


def _no_such_comparison() -> Refusal:
    return Refusal(
        404,
        "comparison_not_running",
        "No comparison of this id runs here: it has ended, or there was none.",
    )
