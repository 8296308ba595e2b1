"""Statuses of gRPC: what errors become, and how they are written."""

from enum import IntEnum
from typing import Final
from urllib.parse import quote

from reelspace.core.errors import ReelspaceError
from reelspace.core.log import log
from reelspace.gateway.http2.application import Answer
from reelspace.gateway.http2.headers import encode_headers
from reelspace.search.access.status import retry_after_s, status_of
from reelspace.search.storage.writer import RequestKeyReused

MAX_MESSAGE_CHARS: Final = 2048
_SUCCESS: Final = ((b":status", b"200"), (b"content-type", b"application/grpc"))
ANSWER_HEAD: Final = encode_headers(_SUCCESS)


class Code(IntEnum):
    """The codes we answer with."""

    OK = 0
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    UNAUTHENTICATED = 16


ANSWER_TAIL: Final = encode_headers([(b"grpc-status", b"0")])
_CODES: Final = {
    400: Code.INVALID_ARGUMENT,
    401: Code.UNAUTHENTICATED,
    403: Code.PERMISSION_DENIED,
    404: Code.NOT_FOUND,
    408: Code.DEADLINE_EXCEEDED,
    409: Code.ALREADY_EXISTS,
    412: Code.FAILED_PRECONDITION,
    413: Code.RESOURCE_EXHAUSTED,
    415: Code.INVALID_ARGUMENT,
    429: Code.RESOURCE_EXHAUSTED,
    501: Code.UNIMPLEMENTED,
    503: Code.UNAVAILABLE,
    504: Code.DEADLINE_EXCEEDED,
    507: Code.RESOURCE_EXHAUSTED,
}


def code_of(error: BaseException) -> Code:
    """Give the code that an error is answered with: that of its status over HTTP, INTERNAL for every other one."""
    if isinstance(error, RequestKeyReused):
        return Code.ABORTED
    return _CODES.get(status_of(error), Code.INTERNAL) if isinstance(error, ReelspaceError) else Code.INTERNAL


def error_answer(error: BaseException) -> Answer:
    """Write an error: its message as over HTTP, nothing about one of ours."""
    code = code_of(error)
    if code == Code.INTERNAL:
        log("request_failed", error=type(error).__name__, message=str(error))
        return answer_of(code, "internal error; the server's log has it")
    wait_s = retry_after_s(error) if isinstance(error, ReelspaceError) else None
    return answer_of(code, " ".join(str(error).split()), wait_s)


def answer_of(code: Code, message: str, wait_s: int | None = None) -> Answer:
    """Write a status without a message of the method's, percent-encoded as gRPC wants it; `wait_s` says when to try again."""
    text = quote(message[:MAX_MESSAGE_CHARS], safe=_PRINTABLE).encode()
    pairs = [*_SUCCESS, (b"grpc-status", str(int(code)).encode()), (b"grpc-message", text)]
    if wait_s is not None:
        pairs.append((b"retry-after", str(wait_s).encode()))
    return Answer(encode_headers(pairs))


_PRINTABLE: Final = "".join(chr(number) for number in range(0x20, 0x7F) if number != ord("%"))
