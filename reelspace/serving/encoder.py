"""An exported encoder on ONNX Runtime: what the Triton backend calls. No torch.

Shapes: B rows, D dimension.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from reelspace.core.errors import InternalError, ReelspaceError
from reelspace.model.tokenizer import Tokenizer
from reelspace.serving.preprocess import Prepared, joined_inputs, prepared_texts, prepared_videos, unreadable
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
        # Its threads are woken for every batch, which takes longer than the few texts of one.
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        self.version = Version.open(directory)
        self._tokenizer = Tokenizer.load(directory / TOKENIZER_FILE, self.version.text_length)
        self._prepare = prepared_videos if self.version.is_video else prepared_texts
        self._run_graph = infer or graph_of_file(directory / GRAPH_FILE, num_threads)

    def encode_requests(self, requests: Sequence[Mapping[str, Tensor]]) -> list[dict[str, Tensor] | ReelspaceError]:
        """Answer requests in one inference: V2 output tensors, or the error of a request that is bad by itself."""
        tokenized = self._tokenized([self._prepared(request) for request in requests])
        good = [one for one in tokenized if not isinstance(one, ReelspaceError)]
        if not good:
            return [one for one in tokenized if isinstance(one, ReelspaceError)]
        text_BL, text_mask_BL = (np.concatenate(parts) for parts in zip(*((one.text_BL, one.text_mask_BL) for one in good), strict=True))
        embeddings_BD = self._run_graph(joined_inputs([one.prepared for one in good], text_BL, text_mask_BL))
        finite_B = np.isfinite(embeddings_BD).all(axis=1)
        answers: list[dict[str, Tensor] | ReelspaceError] = []
        start = 0
        for one in tokenized:
            if isinstance(one, ReelspaceError):
                answers.append(one)
                continue
            end = start + len(one.text_BL)
            answers.append(self._answer(embeddings_BD[start:end], is_finite=bool(finite_B[start:end].all())))
            start = end
        return answers

    def _prepared(self, request: Mapping[str, Tensor]) -> Prepared | ReelspaceError:
        try:
            return self._prepare(request)
        except ReelspaceError as error:
            return error

    def _tokenized(self, requests: Sequence[Prepared | ReelspaceError]) -> "list[_Tokenized | ReelspaceError]":
        """Tokenise the words of all requests together: for each alone it would take twice as long."""
        text_BL, text_mask_BL = self._tokenizer.encode_BL([text for one in requests if isinstance(one, Prepared) for text in one.texts])
        found: list[_Tokenized | ReelspaceError] = []
        start = 0
        for one in requests:
            if isinstance(one, ReelspaceError):
                found.append(one)
                continue
            rows = slice(start, start + len(one.texts))
            error = None if self.version.is_video else unreadable(text_mask_BL[rows])
            found.append(error or _Tokenized(one, text_BL[rows], text_mask_BL[rows]))
            start = rows.stop
        return found

    def _answer(self, embeddings_BD: Floats, *, is_finite: bool) -> dict[str, Tensor] | ReelspaceError:
        if not is_finite:
            return InternalError(f"model {self.version.model} gave a vector that is not finite")
        return {"EMBEDDING": embeddings_BD, "SPACE_ID": text_tensor([self.version.space_id] * len(embeddings_BD))}


@dataclass(frozen=True, slots=True)
class _Tokenized:
    """A request with the tokens of its words."""

    prepared: Prepared
    text_BL: NDArray[np.int32]
    text_mask_BL: NDArray[np.bool_]


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
