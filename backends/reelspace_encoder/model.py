"""Triton's python-based backend of the exported encoders; the work is in reelspace.serving.encoder."""

import json
from pathlib import Path

import triton_python_backend_utils as triton

from reelspace.core.errors import UserError
from reelspace.serving.encoder import Encoder


class TritonPythonModel:
    """One instance of one model; the class name and the methods' names are Triton's."""

    def initialize(self, args):
        """Open the version directory that Triton names."""
        config = json.loads(args["model_config"])
        self._inputs = [tensor["name"] for tensor in config["input"]]
        num_threads = int(config.get("parameters", {}).get("num_threads", {}).get("string_value", "1"))
        self._encoder = Encoder(Path(args["model_repository"]) / args["model_version"], num_threads)

    def execute(self, requests):
        """Answer a batch of requests; a bad one fails alone."""
        return [self._response(answer) for answer in self._encoder.encode_requests([self._tensors(request) for request in requests])]

    def _tensors(self, request):
        tensors = {name: triton.get_input_tensor_by_name(request, name) for name in self._inputs}
        return {name: tensor.as_numpy() for name, tensor in tensors.items() if tensor is not None}

    def _response(self, answer):
        if isinstance(answer, Exception):
            code = triton.TritonError.INVALID_ARG if isinstance(answer, UserError) else triton.TritonError.INTERNAL
            return triton.InferenceResponse(error=triton.TritonError(str(answer), code))
        return triton.InferenceResponse([triton.Tensor(name, tensor) for name, tensor in answer.items()])
