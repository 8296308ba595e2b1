"""What the clients ask a gateway, and how they read what it answers. Pure: nothing here sends or waits.

Shapes: Q queries, D dimension.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar
from urllib.parse import quote

import numpy as np
import orjson
from numpy.typing import NDArray

from reelspace.core.errors import UserError
from reelspace.serving.client_errors import CallFailed, Reply
from reelspace.serving.infer_request import BYTES_HEAD, MAX_BODY_BYTES
from reelspace.serving.input_checks import MAX_TIMEOUT_US
from reelspace.serving.preprocess import Video, text_tensors, video_tensors, video_text
from reelspace.serving.signatures import MAX_TEXT_BYTES, MEDIA, TEXT, Signature, TensorSpec
from reelspace.serving.wire import DTYPES, HEAD_LENGTH, JSON_TYPE, Answer, Tensor, WireError, decode_answer, encode_request, text_tensor

TEXT_MODEL: Final = "text_encoder"
VIDEO_MODEL: Final = "video_encoder"
MEDIA_MODEL: Final = "media_encoder"
COLLECTION: Final = "videos"
EMBEDDING: Final = "EMBEDDING"
FRAMES: Final = "FRAMES"
KINDS: Final = frozenset(DTYPES.values())
MAX_QUERY_S: Final = 60.0
LEAST_S: Final = 0.001
Floats = NDArray[np.float32]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Sent:
    """A request over HTTP."""

    method: str
    path: str
    body: bytes | None
    headers: Mapping[str, str]


Call = Callable[[float], Sent]
"""Writes a request that tells the server how many seconds are left."""


@dataclass(frozen=True, slots=True)
class MediaFile:
    """The bytes of a video, picture or sound as they lie in a file, and the author's caption."""

    data: bytes
    text: str = ""


@dataclass(frozen=True, slots=True)
class Hit:
    """One hit of a search; the score is that of the collection's metric, a cosine where it was promoted."""

    id: int | str
    score: float
    payload: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Found:
    """What a search answered: hits by falling score, and the space of the collection, "" where it is of none."""

    hits: list[Hit]
    space_id: str


@dataclass(frozen=True, slots=True)
class Embedded:
    """vectors_QD and the space that they may be compared in, "" where the model names none."""

    vectors_QD: Floats
    space_id: str


@dataclass(frozen=True, slots=True)
class Batching:
    """How values become requests of one kind of encoder."""

    input: str
    """An input that such an encoder has."""
    tensors: Callable[[Any, Signature], dict[str, Tensor]]
    size_bytes: Callable[[Any, Signature], int]


def describe_call(model: str) -> Call:
    """Ask for a model's tensors."""
    return lambda _left_s: Sent("GET", f"/v2/models/{_part(model)}", None, {})


def infer_call(model: str, inputs: Mapping[str, Tensor], request_id: str | None = None) -> Call:
    """Ask for an inference; UserError where a tensor is of a kind that the protocol has not."""
    for name, tensor in inputs.items():
        _check_kind(name, tensor)
    path = f"/v2/models/{_part(model)}/infer"

    def write(left_s: float) -> Sent:
        message = encode_request(inputs, (), request_id, min(max(round(left_s * 1e6), 1), MAX_TIMEOUT_US))
        return Sent("POST", path, message.body, message.headers)

    return write


def query_call(query: str | Floats, collection: str, limit: int, where: Mapping[str, Any] | None) -> Call:
    """Ask for the points nearest to words, which the gateway embeds, or to a vector."""
    wanted = {"text": query, "model": TEXT_MODEL} if isinstance(query, str) else np.ascontiguousarray(query)
    body: dict[str, Any] = {"query": wanted, "limit": limit, "with_payload": True}
    if where is not None:
        body["filter"] = where
    try:
        content = orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)
    except TypeError as error:  # orjson.JSONEncodeError is one
        raise UserError(f"the query cannot be written as JSON: {error}") from error
    path = f"/collections/{_part(collection)}/points/query"
    headers = {"Content-Type": JSON_TYPE}
    return lambda left_s: Sent("POST", f"{path}?timeout={min(max(left_s, LEAST_S), MAX_QUERY_S):.3f}", content, headers)


def read_signature(reply: Reply, model: str) -> Signature:
    """Read a model's tensors."""
    try:
        told = orjson.loads(reply.body)
        parameters = told["parameters"]
        optional = set(parameters["optional_inputs"])
        inputs, outputs = (
            tuple(TensorSpec(one["name"], one["datatype"], tuple(one["shape"][1:]), one["name"] in optional) for one in told[key])
            for key in ("inputs", "outputs")
        )
        return Signature(model, inputs, outputs, int(parameters["max_batch_size"]))
    except (ValueError, KeyError, TypeError) as error:
        raise _unreadable(reply, error) from error


def read_answer(reply: Reply) -> Answer:
    """Read an inference's answer."""
    try:
        return decode_answer(reply.body, reply.headers.get(HEAD_LENGTH))
    except (WireError, ValueError, KeyError, TypeError) as error:
        raise _unreadable(reply, error) from error


def read_found(reply: Reply) -> Found:
    """Read the answer to a query."""
    try:
        result = orjson.loads(reply.body)["result"]
        hits = [Hit(point["id"], point["score"], point.get("payload") or {}) for point in result["points"]]
        return Found(hits, result.get("space_id") or "")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _unreadable(reply, error) from error


def batches(values: Sequence[T], signature: Signature, batching: Batching) -> Iterator[dict[str, Tensor]]:
    """Make the tensors of as few requests as the model's batch and the largest body allow, one after the other.

    Raises:
        UserError: the model has no such input, or one value came where a list is expected.
    """
    if isinstance(values, str | bytes):
        raise UserError(f"expected a list of values for {signature.model}, got one {type(values).__name__}; put it into a list")
    names = [spec.name for spec in signature.inputs]
    if batching.input not in names or all(spec.name != EMBEDDING for spec in signature.outputs):
        raise UserError(f"expected a model that makes {EMBEDDING} of {batching.input}; {signature.model} takes {', '.join(names)}")
    return (batching.tensors(part, signature) for part in _parts(values, signature, batching))


def joined(answers: Sequence[Answer], signature: Signature) -> Embedded:
    """Put the vectors of several requests together.

    Raises:
        CallFailed: they are of several spaces: another model was promoted between the requests.
    """
    spaces = {str(answer.parameters.get("space_id", "")) for answer in answers}
    if len(spaces) > 1:
        raise CallFailed(f"{signature.model} was promoted anew between two requests: spaces {', '.join(sorted(spaces))}; encode all again")
    dimension = max(0, next(spec.dims[0] for spec in signature.outputs if spec.name == EMBEDDING))
    vectors = [answer.outputs[EMBEDDING] for answer in answers] or [np.empty((0, dimension), dtype=np.float32)]
    return Embedded(np.concatenate(vectors), next(iter(spaces), ""))


def checked_hits(found: Found, embedded: Embedded) -> list[Hit]:
    """Give the hits of a vector.

    Raises:
        CallFailed: the collection is of another space than the vector, so that scores mean nothing: both change in one promotion.
    """
    if found.space_id and embedded.space_id and found.space_id != embedded.space_id:
        raise CallFailed(f"the vector is of space {embedded.space_id}, the collection of {found.space_id}; ask again")
    return found.hits


def _parts(values: Sequence[T], signature: Signature, batching: Batching) -> Iterator[Sequence[T]]:
    start, size_bytes = 0, BYTES_HEAD
    for end, value in enumerate(values):
        value_bytes = batching.size_bytes(value, signature)
        if end > start and (end - start == signature.max_batch or size_bytes + value_bytes > MAX_BODY_BYTES):
            yield values[start:end]
            start, size_bytes = end, BYTES_HEAD
        size_bytes += value_bytes
    if start < len(values):
        yield values[start:]


def _check_kind(name: str, tensor: Tensor) -> None:
    if tensor.dtype not in KINDS:
        raise UserError(f"{name}: expected an array of numbers, booleans, or objects that are bytes; got {tensor.dtype}")
    if tensor.dtype == np.object_ and not all(isinstance(element, bytes) for element in tensor.flat):
        raise UserError(f"{name}: expected bytes in an array of objects; encode texts as UTF-8")


def _text_tensors(texts: Sequence[str], _signature: Signature) -> dict[str, Tensor]:
    return text_tensors(texts)


def _media_tensors(files: Sequence[MediaFile], _signature: Signature) -> dict[str, Tensor]:
    media_B1 = np.empty((len(files), 1), dtype=np.object_)
    media_B1[:, 0] = [bytes(file.data) for file in files]
    return {MEDIA: media_B1, TEXT: text_tensor([video_text(file.text) for file in files])}


def _fixed_bytes(_video: Video, signature: Signature) -> int:
    fixed = (DTYPES[spec.datatype].itemsize * int(np.prod(spec.dims)) for spec in signature.inputs if spec.datatype != "BYTES")
    return sum(fixed) + MAX_TEXT_BYTES


TEXTS: Final = Batching(TEXT, _text_tensors, lambda _text, _signature: MAX_TEXT_BYTES)
VIDEOS: Final = Batching(FRAMES, video_tensors, _fixed_bytes)
MEDIA_FILES: Final = Batching(MEDIA, _media_tensors, lambda file, _signature: len(file.data) + MAX_TEXT_BYTES)


def _unreadable(reply: Reply, error: Exception) -> CallFailed:
    message = f"{reply.url} gave an answer that is not the protocol's: {error!r}; is a gateway there?"
    return CallFailed(message, status=reply.status, request_id=reply.request_id)


def _part(name: str) -> str:
    return quote(name, safe="")
