"""A backend of the tests: doubles X, refuses negative numbers, dies on 666, takes 20 ms for 777, 100 ms for 888."""

import os
import time

import triton_python_backend_utils as triton


class TritonPythonModel:
    def execute(self, requests):
        return [self._answer(triton.get_input_tensor_by_name(request, "X").as_numpy()) for request in requests]

    def _answer(self, x):
        if (x == 666).any():
            os._exit(9)
        if (x == 777).any():
            time.sleep(0.02)
        if (x == 888).any():
            time.sleep(0.1)
        if (x < 0).any():
            return triton.InferenceResponse(error=triton.TritonError("X: expected no negative number", triton.TritonError.INVALID_ARG))
        return triton.InferenceResponse([triton.Tensor("Y", 2 * x)])
