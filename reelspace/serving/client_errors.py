"""What a client of the gateway raises, and which answers and broken connections become what.

CallRefused (UserError): sent again, the same request fails the same way. CallFailed (ServerUnavailable): later it may succeed.
"""

import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

import httpx
import orjson

from reelspace.core.errors import ReelspaceError, ServerUnavailable, UserError

RETRY_AFTER: Final = "Retry-After"
REQUEST_ID: Final = "X-Request-Id"
MAX_MESSAGE_LENGTH: Final = 500
REPEATED: Final = frozenset({408, 429, 502, 503, 504})
"""What a server answers that did not begin, or did not end, what was asked, and may manage it next time."""
_SECONDS_DIGITS: Final = 6


class CallRefused(UserError):
    """The gateway says that the request is wrong, or may not be asked.

    `status` is the HTTP status, None where nothing was answered; `field` the part that is wrong, where the answer names one;
    `request_id` what the gateway's log has the request under.
    """

    def __init__(self, message: str, *, status: int | None = None, request_id: str | None = None, field: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.request_id = request_id
        self.field = field


class CallFailed(ServerUnavailable):
    """The gateway, or what stands behind it, did not answer.

    `status` is the HTTP status, None where nothing was answered; `retry_after_s` the wait that the gateway asks for, None where it
    says nothing; `request_id` what its log has the request under. `may_repeat` tells whether another try may help,
    `num_tries` how many there were.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        request_id: str | None = None,
        retry_after_s: float | None = None,
        may_repeat: bool = False,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.request_id = request_id
        self.retry_after_s = retry_after_s
        self.may_repeat = may_repeat
        self.num_tries = 1


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer over HTTP, read whole."""

    url: str
    status: int
    headers: Mapping[str, str]
    body: bytes
    request_id: str


def error_of_reply(reply: Reply) -> ReelspaceError:
    """Give the error that an answer other than 200 stands for: 408, 429 and every 5xx but 501 are the server's to mend."""
    text, field = _told(reply.body)
    status, request_id = reply.status, reply.request_id
    message = f"{reply.url}: {text or f'HTTP {status}'}"
    if status not in REPEATED and (status < HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.NOT_IMPLEMENTED):
        return CallRefused(message, status=status, request_id=request_id, field=field)
    retry_after_s = _seconds(reply.headers.get(RETRY_AFTER, ""))
    return CallFailed(message, status=status, request_id=request_id, retry_after_s=retry_after_s, may_repeat=status in REPEATED)


def error_of_transport(error: httpx.RequestError | OSError, url: str, request_id: str) -> ReelspaceError:
    """Give the error that a connection stands for which brought no answer.

    A connection that broke may have brought the request: all that this client asks only reads, so it may be sent again.
    httpx lets some errors of TLS through as they are.
    """
    said = str(error) or type(error).__name__
    if any(isinstance(link, ssl.SSLCertVerificationError) for link in _chain(error)):
        message = f"{url}: the certificate of the gateway is not to be trusted: {said}; name the authority's file as tls"
        return CallRefused(message, request_id=request_id)
    may_repeat = not isinstance(error, httpx.LocalProtocolError | httpx.UnsupportedProtocol | httpx.DecodingError)
    return CallFailed(f"the gateway at {url} did not answer: {said}", request_id=request_id, may_repeat=may_repeat)


def _told(body: bytes) -> tuple[str, str | None]:
    """Give an error's message and its field, in the shape of the V2 protocol, of the dialect, or of whatever stands between."""
    try:
        told: Any = orjson.loads(body)
    except orjson.JSONDecodeError:
        return _one_line(body[: 4 * MAX_MESSAGE_LENGTH].decode(errors="replace")), None
    told = told if isinstance(told, dict) else {}
    status, field = told.get("status"), told.get("field")
    text = status.get("error") if isinstance(status, dict) else told.get("error")
    return _one_line(text if isinstance(text, str) else ""), field if isinstance(field, str) else None


def _one_line(text: str) -> str:
    return " ".join(text.split())[:MAX_MESSAGE_LENGTH]


def _seconds(text: str) -> float | None:
    # A date, which HTTP allows here too, would be held against another machine's clock: it counts as nothing said.
    return float(text) if text.isascii() and text.isdigit() and len(text) <= _SECONDS_DIGITS else None


def _chain(error: BaseException) -> Iterator[BaseException]:
    link: BaseException | None = error
    while link is not None:
        yield link
        link = link.__cause__ or link.__context__
