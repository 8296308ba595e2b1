"""The small picture that a payload may bring: a data URI under the key `thumbnail`. Pure."""

import re
from collections.abc import Mapping
from typing import Any, Final

KEY: Final = "thumbnail"
MAX_LENGTH: Final = 200_000
_URI: Final = re.compile(r"data:image/(?:jpeg|png|webp|gif);base64,[A-Za-z0-9+/]+={0,2}")


def thumbnail(payload: Mapping[str, Any]) -> str | None:
    """Give the picture as an address that a page may show, None where there is none; addresses elsewhere are none, nor is SVG."""
    value = payload.get(KEY)
    return value if isinstance(value, str) and len(value) <= MAX_LENGTH and _URI.fullmatch(value) else None
