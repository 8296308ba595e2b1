"""An exported encoder on ONNX Runtime: what the Triton backend calls. No torch.

Shapes: B rows, D dimension.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from reelspace.core.errors import InternalError, ReelspaceError
from reelspace.model.tokenizer import Tokenizer
from reelspace.serving.preprocess import text_inputs, video_inputs
from reelspace.serving.version import GRAPH_FILE, TOKENIZER_FILE, Version
from reelspace.serving.wire import Tensor, text_tensor

OUTPUT = "embedding"
Floats = NDArray[np.float32]
Infer = Callable[[Mapping[str, NDArray[Any]]], Floats]
"""Gives embedding_BD for the inputs of a graph by name."""


class Encoder:
    """One version of an exported encoder."""

    def __init__(self, directory: Path, num_threads: int, infer: Infer | None = None) -> None:
        """Open a version directory.

        Args:
            num_threads: CPU threads of one inference.
            infer: runs the graph where that is elsewhere; None: the graph lies in the directory and runs here.
        """
        self.version = Version.open(directory)
        self._tokenizer = Tokenizer.load(directory / TOKENIZER_FILE, self.version.text_length)
        self._prepare = video_inputs if self.version.is_video else text_inputs
        self._run_graph = infer or graph_of_file(directory / GRAPH_FILE, num_threads)

    def encode_requests(self, requests: Sequence[Mapping[str, Tensor]]) -> list[dict[str, Tensor] | ReelspaceError]:
        """Answer requests in one inference: V2 output tensors, or the error of a request that is bad by itself."""
        prepared = [self._prepared(request) for request in requests]
        good = [inputs for inputs in prepared if not isinstance(inputs, ReelspaceError)]
        embeddings_BD = self._infer(good) if good else np.empty((0, self.version.dimension), dtype=np.float32)
        answers: list[dict[str, Tensor] | ReelspaceError] = []
        start = 0
        for inputs in prepared:
            if isinstance(inputs, ReelspaceError):
                answers.append(inputs)
                continue
            end = start + len(inputs["text"])
            answers.append(self._answer(embeddings_BD[start:end]))
            start = end
        return answers

    def _prepared(self, request: Mapping[str, Tensor]) -> dict[str, NDArray[Any]] | ReelspaceError:
        try:
            return self._prepare(request, self._tokenizer)
        except ReelspaceError as error:
            return error

    def _infer(self, requests: Sequence[Mapping[str, NDArray[Any]]]) -> Floats:
        return self._run_graph({name: np.concatenate([request[name] for request in requests]) for name in requests[0]})

    def _answer(self, embeddings_BD: Floats) -> dict[str, Tensor] | ReelspaceError:
        if not np.isfinite(embeddings_BD).all():
            return InternalError(f"model {self.version.model} gave a vector that is not finite")
        return {"EMBEDDING": embeddings_BD, "SPACE_ID": text_tensor([self.version.space_id] * len(embeddings_BD))}


def graph_of_file(path: Path, num_threads: int) -> Infer:
    """Give what runs a graph on the CPU, in this process."""
    session = open_graph(path, num_threads)

    def infer(inputs: Mapping[str, NDArray[Any]]) -> Floats:
        embeddings_BD: Floats = session.run([OUTPUT], dict(inputs))[0]
        return embeddings_BD

    return infer


def open_graph(path: Path, num_threads: int) -> "onnxruntime.InferenceSession":
    """Open an ONNX graph on the CPU; idle threads sleep instead of spinning, since cores are shared."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = num_threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
