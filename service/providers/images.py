"""Pictures that go with a question: from the `data:` URL of a request to a value."""

from __future__ import annotations

import binascii
import re

from service.providers import Image

__all__ = ["MEDIA_TYPES", "parse_image"]

MEDIA_TYPES = ("image/png", "image/jpeg", "image/webp", "image/gif")
"""What at least two of the providers take; whether a model does is its provider's to say."""

_BEGINNING = re.compile(rf"data:({'|'.join(MEDIA_TYPES)});base64,")


def parse_image(url: str) -> Image:
    """The picture in a `data:` URL (RFC 2397); nothing is ever fetched for one.

    Raises:
        ValueError: it is none; says what was expected, and does not quote it.
    """
    found = _BEGINNING.match(url)
    if found is None:
        raise ValueError(f"expected data:<type>;base64,... with one of {', '.join(MEDIA_TYPES)}")
    data = url[found.end() :]
    try:
        content = binascii.a2b_base64(data.encode("ascii"), strict_mode=True)
    except ValueError:  # of binascii and of the encoding alike
        content = b""
    if not content:
        raise ValueError("expected base64 behind the comma, with its padding and nothing else")
    return Image(found[1], data)
