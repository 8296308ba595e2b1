"""Reads what a client sends over HTTP: its JSON, and the parameters of the address."""

import asyncio
import math
from collections.abc import Sequence
from typing import Any, Final

import orjson
from fastapi import Request

from reelspace.search.access.refusal import RequestRefused, not_served
from reelspace.search.access.repeated_keys import refuse_repeated_keys

MAX_BODY_BYTES: Final = 32 << 20
MAX_TIMEOUT_S: Final = 60.0
READ_TIMEOUT_S: Final = 5.0
WRITE_TIMEOUT_S: Final = 30.0
MAX_KEY_LENGTH: Final = 64
IDEMPOTENCY_KEY: Final = "Idempotency-Key"


async def read_body(request: Request, timeout_s: float) -> bytes:
    """Read a body of plain JSON, at most MAX_BODY_BYTES of it.

    Raises:
        RequestRefused: 408, 413 or 415.
    """
    headers = request.headers
    content_type = headers.get("Content-Type", "application/json").partition(";")[0].strip().lower()
    if content_type != "application/json":
        raise RequestRefused("Content-Type", f"expected application/json, got {content_type[:80]!r}", status=415)
    if headers.get("Content-Encoding", "identity") != "identity":
        raise RequestRefused("Content-Encoding", "expected an uncompressed body", status=415)
    chunks, size_bytes = [], 0
    try:
        async with asyncio.timeout(timeout_s):
            async for chunk in request.stream():
                size_bytes += len(chunk)
                if size_bytes > MAX_BODY_BYTES:
                    raise RequestRefused("body", f"expected at most {MAX_BODY_BYTES} bytes", status=413)
                chunks.append(chunk)
    except TimeoutError as error:
        raise RequestRefused("body", f"expected all of it within {timeout_s:.3g} s", status=408) from error
    return b"".join(chunks)


def parse_json(body: bytes) -> Any:
    """Parse a body; RequestRefused where it is no JSON, or an object in it has a key twice."""
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise RequestRefused("body", f"expected JSON: {error}") from error
    refuse_repeated_keys(body, parsed)
    return parsed


def read_timeout_s(request: Request) -> float:
    """Read the parameters of a read's address, as Qdrant has them: seconds."""
    if not request.scope["query_string"]:
        return READ_TIMEOUT_S
    _check_parameters(request, ("timeout",), ("consistency",))
    return _timeout_s(request, READ_TIMEOUT_S)


def change_timeout_s(request: Request) -> float:
    """Read the parameters of the address of a change of whole collections; `wait` changes nothing there, it is always waited for."""
    _check_parameters(request, ("timeout", "wait", "ordering"), ())
    write_wait(request)
    return _timeout_s(request, WRITE_TIMEOUT_S)


def write_timeout_s(request: Request) -> float:
    """Read the time limit of a write."""
    _check_parameters(request, ("timeout", "wait", "ordering"), ())
    return _timeout_s(request, WRITE_TIMEOUT_S)


def write_wait(request: Request) -> bool:
    """Tell whether a write is answered only when every search sees it; writes are ordered weakly, as Qdrant's are by default."""
    if request.query_params.get("ordering", "weak") != "weak":
        raise not_served("ordering", f"the ordering {request.query_params['ordering'][:40]!r}")
    text = request.query_params.get("wait", "false")
    if text not in ("true", "false"):
        raise RequestRefused("wait", f"expected true or false, got {text[:40]!r}")
    return text == "true"


def request_key(request: Request) -> str | None:
    """Read the client's own name of a write, under which it may be sent again."""
    key = request.headers.get(IDEMPOTENCY_KEY)
    if key is not None and not (1 <= len(key) <= MAX_KEY_LENGTH and key.isascii() and key.isprintable()):
        raise RequestRefused(IDEMPOTENCY_KEY, f"expected 1 to {MAX_KEY_LENGTH} printable ASCII characters")
    return key


def _check_parameters(request: Request, known: Sequence[str], unserved: Sequence[str]) -> None:
    for name in request.query_params:
        if name in unserved:
            raise not_served(name)
        if name not in known:
            raise RequestRefused(name[:80], f"unknown parameter of the address; known here: {', '.join(known)}")


def _timeout_s(request: Request, default_s: float) -> float:
    text = request.query_params.get("timeout")
    if text is None:
        return default_s
    try:
        timeout_s = float(text)
    except ValueError:
        timeout_s = math.nan
    if not 0 < timeout_s <= MAX_TIMEOUT_S:
        raise RequestRefused("timeout", f"expected seconds above 0, at most {MAX_TIMEOUT_S:.0f}, got {text[:40]!r}")
    return timeout_s
