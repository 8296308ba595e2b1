"""The exported graphs: a trained model's encoders as ONNX. Only `export` imports this module, since it needs torch.

The same model gives the same bytes: the TorchScript exporter names nodes after the module tree, not after source paths,
and constants are not folded, which would put this machine's arithmetic into the file.
"""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.onnx.errors import UnsupportedOperatorError

from reelspace.core.errors import UserError
from reelspace.model.model import ReelModel
from reelspace.serving.encoder import OUTPUT

Inputs = Mapping[str, NDArray[Any]]


class TextGraph(nn.Module):
    """A model's encoder of texts; its inputs are those that `preprocess.text_inputs` makes."""

    def __init__(self, model: ReelModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, text_BL: Tensor, text_mask_BL: Tensor) -> Tensor:
        """Give embedding_BD."""
        return self.model.encode_text(text_BL, text_mask_BL)


class VideoGraph(nn.Module):
    """A model's encoder of videos; its inputs are those that `preprocess.video_inputs` makes."""

    def __init__(self, model: ReelModel) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, frames_BFHWC: Tensor, frames_mask_BF: Tensor, audio_BS: Tensor, audio_mask_B: Tensor, text_BL: Tensor, text_mask_BL: Tensor
    ) -> Tensor:
        """Give embedding_BD."""
        return self.model.encode_video(frames_BFHWC, frames_mask_BF, audio_BS, audio_mask_B, text_BL, text_mask_BL).embedding_BD


def write_graph(graph: nn.Module, example: Inputs, path: Path, opset: int) -> None:
    """Write a graph as ONNX with a free batch axis.

    Args:
        example: inputs by name, in the order of the graph's arguments, at least two rows: a single one could be mistaken for a constant.

    Raises:
        UserError: the operator set has no form of an operator of the graph; names it.
    """
    with warnings.catch_warnings():
        # The TorchScript exporter announces its successor, which embeds source paths in the file.
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        # torch's own group norm tests its input's size, which is the same for every batch.
        warnings.filterwarnings("ignore", message="Converting a tensor to a Python boolean", module=r"(torch|transformers)\.")
        warnings.filterwarnings("ignore", message="Exporting aten::index")
        try:
            torch.onnx.export(
                graph.eval(),
                tuple(torch.from_numpy(array) for array in example.values()),
                str(path),
                input_names=list(example),
                output_names=[OUTPUT],
                dynamic_axes={name: {0: "batch"} for name in (*example, OUTPUT)},
                opset_version=opset,
                do_constant_folding=False,
                dynamo=False,
            )
        except UnsupportedOperatorError as error:
            raise UserError(f"{path.name} cannot be written: {' '.join(str(error).split())[:300]} (export.opset = {opset})") from error


def run_graph(graph: nn.Module, inputs: Inputs) -> NDArray[np.float32]:
    """Run a graph in torch."""
    with torch.inference_mode():
        embedding_BD: NDArray[np.float32] = graph(*(torch.from_numpy(array) for array in inputs.values())).numpy()
    return embedding_BD
