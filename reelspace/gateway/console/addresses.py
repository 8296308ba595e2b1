"""The addresses of the console. Pure."""

from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

ROOT: Final = "/console"
STATUS: Final = f"{ROOT}/status"
QUERY: Final = f"{ROOT}/query"
SIGN_IN: Final = f"{ROOT}/sign-in"
SESSION: Final = f"{ROOT}/session"
"""Where the form of SIGN_IN goes: the key comes in its body, so the handler lets in, not the entrance."""
SIGN_OUT: Final = f"{ROOT}/sign-out"
STYLE: Final = f"{ROOT}/console.css"
SCRIPT: Final = f"{ROOT}/console.js"
BEFORE_SIGN_IN: Final = frozenset({SIGN_IN, STYLE, SCRIPT})
"""What is answered without a key."""


def is_console(path: str) -> bool:
    """Tell whether an address is one of the console's."""
    return path == ROOT or path.startswith(f"{ROOT}/")


def of_collection(path: str, collection: str | None) -> str:
    """Give an address for a collection."""
    return path if collection is None else f"{path}?collection={quote(collection, safe='')}"


def is_browser(headers: Mapping[str, str]) -> bool:
    """Tell whether someone reads the answer as a page, from the headers by lower-case name."""
    return "text/html" in headers.get("accept", "")
