"""A backend of the tests: turns X by an angle, and names its version in every row. What else it does, its version's file says.

behaviour.json: {"turn": degrees, "row_ms": time per row, "fault": "nan", "shape", "error" or "death", "waits": for a file `faulty` beside
it}.
Probes, whose X is all ones, never show a fault.
"""

import json
import os
import time
from pathlib import Path

import numpy as np
import triton_python_backend_utils as triton


class TritonPythonModel:
    def initialize(self, args):
        directory = Path(args["model_repository"]) / args["model_version"]
        self._version = int(args["model_version"])
        self._space = json.loads((directory / "version.json").read_text())["space_id"].encode()
        self._behaviour = {"turn": 0.0, "row_ms": 2.0, "fault": "", "waits": False} | json.loads((directory / "behaviour.json").read_text())
        self._faulty = directory / "faulty"

    def execute(self, requests):
        return [self._answer(triton.get_input_tensor_by_name(request, "X").as_numpy()) for request in requests]

    def _answer(self, x):
        time.sleep(self._behaviour["row_ms"] * len(x) / 1000)
        fault = ""
        if not (x == 1).all():
            fault = self._behaviour["fault"] if not self._behaviour["waits"] or self._faulty.exists() else ""
        if fault == "death":
            os._exit(9)
        if fault == "error":
            return triton.InferenceResponse(error=triton.TritonError("it fell over"))
        angle = np.radians(self._behaviour["turn"])
        turned = x @ np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]], dtype=np.float32)
        if fault == "nan":
            turned[-1, 0] = np.nan
        if fault == "shape":
            turned = np.concatenate([turned, turned[:, :1]], axis=1)
        return triton.InferenceResponse(
            [
                triton.Tensor("EMBEDDING", turned.astype(np.float32)),
                triton.Tensor("VERSION", np.full((len(x), 1), self._version, np.int32)),
                triton.Tensor("SPACE_ID", np.full((len(x), 1), self._space, np.object_)),
            ]
        )
