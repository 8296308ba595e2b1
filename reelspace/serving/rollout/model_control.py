"""What a promoter asks of one Triton: to load versions side by side, and how long each computes.

Over gRPC: over HTTP a load holds one of Triton's few threads until it ends, and inferences whose connections share the thread wait for it.
"""

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Final, Protocol, Self

import orjson
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from reelspace.core.errors import ReelspaceError, ServerUnavailable
from reelspace.serving.answer_checks import check_answer, check_finite
from reelspace.serving.probe import probe_tensors
from reelspace.serving.rollout.compute_times import BatchTimes
from reelspace.serving.signatures import signature_of_config
from reelspace.serving.wire import Answer, Tensor, datatype_of

ASK_TIMEOUT_S: Final = 10.0
LOAD_TIMEOUT_S: Final = 1800.0
AWAY: Final = frozenset({"StatusCode.UNAVAILABLE", "StatusCode.DEADLINE_EXCEEDED"})


class TritonRefused(ReelspaceError):
    """Triton answers that it cannot do what it was asked."""


class ModelControl(Protocol):
    """One Triton, as a promoter sees it."""

    def load(self, model: str, config: Mapping[str, Any]) -> None:
        """Load the versions that a configuration names, and unload others.

        The configuration is given with every load: after one was, Triton takes a file that did not change for the one that it has.

        Raises:
            TritonRefused: a version cannot be loaded; those that were loaded stay.
            ServerUnavailable: Triton does not answer.
        """

    def probe(self, model: str, version: int, *, is_full: bool = False) -> None:
        """Make a version answer a real request as its signature says; TritonRefused if it does not.

        Args:
            is_full: of as many rows as a batch may have, which Triton executes by itself, whatever else waits.
        """

    def times(self, model: str, version: int) -> BatchTimes:
        """Give what a version computed since it was loaded, nothing where it is not loaded."""


class GrpcControl:
    """`ModelControl` over gRPC; use it in a `with` statement."""

    def __init__(self, address: str) -> None:
        """Name a server, as host:port."""
        self._address = address
        self._client = triton.InferenceServerClient(address)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._client.close()

    def load(self, model: str, config: Mapping[str, Any]) -> None:
        """See `ModelControl`."""
        try:
            self._client.load_model(model, config=orjson.dumps(config).decode(), client_timeout=LOAD_TIMEOUT_S)
        except InferenceServerException as error:
            raise self._named(error) from error

    def probe(self, model: str, version: int, *, is_full: bool = False) -> None:
        """See `ModelControl`."""
        try:
            config = self._client.get_model_config(model, str(version), as_json=True, client_timeout=ASK_TIMEOUT_S)["config"]
            signature = signature_of_config(config)
            num_rows = signature.max_batch if is_full else 1
            inputs = [_input(name, tensor) for name, tensor in probe_tensors(signature, num_rows).items()]
            result = self._client.infer(model, inputs, str(version), client_timeout=ASK_TIMEOUT_S)
        except InferenceServerException as error:
            raise self._named(error) from error
        tensors = {spec.name: result.as_numpy(spec.name) for spec in signature.outputs}
        answer = Answer(model, str(version), {name: tensor for name, tensor in tensors.items() if tensor is not None})
        try:
            check_answer(answer, signature, num_rows)
            check_finite(answer)
        except ReelspaceError as error:
            raise TritonRefused(str(error)) from error

    def times(self, model: str, version: int) -> BatchTimes:
        """See `ModelControl`."""
        try:
            stats = self._client.get_inference_statistics(model, str(version), as_json=True, client_timeout=ASK_TIMEOUT_S)
        except InferenceServerException as error:
            named = self._named(error)
            if isinstance(named, TritonRefused):
                return {}  # it is not loaded
            raise named from error
        batches = stats["model_stats"][0].get("batch_stats", [])
        computed = {int(one["batch_size"]): one["compute_infer"] for one in batches}
        return {size: (int(one.get("count", 0)), int(one.get("ns", 0)) / 1e9) for size, one in computed.items()}

    def _named(self, error: InferenceServerException) -> ReelspaceError:
        told = " ".join(str(error.message()).split())[:500]
        if error.status() in AWAY:
            return ServerUnavailable(f"Triton at {self._address} cannot be reached: {told}")
        return TritonRefused(told)


def _input(name: str, tensor: Tensor) -> triton.InferInput:
    made = triton.InferInput(name, list(tensor.shape), datatype_of(tensor))
    made.set_data_from_numpy(tensor)
    return made
