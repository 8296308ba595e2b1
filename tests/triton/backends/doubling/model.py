"""A backend of the tests: doubles X, refuses negative numbers, dies on 666, takes 20 ms for 777, 100 ms for 888.

For 999 it writes a file `held` beside its data, and answers when somebody has removed that.
"""

import os
import time
from pathlib import Path

import triton_python_backend_utils as triton


class TritonPythonModel:
    def initialize(self, args):
        self._held = Path(args["model_repository"]) / args["model_version"] / "held"

    def execute(self, requests):
        return [self._answer(triton.get_input_tensor_by_name(request, "X").as_numpy()) for request in requests]

    def _answer(self, x):
        if (x == 666).any():
            os._exit(9)
        if (x == 777).any():
            time.sleep(0.02)
        if (x == 888).any():
            time.sleep(0.1)
        if (x == 999).any():
            self._held.touch()
            while self._held.exists():
                time.sleep(0.01)
        if (x < 0).any():
            return triton.InferenceResponse(error=triton.TritonError("X: expected no negative number", triton.TritonError.INVALID_ARG))
        return triton.InferenceResponse([triton.Tensor("Y", 2 * x)])
