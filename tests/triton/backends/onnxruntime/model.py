"""In place of Triton's own ONNX Runtime backend, which the server of these tests does not have: runs a version's model.onnx on the CPU."""

from pathlib import Path

import onnxruntime
import triton_python_backend_utils as triton


class TritonPythonModel:
    def initialize(self, args):
        graph = Path(args["model_repository"]) / args["model_version"] / "model.onnx"
        self._session = onnxruntime.InferenceSession(str(graph), providers=["CPUExecutionProvider"])

    def execute(self, requests):
        return [self._answer(request) for request in requests]

    def _answer(self, request):
        inputs = {one.name: triton.get_input_tensor_by_name(request, one.name).as_numpy() for one in self._session.get_inputs()}
        names = [one.name for one in self._session.get_outputs()]
        found = self._session.run(names, inputs)
        return triton.InferenceResponse([triton.Tensor(name, tensor) for name, tensor in zip(names, found, strict=True)])
