"""The interface in OpenAPI 3.2, made from the types that are sent and read, and the page for it."""

from __future__ import annotations

from service.openapi.document import document
from service.openapi.page import make_documentation

__all__ = ["document", "make_documentation"]
