"""The guarded KServe V2 subset over HTTP: health, metadata and inference of the models on the list, and nothing else.

Triton sees only requests that this module wrote anew from checked tensors: names, datatypes, shapes, sizes and values.
Loading, shared memory, tracing and the shard models cannot be reached.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any, Final

import orjson
from fastapi import APIRouter, FastAPI, Request, Response

from reelspace.core.errors import ServerUnavailable
from reelspace.serving.infer_request import InferRequest, max_body_bytes, parse_request
from reelspace.serving.signatures import Signature, TensorSpec
from reelspace.serving.upstream import ModelRefused, Upstream
from reelspace.serving.wire import HEAD_LENGTH, JSON_TYPE, Answer, WireError, encode_answer, encode_request

TIMEOUT_S: Final = 10.0
SPACE_ID: Final = "SPACE_ID"
EXTENSIONS: Final = ["binary_tensor_data"]


def as_it_is(handler: Callable[..., Any]) -> Callable[..., Any]:
    """Let everyone ask."""
    return handler


def v2_router(
    triton_http_url: str,
    models: Mapping[str, Signature],
    *,
    versions: Mapping[str, int] | None = None,
    timeout_s: float = TIMEOUT_S,
    permitted: Callable[[Callable[..., Any]], Callable[..., Any]] = as_it_is,
    trace: Callable[[], Mapping[str, str] | None] | None = None,
) -> APIRouter:
    """Make the /v2 routes in front of a Triton server.

    Args:
        models: the list of models that can be reached, with the signatures that requests are checked against.
        versions: version by model that answers, as the pointer of what is promoted says; Triton's newest where none is given.
        timeout_s: longest wait for Triton, per request.
        permitted: gives the handler that stands before each of ours, and checks who asks.
        trace: gives the headers that put a request to Triton into the trace it is sent for, None where there is none.
    """
    upstream = Upstream(triton_http_url, timeout_s, versions, trace)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with upstream:
            yield

    router = APIRouter(lifespan=lifespan)
    endpoint = V2Endpoint(upstream, models)
    router.add_api_route("/v2", permitted(endpoint.server), methods=["GET"])
    router.add_api_route("/v2/health/live", permitted(endpoint.live), methods=["GET"])
    router.add_api_route("/v2/health/ready", permitted(endpoint.ready), methods=["GET"])
    router.add_api_route("/v2/models/{model}", permitted(endpoint.metadata), methods=["GET"])
    router.add_api_route("/v2/models/{model}/ready", permitted(endpoint.model_ready), methods=["GET"])
    router.add_api_route("/v2/models/{model}/infer", permitted(endpoint.infer), methods=["POST"])
    return router


class V2Endpoint:
    """The handlers of the routes."""

    def __init__(self, upstream: Upstream, models: Mapping[str, Signature]) -> None:
        self._upstream = upstream
        self._models = models

    async def server(self) -> Response:
        """Name the server and what it speaks beyond the protocol's core."""
        return _json({"name": "reelspace", "version": version("reelspace"), "extensions": EXTENSIONS})

    async def live(self) -> Response:
        """Answer as long as this process runs."""
        return Response()

    async def ready(self) -> Response:
        """Answer 200 when every model answers a real request."""
        return _ready(await self._upstream.is_ready(self._models))

    async def model_ready(self, model: str) -> Response:
        """Answer 200 when the model answers a real request."""
        if model not in self._models:
            return self._unknown(model)
        return _ready(await self._upstream.is_ready({model: self._models[model]}))

    async def metadata(self, model: str) -> Response:
        """Give a model's tensors, the versions served now and the largest batch."""
        if model not in self._models:
            return self._unknown(model)
        try:
            versions = await self._upstream.versions(model)
        except ServerUnavailable as error:
            return _unavailable(error)
        signature = self._models[model]
        return _json(
            {
                "name": model,
                "versions": versions,
                "platform": "reelspace",
                "inputs": [_metadata(spec) for spec in signature.inputs],
                "outputs": [_metadata(spec) for spec in signature.outputs],
                "parameters": {
                    "max_batch_size": signature.max_batch,
                    "optional_inputs": [spec.name for spec in signature.inputs if spec.optional],
                },
            }
        )

    async def infer(self, model: str, request: Request) -> Response:
        """Check a request, run it, and answer in the encoding it asked for."""
        if model not in self._models:
            return self._unknown(model)
        signature = self._models[model]
        try:
            body = await _read_body(request, max_body_bytes(signature))
            parsed = parse_request(body, request.headers.get(HEAD_LENGTH), signature)
        except BodyTooLarge as error:
            return _refused(413, error.field, str(error))
        except WireError as error:
            return _refused(400, error.field, str(error))
        try:
            answer = await self._upstream.infer(model, encode_request(parsed.inputs, [spec.name for spec in signature.outputs]))
        except ModelRefused as error:
            field = str(error).partition(":")[0]
            return _refused(400, field if field in {spec.name for spec in signature.inputs} else "inputs", str(error))
        except ServerUnavailable as error:
            return _unavailable(error)
        return _answered(answer, parsed)

    def _unknown(self, model: str) -> Response:
        return _refused(404, "model", f"model: expected one of {', '.join(sorted(self._models))}, got {model!r:.80}")


class BodyTooLarge(WireError):
    """A body with more bytes than any valid request of the model has."""


async def _read_body(request: Request, most: int) -> bytes:
    encoding = request.headers.get("Content-Encoding", "identity")
    if encoding != "identity":
        raise WireError("Content-Encoding", f"expected identity, got {encoding[:40]!r}")
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > most:
            raise BodyTooLarge("body", f"expected at most {most} bytes")
        chunks.append(chunk)
    return b"".join(chunks)


def _answered(answer: Answer, request: InferRequest) -> Response:
    parameters = {"space_id": answer.outputs[SPACE_ID].reshape(-1)[0].decode()} if SPACE_ID in answer.outputs else {}
    message = encode_answer(Answer(answer.model, answer.version, answer.outputs, parameters), request.outputs, request.request_id)
    headers = {name: value for name, value in message.headers.items() if name == HEAD_LENGTH}
    return Response(message.body, media_type=message.headers["Content-Type"], headers=headers)


def _metadata(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "datatype": spec.datatype, "shape": [-1, *spec.dims]}


def _ready(is_ready: bool) -> Response:
    return Response() if is_ready else _refused(503, "models", "models: not every model answers")


def _refused(status: int, field: str, message: str) -> Response:
    return _json({"error": message, "field": field}, status)


def _unavailable(error: ServerUnavailable) -> Response:
    return _json({"error": str(error), "field": None}, 503, {"Retry-After": "1"})


def _json(value: dict[str, Any], status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(orjson.dumps(value), status, headers, media_type=JSON_TYPE)
