"""A small client of the gateway's V2 endpoint: texts and videos in, vectors out. No torch.

Shapes: Q queries, D dimension.
"""

import ipaddress
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Final, TypeVar
from urllib.parse import urlsplit

import httpx
import numpy as np
from numpy.typing import NDArray

from reelspace.core.errors import ReelspaceError, ServerUnavailable, UserError
from reelspace.serving.preprocess import Video, text_tensors, video_tensors
from reelspace.serving.signatures import Signature, TensorSpec
from reelspace.serving.wire import HEAD_LENGTH, Answer, Tensor, decode_answer, encode_request

TIMEOUT_S: Final = 30.0
Floats = NDArray[np.float32]
T = TypeVar("T")


class ServingClient:
    """A connection to one gateway; use it in a `with` statement."""

    def __init__(self, gateway_url: str, *, timeout_s: float = TIMEOUT_S) -> None:
        # A proxy of the environment cannot reach this machine's own loopback interface.
        self._client = httpx.Client(base_url=gateway_url, timeout=timeout_s, trust_env=not _is_loopback(gateway_url))
        self._signatures: dict[str, Signature] = {}

    def __enter__(self) -> "ServingClient":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def encode_text(self, texts: Sequence[str], model: str = "text_encoder") -> Floats:
        """Give vectors_QD, L2 norm 1, of search texts."""
        signature = self.signature(model)
        return self._encode(model, [text_tensors(part) for part in _parts(texts, signature.max_batch)], signature)

    def encode_videos(self, videos: Sequence[Video], model: str = "video_encoder") -> Floats:
        """Give vectors_QD, L2 norm 1, of decoded media with their captions; hashtags in a caption are left out."""
        signature = self.signature(model)
        return self._encode(model, [video_tensors(part, signature) for part in _parts(videos, signature.max_batch)], signature)

    def infer(self, model: str, inputs: Mapping[str, Tensor]) -> Answer:
        """Run one inference with tensors of your own.

        Raises:
            UserError: the gateway refused the request; the message names the field.
            ServerUnavailable: the gateway or the model did not answer.
        """
        message = encode_request(inputs)
        response = self._send("POST", f"/v2/models/{model}/infer", message.body, message.headers)
        return decode_answer(response.content, response.headers.get(HEAD_LENGTH))

    def signature(self, model: str) -> Signature:
        """Give a model's tensors, asked for once."""
        if model not in self._signatures:
            metadata = self._send("GET", f"/v2/models/{model}").json()
            optional = set(metadata["parameters"]["optional_inputs"])
            inputs, outputs = (
                tuple(
                    TensorSpec(part["name"], part["datatype"], tuple(part["shape"][1:]), part["name"] in optional) for part in metadata[key]
                )
                for key in ("inputs", "outputs")
            )
            self._signatures[model] = Signature(model, inputs, outputs, metadata["parameters"]["max_batch_size"])
        return self._signatures[model]

    def _encode(self, model: str, batches: Sequence[Mapping[str, Tensor]], signature: Signature) -> Floats:
        dimension = next(spec.dims[0] for spec in signature.outputs if spec.name == "EMBEDDING")
        parts = [np.empty((0, dimension), dtype=np.float32)] + [self.infer(model, batch).outputs["EMBEDDING"] for batch in batches]
        return np.concatenate(parts)

    def _send(self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None) -> httpx.Response:
        try:
            response = self._client.request(method, path, content=body, headers=headers)
        except httpx.TransportError as error:
            raise ServerUnavailable(f"the gateway at {self._client.base_url} did not answer: {error or type(error).__name__}") from error
        if response.status_code != httpx.codes.OK:
            raise _error_of(response)
        return response


def _error_of(response: httpx.Response) -> ReelspaceError:
    is_json = response.headers.get("Content-Type", "").startswith("application/json")
    text = str(response.json().get("error", "")) if is_json else response.text
    kind: type[ReelspaceError] = (
        UserError if response.is_client_error and response.status_code != httpx.codes.TOO_MANY_REQUESTS else ServerUnavailable
    )
    return kind(f"{response.request.url}: {' '.join(text.split())[:500] or f'HTTP {response.status_code}'}")


def _parts(values: Sequence[T], size: int) -> list[Sequence[T]]:
    return [values[start : start + size] for start in range(0, len(values), size)]


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
