"""The KServe V2 protocol over gRPC: what `routes` serves over HTTP, as methods from bytes to bytes."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import wraps
from typing import Any, Final, Protocol

from google.protobuf.json_format import ParseDict
from google.protobuf.message import DecodeError, Message
from tritonclient.grpc import service_pb2

from reelspace.serving.endpoint import EXTENSIONS, PACKAGE_VERSION, Endpoint
from reelspace.serving.infer_message import answer_message, parse_message
from reelspace.serving.infer_request import InferRequest
from reelspace.serving.refusals import NotAllowed
from reelspace.serving.signatures import PLATFORM, Signature, TensorSpec, config_of_signature
from reelspace.serving.wire import WireError

SERVICE: Final = "/inference.GRPCInferenceService/"
OPERATORS_METHODS: Final = (
    *("RepositoryIndex", "RepositoryModelLoad", "RepositoryModelUnload", "TraceSetting", "LogSettings"),
    *("SystemSharedMemoryStatus", "SystemSharedMemoryRegister", "SystemSharedMemoryUnregister"),
    *("CudaSharedMemoryStatus", "CudaSharedMemoryRegister", "CudaSharedMemoryUnregister"),
)


class Call(Protocol):
    """What a method must know of its call: the seconds left until the client's deadline, None without one."""

    @property
    def timeout_s(self) -> float | None: ...


Method = Callable[[bytes, Any], Awaitable[bytes]]


def v2_methods(endpoint: Endpoint) -> dict[str, Method]:
    """Give the methods by path; their errors are those of the endpoint, and every other method of the service is not there."""
    methods = V2Methods(endpoint)
    handlers = {
        "ServerLive": methods.live,
        "ServerReady": methods.ready,
        "ServerMetadata": methods.server,
        "ModelReady": methods.model_ready,
        "ModelMetadata": methods.metadata,
        "ModelConfig": methods.config,
        "ModelInfer": methods.infer,
        **dict.fromkeys(OPERATORS_METHODS, methods.unserved),
    }
    return {SERVICE + name: _bytes_of(handler) for name, handler in handlers.items()}


class V2Methods:
    """The handlers of the methods."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint

    async def live(self, data: bytes, call: Call) -> Message:
        """Answer as long as this process runs."""
        return service_pb2.ServerLiveResponse(live=True)

    async def ready(self, data: bytes, call: Call) -> Message:
        """Tell whether every model answers a real request, and this process is not ending."""
        return service_pb2.ServerReadyResponse(ready=await self._endpoint.is_ready())

    async def server(self, data: bytes, call: Call) -> Message:
        """Name the server and what it speaks beyond the protocol's core."""
        return service_pb2.ServerMetadataResponse(name="reelspace", version=PACKAGE_VERSION, extensions=EXTENSIONS)

    async def model_ready(self, data: bytes, call: Call) -> Message:
        """Tell whether the model answers a real request."""
        message = _read(service_pb2.ModelReadyRequest, data)
        return service_pb2.ModelReadyResponse(ready=await self._endpoint.is_model_ready(message.name, message.version))

    async def metadata(self, data: bytes, call: Call) -> Message:
        """Give a model's tensors and the versions served now; the largest batch is in the configuration."""
        message = _read(service_pb2.ModelMetadataRequest, data)
        facts = await self._endpoint.facts(message.name, message.version)
        inputs, outputs = (list(map(_tensor, specs)) for specs in (facts.signature.inputs, facts.signature.outputs))
        named = {"name": facts.signature.model, "versions": facts.versions, "platform": PLATFORM}
        return service_pb2.ModelMetadataResponse(**named, inputs=inputs, outputs=outputs)

    async def config(self, data: bytes, call: Call) -> Message:
        """Give what clients may know of a model's configuration."""
        message = _read(service_pb2.ModelConfigRequest, data)
        facts = await self._endpoint.facts(message.name, message.version)
        return ParseDict({"config": config_of_signature(facts.signature)}, service_pb2.ModelConfigResponse())

    async def infer(self, data: bytes, call: Call) -> Message:
        """Check a request, run it, and answer with raw tensors; the client's deadline and its parameter `timeout` both hold."""
        message = _read(service_pb2.ModelInferRequest, data)

        async def read(signature: Signature) -> InferRequest:
            request = parse_message(message, signature)
            limits_s = [limit_s for limit_s in (request.timeout_s, call.timeout_s) if limit_s is not None]
            return replace(request, timeout_s=min(limits_s, default=None))

        request, answer = await self._endpoint.infer(message.model_name, message.model_version, read)
        return answer_message(answer, request)

    async def unserved(self, data: bytes, call: Call) -> Message:
        """Refuse what only operators may ask of Triton."""
        raise NotAllowed("call", "this method is not for clients: models are loaded by promoting them, and memory is not shared")


def _read(kind: Any, data: bytes) -> Any:
    try:
        return kind.FromString(data)
    except DecodeError as error:
        raise WireError("message", f"expected a {kind.DESCRIPTOR.full_name}: {error}") from error


def _tensor(spec: TensorSpec) -> Message:
    return service_pb2.ModelMetadataResponse.TensorMetadata(name=spec.name, datatype=spec.datatype, shape=[-1, *spec.dims])


def _bytes_of(handler: Callable[[bytes, Call], Awaitable[Message]]) -> Method:
    @wraps(handler)
    async def method(data: bytes, call: Call) -> bytes:
        answer: bytes = (await handler(data, call)).SerializeToString()
        return answer

    return method
