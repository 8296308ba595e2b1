"""How a client reaches its gateway: the address, the key, TLS, and what every request says of where it comes from."""

import ipaddress
import re
import ssl
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from random import getrandbits
from typing import Any, Final

import httpx

from reelspace.core.errors import SettingError
from reelspace.serving.client_errors import REQUEST_ID

API_KEY: Final = "api-key"
TRACEPARENT: Final = "traceparent"
CONNECT_S: Final = 5.0
KEPT_CONNECTIONS: Final = 64
"""As many as one model's requests that a gateway lets run at a time."""
KEPT_S: Final = 4.0
"""Less than the 5 s after which uvicorn closes an idle connection."""
ID_BITS: Final = 64
_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")


@dataclass(frozen=True, slots=True)
class Tls:
    """PEM files for https, beside the well-known authorities: the authority that signed the gateway's certificate, the client's own."""

    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None

    def context(self) -> ssl.SSLContext:
        """Read the files; SettingError where one is missing or is none."""
        try:
            context = ssl.create_default_context(cafile=self.ca_file)
            if self.cert_file is not None:
                context.load_cert_chain(self.cert_file, self.key_file)
        except OSError as error:  # ssl.SSLError is one, too
            files = ", ".join(file for file in (self.ca_file, self.cert_file, self.key_file) if file)
            raise SettingError(f"tls: expected PEM files at {files}: {error}") from error
        return context


def connection_options(gateway_url: str, api_key: str | None, tls: Tls | None) -> dict[str, Any]:
    """Give what httpx's clients, the blocking and the asynchronous one alike, are made with.

    Raises:
        SettingError: the address is none of http or https, the key cannot be sent, or a file of `tls` cannot be read.
    """
    url = _checked_url(gateway_url)
    headers = {} if api_key is None else {API_KEY: _checked_value("api_key", api_key)}
    return {
        "base_url": url,
        "headers": headers,
        "verify": _trust(url, tls),
        "limits": httpx.Limits(max_connections=None, max_keepalive_connections=KEPT_CONNECTIONS, keepalive_expiry=KEPT_S),
        # A proxy of the environment cannot reach this machine's own loopback interface.
        "trust_env": not _is_loopback(url.host),
    }


def origin_headers(request_id: str | None, traceparent: str | None) -> dict[str, str]:
    """Give the headers that name the request of the caller's own, and the trace, that a call belongs to; SettingError for what is none."""
    headers = {}
    if request_id is not None:
        if not _ID.fullmatch(request_id):
            raise SettingError(f"request_id: expected 1 to 64 letters, digits, dots, _ and -, as the gateway takes; got {request_id!r:.80}")
        headers[REQUEST_ID] = request_id
    if traceparent is not None:
        headers[TRACEPARENT] = _checked_value("traceparent", traceparent)
    return headers


def new_request_id() -> str:
    """Make an id for a request that has none: an error can name it though no answer came."""
    return f"{getrandbits(ID_BITS):016x}"


def time_limits(left_s: float) -> httpx.Timeout:
    """Give the limits of one try: a host that takes no connection must leave time for another try."""
    return httpx.Timeout(left_s, connect=min(left_s, CONNECT_S))


def read_until(chunks: Iterable[bytes], is_over: Callable[[], bool]) -> bytes:
    """Read a body; httpx.ReadTimeout where time is over before it is whole, however steadily it drips."""
    read = []
    for chunk in chunks:
        read.append(chunk)
        if is_over():
            raise httpx.ReadTimeout("the answer was not whole in time")
    return b"".join(read)


def _trust(url: httpx.URL, tls: Tls | None) -> ssl.SSLContext | bool:
    if url.scheme == "http":
        # Trusts nobody, and is never asked: reading the well-known authorities costs 50 ms, a third of what it takes to load this client.
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return True if tls is None else tls.context()


def _checked_url(text: str) -> httpx.URL:
    try:
        url = httpx.URL(text)
    except (httpx.InvalidURL, TypeError) as error:
        raise SettingError(f"address of the gateway: expected http://host:port, got {text!r}: {error}") from error
    if url.scheme not in ("http", "https") or not url.host:
        raise SettingError(f"address of the gateway: expected http://host:port, got {text!r}")
    return url


def _checked_value(name: str, value: str) -> str:
    if not (value and value.isascii() and value.isprintable()):
        raise SettingError(f"{name}: expected printable ASCII characters, as a header has them")
    return value


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
