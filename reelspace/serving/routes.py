"""The KServe V2 protocol over HTTP: health, metadata, configuration and inference of the models on the list, and nothing else."""

import re
from collections.abc import Callable
from typing import Any, Final

import orjson
from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute
from starlette.types import Receive, Scope, Send

from reelspace.core.errors import ServerUnavailable
from reelspace.serving.bodies import Bodies
from reelspace.serving.endpoint import EXTENSIONS, PACKAGE_VERSION, Endpoint
from reelspace.serving.infer_request import InferRequest, max_body_bytes, parse_request
from reelspace.serving.refusals import NotAllowed, NotServed, TooMuchWaits
from reelspace.serving.signatures import PLATFORM, Signature, TensorSpec, config_of_signature
from reelspace.serving.wire import HEAD_LENGTH, JSON_TYPE, WireError, encode_answer

EVERY_METHOD: Final = ["GET", "POST", "PUT", "PATCH", "DELETE"]
SOON_S: Final = "1"
OPERATORS_CALLS: Final = re.compile(r"(repository|systemsharedmemory|cudasharedmemory|trace|logging|models/[^/]+/trace)(/.*)?")
Handler = Callable[..., Any]


def as_it_is(handler: Handler) -> Handler:
    """Let everyone ask."""
    return handler


def v2_router(endpoint: Endpoint, permitted: Callable[[Handler], Handler] = as_it_is, bodies: Bodies | None = None) -> APIRouter:
    """Make the /v2 routes.

    Args:
        permitted: gives the handler that stands before each of ours, and checks who asks.
        bodies: counts what bodies hold, those of other routes, too; None counts these alone.
    """
    router = APIRouter(route_class=V2Route)
    handlers = V2Endpoint(endpoint, bodies or Bodies(endpoint.settings))
    models = ("/v2/models/{model}", "/v2/models/{model}/versions/{version}")
    # Addresses are tried in this order, so what is asked most comes first.
    routes: list[tuple[str, str, Handler]] = [("POST", f"{model}/infer", handlers.infer) for model in models]
    for model in models:
        routes += [
            ("GET", model, handlers.metadata),
            ("GET", f"{model}/ready", handlers.model_ready),
            ("GET", f"{model}/config", handlers.config),
        ]
    routes += [
        ("GET", "/v2", handlers.server),
        ("GET", "/v2/health/live", handlers.live),
        ("GET", "/v2/health/ready", handlers.ready),
    ]
    for method, path, handler in routes:
        router.add_api_route(path, permitted(handler), methods=[method], openapi_extra=_described(path))
    router.add_api_route("/v2/{call:path}", permitted(handlers.unserved), methods=EVERY_METHOD, include_in_schema=False)
    return router


class V2Route(APIRoute):
    """A route whose refusals have the protocol's shape, and whose handler takes the request and nothing else."""

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the handler without what FastAPI builds around one for parameters and dependencies."""
        if self.methods is not None and scope["method"] not in self.methods:
            await super().handle(scope, receive, send)
            return
        response = await self._answer(Request(scope, receive))
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        try:
            response: Response = await self.endpoint(request=request)
        except WireError as error:
            headers = {"Retry-After": SOON_S} if isinstance(error, TooMuchWaits) else None
            return _json({"error": str(error), "field": error.field}, error.status, headers)
        except ServerUnavailable as error:
            return _json({"error": str(error), "field": None}, 503, {"Retry-After": SOON_S})
        return response


class V2Endpoint:
    """The handlers of the routes."""

    def __init__(self, endpoint: Endpoint, bodies: Bodies) -> None:
        self._endpoint = endpoint
        self._bodies = bodies

    async def server(self, request: Request) -> Response:
        """Name the server and what it speaks beyond the protocol's core."""
        return _json({"name": "reelspace", "version": PACKAGE_VERSION, "extensions": EXTENSIONS})

    async def live(self, request: Request) -> Response:
        """Answer as long as this process runs."""
        return Response()

    async def ready(self, request: Request) -> Response:
        """Answer 200 when every model answers a real request, and this process is not ending."""
        return _ready(await self._endpoint.is_ready())

    async def model_ready(self, request: Request) -> Response:
        """Answer 200 when the model answers a real request."""
        return _ready(await self._endpoint.is_model_ready(*_model_of(request)))

    async def metadata(self, request: Request) -> Response:
        """Give a model's tensors, the versions served now and the largest batch."""
        facts = await self._endpoint.facts(*_model_of(request))
        return _json(_metadata(facts.signature, facts.versions))

    async def config(self, request: Request) -> Response:
        """Give what clients may know of a model's configuration; it is made from the signature, not Triton's own."""
        facts = await self._endpoint.facts(*_model_of(request))
        return _json(config_of_signature(facts.signature))

    async def infer(self, request: Request) -> Response:
        """Check a request, run it, and answer in the encoding it asked for."""
        model, number = _model_of(request)
        with self._bodies.one() as body:

            async def read(signature: Signature) -> InferRequest:
                data = await body.read(request, max_body_bytes(signature))
                return parse_request(data, request.headers.get(HEAD_LENGTH), signature)

            parsed, answer = await self._endpoint.infer(model, number, read)
        message = encode_answer(answer, parsed.outputs, parsed.request_id)
        headers = {name: value for name, value in message.headers.items() if name == HEAD_LENGTH}
        return Response(message.body, media_type=message.headers["Content-Type"], headers=headers)

    async def unserved(self, request: Request) -> Response:
        """Refuse every other call of the protocol and of Triton."""
        call = str(request.path_params["call"])
        if OPERATORS_CALLS.fullmatch(call):
            raise NotAllowed("call", f"{call:.80} is not for clients: models are loaded by promoting them, and memory is not shared")
        raise NotServed("call", f"{request.method} /v2/{call:.80} is not served here")


def _model_of(request: Request) -> tuple[str, str]:
    return request.path_params["model"], request.path_params.get("version", "")


def _metadata(signature: Signature, versions: list[str]) -> dict[str, Any]:
    return {
        "name": signature.model,
        "versions": versions,
        "platform": PLATFORM,
        "inputs": [_tensor(spec) for spec in signature.inputs],
        "outputs": [_tensor(spec) for spec in signature.outputs],
        "parameters": {
            "max_batch_size": signature.max_batch,
            "optional_inputs": [spec.name for spec in signature.inputs if spec.optional],
        },
    }


def _tensor(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "datatype": spec.datatype, "shape": [-1, *spec.dims]}


def _described(path: str) -> dict[str, Any]:
    names = re.findall(r"\{(\w+)\}", path)
    return {"parameters": [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names]}


def _ready(is_ready: bool) -> Response:
    return Response() if is_ready else _json({"error": "models: not every model answers, or this server is ending", "field": "models"}, 503)


def _json(value: dict[str, Any], status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(orjson.dumps(value), status, headers, media_type=JSON_TYPE)
