"""gRPC over HTTP/2: one message in, one out, for the methods of a table.

Source: grpc/doc/PROTOCOL-HTTP2.md.
"""

import asyncio
import re
import time
import zlib
from collections.abc import Callable, Mapping
from contextvars import copy_context
from dataclasses import dataclass
from typing import Final

from reelspace.core.errors import ReelspaceError, as_reelspace_error
from reelspace.gateway.grpc_status import ANSWER_HEAD, ANSWER_TAIL, Code, answer_of, code_of, error_answer
from reelspace.gateway.http2.application import Answer
from reelspace.gateway.http2.headers import Pairs, encode_headers
from reelspace.gateway.request_start import REQUEST_ID, request_of
from reelspace.search.access.current_request import begin
from reelspace.search.access.messages.call import Call, Method, MethodNow
from reelspace.search.access.refusal import RequestRefused
from reelspace.search.access.status import SOON_S

PREFIX_BYTES: Final = 5
SECONDS: Final = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
_TIMEOUT: Final = re.compile(r"([0-9]{1,8})([HMSmun])")
_WINDOW_BITS: Final = {"gzip": 31, "deflate": 15}
UNKNOWN_PATH: Final = "unknown"
# A header block's literal, up to the length of the value: ids are shorter than 127 bytes.
_ID_NAME: Final = b"\0" + bytes((len(REQUEST_ID),)) + REQUEST_ID.encode()


@dataclass(frozen=True, slots=True)
class Head:
    """What the headers of a call say; `path` is for counting; with `refused` every such call is answered so."""

    path: str
    method: Method | None = None
    method_now: MethodNow | None = None
    timeout_s: float | None = None
    encoding: str = "identity"
    metadata: Mapping[str, str] | None = None
    refused: Answer | None = None


class GrpcApplication:
    """Calls the methods of a table, by path as `/qdrant.Points/Query`.

    Args:
        max_message_bytes: bound of an unpacked message; HTTP/2 bounds the packed one.
        count: told of every call its path, the name of its code, and the seconds it took.
        methods_now: by path, what may be answered on the spot.
    """

    def __init__(
        self,
        methods: Mapping[str, Method],
        max_message_bytes: int,
        count: Callable[[str, str, float], None],
        methods_now: Mapping[str, MethodNow] | None = None,
    ) -> None:
        self._methods = methods
        self._methods_now = methods_now or {}
        self._max_message_bytes = max_message_bytes
        self._count = count

    def read_head(self, pairs: Pairs) -> Head:
        """Read a call's headers."""
        named = dict(pairs)
        path = named.get(":path", "")
        method = self._methods.get(path)
        if named.get(":method") != "POST":
            return Head(UNKNOWN_PATH, refused=_http_status(b"405"))
        if not named.get("content-type", "").startswith("application/grpc"):
            return Head(UNKNOWN_PATH, refused=_http_status(b"415"))
        if method is None:
            return Head(UNKNOWN_PATH, refused=answer_of(Code.UNIMPLEMENTED, f"{path[1:200]} is not served here"))
        encoding = named.get("grpc-encoding", "identity")
        if encoding != "identity" and encoding not in _WINDOW_BITS:
            return Head(path, refused=_unpackable(encoding))
        timeout_s = _timeout_s(named.get("grpc-timeout"))
        metadata = {name: value for name, value in pairs if name[:1] != ":" and not name.startswith("grpc-")}
        return Head(path, method, self._methods_now.get(path), timeout_s, encoding, metadata)

    async def answer(self, head: Head, body: bytes, came_s: float) -> Answer:
        """Call the method."""
        if head.refused is not None:
            self._count(head.path, Code.UNIMPLEMENTED.name, 0.0)
            return head.refused
        assert head.method is not None, "else it is refused"
        begun_s = time.perf_counter()
        metadata = head.metadata or {}
        request = request_of(metadata.get)
        begin(request)
        id = _ID_NAME + bytes((len(request.id),)) + request.id.encode()
        code = Code.INTERNAL
        try:
            message = self._message(head, body)
            timeout_s = None
            if head.timeout_s is not None:
                timeout_s = head.timeout_s - (asyncio.get_running_loop().time() - came_s)
                if timeout_s <= 0:
                    raise RequestRefused("deadline", "it was over before the call was read", status=504)
            answer = await head.method(message, Call(timeout_s, metadata))
            code = Code.OK
        except (ReelspaceError, OSError) as raised:
            error = as_reelspace_error(raised)
            code = code_of(error)
            answered = error_answer(error)
            return Answer(answered.head + id)
        finally:
            self._count(head.path, code.name, time.perf_counter() - begun_s)
        return _success(id, answer)

    def answer_now(self, head: Head, body: bytes, came_s: float) -> Answer | None:
        """Call the method on the spot, if it can be; what goes wrong is told by `answer`, which is asked next."""
        if head.method_now is None:
            return None
        # In a context of its own, as a task has one: it is one request's.
        return copy_context().run(self._answer_now, head.method_now, head, body, came_s)

    def _answer_now(self, method: MethodNow, head: Head, body: bytes, came_s: float) -> Answer | None:
        begun_s = time.perf_counter()
        metadata = head.metadata or {}
        request = request_of(metadata.get)
        begin(request)
        if head.timeout_s is not None and head.timeout_s <= asyncio.get_running_loop().time() - came_s:
            return None
        try:
            answer = method(self._message(head, body), Call(head.timeout_s, metadata))
        except ReelspaceError:
            return None
        if answer is None:
            return None
        self._count(head.path, Code.OK.name, time.perf_counter() - begun_s)
        return _success(_ID_NAME + bytes((len(request.id),)) + request.id.encode(), answer)

    def failed(self, head: Head, error: BaseException) -> Answer:
        """Answer in the place of a method that raised what is none of our errors."""
        return error_answer(error)

    def too_large(self, head: Head) -> Answer:
        """Refuse a message of too many bytes."""
        return self._refused(head, Code.RESOURCE_EXHAUSTED, f"message: expected at most {self._max_message_bytes} bytes")

    def too_busy(self, head: Head) -> Answer:
        """Refuse a message for which there is no room now."""
        return self._refused(head, Code.RESOURCE_EXHAUSTED, "too many bytes of requests wait already; try again", SOON_S)

    def too_slow(self, head: Head) -> Answer:
        """Give a call up that takes too long."""
        return self._refused(head, Code.DEADLINE_EXCEEDED, "the call took too long to arrive or to be answered")

    def _refused(self, head: Head, code: Code, message: str, wait_s: int | None = None) -> Answer:
        self._count(head.path, code.name, 0.0)
        return answer_of(code, message, wait_s)

    def _message(self, head: Head, body: bytes) -> bytes:
        if len(body) < PREFIX_BYTES or int.from_bytes(body[1:PREFIX_BYTES], "big") != len(body) - PREFIX_BYTES or body[0] > 1:
            raise RequestRefused("message", f"expected one message, whole, after its length; got {len(body)} bytes")
        message = body[PREFIX_BYTES:]
        return self._unpacked(head, message) if body[0] else message

    def _unpacked(self, head: Head, packed: bytes) -> bytes:
        if head.encoding not in _WINDOW_BITS:
            raise RequestRefused("message", "it is packed, and grpc-encoding does not say how")
        unpacker = zlib.decompressobj(_WINDOW_BITS[head.encoding])
        try:
            message = unpacker.decompress(packed, self._max_message_bytes + 1)
        except zlib.error as error:
            raise RequestRefused("message", f"expected {head.encoding}: {error}") from error
        if len(message) > self._max_message_bytes:
            raise RequestRefused("message", f"expected at most {self._max_message_bytes} bytes unpacked", status=413)
        if not unpacker.eof or unpacker.unused_data:
            raise RequestRefused("message", f"expected one whole {head.encoding} stream")
        return message


def _success(id: bytes, message: bytes) -> Answer:
    return Answer(ANSWER_HEAD + id, b"\0" + len(message).to_bytes(4, "big") + message, ANSWER_TAIL)


def _timeout_s(text: str | None) -> float | None:
    """Read grpc-timeout; what is none counts as none, for the client alone waits by it."""
    found = None if text is None else _TIMEOUT.fullmatch(text)
    return None if found is None else int(found[1]) * SECONDS[found[2]]


def _http_status(status: bytes) -> Answer:
    return Answer(encode_headers([(b":status", status)]))


def _unpackable(encoding: str) -> Answer:
    answer = answer_of(Code.UNIMPLEMENTED, f"grpc-encoding: expected identity, gzip or deflate, got {encoding[:40]!r}")
    return Answer(answer.head + encode_headers([(b"grpc-accept-encoding", b"identity,gzip,deflate")]))
