"""What the Triton backends of the served models share: requests to tensors, answers to responses, and asking another model.

`triton` is Triton's module `triton_python_backend_utils`, which exists only inside Triton's own processes.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from reelspace.core.errors import InternalError, ReelspaceError, UserError
from reelspace.serving.signatures import GRAPH_PARAMETER
from reelspace.serving.wire import Tensor

if TYPE_CHECKING:
    from reelspace.serving.encoder import Floats, Infer

Answer = dict[str, Tensor] | ReelspaceError
AnswerRequests = Callable[[Sequence[Mapping[str, Tensor]]], Sequence[Answer]]


class Backend:
    """One instance of a model, as Triton's `initialize` describes it."""

    def __init__(self, triton: Any, args: Mapping[str, str]) -> None:
        config = json.loads(args["model_config"])
        self.directory = Path(args["model_repository"]) / args["model_version"]
        self.parameters: dict[str, Any] = config.get("parameters", {})
        self._triton = triton
        self._version = int(args["model_version"])
        self._inputs = [tensor["name"] for tensor in config["input"]]

    @property
    def num_threads(self) -> int:
        """CPU threads of one inference."""
        return int(self._parameter("num_threads") or 1)

    @property
    def graph(self) -> "Infer | None":
        """Give what asks the graph that the configuration names, of this model's own version; None where the model runs its own."""
        name = self._parameter(GRAPH_PARAMETER)
        return graph_of(self._triton, name, self._version) if name else None

    def execute(self, requests: Sequence[Any], answer: AnswerRequests) -> list[Any]:
        """Answer a batch of Triton's requests; a bad one fails alone, and what fails all says so in one line."""
        tensors = [self._tensors(request) for request in requests]
        try:
            answers = answer(tensors)
        except ReelspaceError as error:
            answers = [error] * len(requests)
        return [self._response(one) for one in answers]

    def _parameter(self, name: str) -> str | None:
        value: str | None = self.parameters.get(name, {}).get("string_value")
        return value

    def _tensors(self, request: Any) -> dict[str, Tensor]:
        tensors = {name: self._triton.get_input_tensor_by_name(request, name) for name in self._inputs}
        return {name: tensor.as_numpy() for name, tensor in tensors.items() if tensor is not None}

    def _response(self, answer: Answer) -> Any:
        triton = self._triton
        if isinstance(answer, ReelspaceError):
            code = triton.TritonError.INVALID_ARG if isinstance(answer, UserError) else triton.TritonError.INTERNAL
            return triton.InferenceResponse(error=triton.TritonError(str(answer), code))
        return triton.InferenceResponse([triton.Tensor(name, tensor) for name, tensor in answer.items()])


def graph_of(triton: Any, name: str, version: int) -> "Infer":
    """Give what asks a bare graph that Triton runs as a model of its own."""
    in_memory = triton.PreferredMemory(triton.TRITONSERVER_MEMORY_CPU, 0)

    def infer(inputs: Mapping[str, Tensor]) -> "Floats":
        # Triton has no tensor without dims: one number per row is a list of one to the outside.
        tensors = [triton.Tensor(key, value[:, None] if value.ndim == 1 else value) for key, value in inputs.items()]
        request = triton.InferenceRequest(
            model_name=name, model_version=version, inputs=tensors, requested_output_names=["embedding"], preferred_memory=in_memory
        )
        response = request.exec()
        if response.has_error():
            raise InternalError(f"{name} did not answer: {response.error().message()}")
        # The response's memory goes with it.
        return np.array(triton.get_output_tensor_by_name(response, "embedding").as_numpy())

    return infer
