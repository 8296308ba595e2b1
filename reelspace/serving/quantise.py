"""Exported graphs whose products are of bytes: int8 weights, activations made bytes as they come. Only `export` imports this module.

Per channel and in seven bits, so that no sum of two products leaves sixteen bits: the answer is then the same on processors with and
without instructions for bytes. How large activations get is read from each batch, so nothing has to be calibrated, and a vector
depends a little on those it shares a batch with.
"""

from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.quantization.quant_utils import add_pre_process_metadata

PRODUCT = "MatMulInteger"


def write_int8(source: Path, target: Path) -> int:
    """Write a graph with its products by trained weights as products of bytes; the same graph gives the same bytes.

    Convolutions, attention scores and what lies between stay float32.

    Returns:
        How many products are of bytes; 0 where the graph multiplies by no weights.
    """
    model = onnx.load(source)
    lay_weights_for_products(model)
    # Says that nothing is left to prepare: else the library logs advice.
    add_pre_process_metadata(model)
    quantize_dynamic(model, target, op_types_to_quantize=["MatMul"], per_channel=True, reduce_range=True, weight_type=QuantType.QInt8)
    return sum(node.op_type == PRODUCT for node in onnx.load(target).graph.node)


def lay_weights_for_products(model: ModelProto) -> None:
    """Transpose once the weights that a graph transposes in every run: a product by what is no constant cannot be made one of bytes."""
    graph = model.graph
    weights = {weight.name: weight for weight in graph.initializer}
    laid = [node for node in graph.node if node.op_type == "Transpose" and node.input[0] in weights]
    for node in laid:
        order = next((list(attribute.ints) for attribute in node.attribute if attribute.name == "perm"), None)
        array = np.transpose(numpy_helper.to_array(weights[node.input[0]]), order)
        graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(array), node.output[0]))
        graph.node.remove(node)
