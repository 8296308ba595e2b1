"""ONNX Runtime alone, in a process of its own: the same graphs on one thread, given ready inputs in batches."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from benchmarks.serving_parts.worker import Figures, answer_lines
from reelspace.serving.encoder import OUTPUT


class Graphs:
    """Opened graphs by model, each with the inputs of one row."""

    def __init__(self) -> None:
        self._graphs: dict[str, tuple[onnxruntime.InferenceSession, dict[str, NDArray[Any]]]] = {}

    def open(self, model: str, graph: str, row: str) -> Figures:
        """Open a graph, with its inputs from a file of numpy's."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        with np.load(Path(row)) as inputs:
            self._graphs[model] = session, dict(inputs)
        return {}

    def run(self, model: str, batch: int, duration_s: float) -> Figures:
        """Run batches of so many rows one after the other."""
        session, row = self._graphs[model]
        inputs = {name: np.repeat(array, batch, axis=0) for name, array in row.items()}
        session.run([OUTPUT], inputs)
        begun_s, seconds = time.perf_counter(), []
        while (start_s := time.perf_counter()) - begun_s < duration_s:
            session.run([OUTPUT], inputs)
            seconds.append(time.perf_counter() - start_s)
        rows_per_s = batch * len(seconds) / (time.perf_counter() - begun_s)
        return {"per_s": rows_per_s, "p50_ms": 1e3 * float(np.median(seconds)), "batch": batch}


def main() -> None:
    """Answer lines."""
    graphs = Graphs()
    answer_lines({"open": graphs.open, "run": graphs.run})


if __name__ == "__main__":
    main()
