"""Refuses what another site may have made a browser send, with the browser's cookie or from its place in the network."""

from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers

from reelspace.gateway.guard import secret_of
from reelspace.search.access.refusal import RequestRefused

_OURS: Final = ("same-origin", "none")


def check_same_origin(headers: Headers) -> None:
    """Let a change through that comes from the console's own pages, or shows its key in a header, as no other site can.

    Browsers say where a request comes from: in Sec-Fetch-Site over TLS and on this machine's own addresses, and in Origin with every POST.

    Raises:
        RequestRefused: 403.
    """
    if secret_of(headers.get) is not None:
        return
    site = headers.get("sec-fetch-site")
    is_ours = site in _OURS if site is not None else _host(headers.get("origin", "")) == headers.get("host", "")
    if not is_ours:
        raise RequestRefused("Origin", "expected a request from the console's own page", status=403)


def _host(origin: str) -> str | None:
    """Give the host and port of an origin; None where there is none, as of `null`."""
    try:
        return urlsplit(origin).netloc or None
    except ValueError:
        return None
