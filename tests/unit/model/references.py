"""Layers written in numpy (float64) from the weights of ours: what the tests of the model compare with.

Legend: B batch, T tokens, S context tokens, D width, H W grid.
"""

from math import erf, sqrt

import numpy as np
from numpy.typing import NDArray
from torch import nn

Doubles = NDArray[np.float64]


def weights(module: nn.Module) -> dict[str, Doubles]:
    """The parameters of a module by name."""
    return {name: tensor.detach().double().numpy() for name, tensor in module.state_dict().items()}


def linear(x: Doubles, own: dict[str, Doubles], name: str) -> Doubles:
    """x W^T + b."""
    return x @ own[f"{name}.weight"].T + own[f"{name}.bias"]


def layer_norm(x: Doubles, own: dict[str, Doubles], name: str) -> Doubles:
    """Ba et al. 2016, with 1e-5 under the root."""
    centred = x - x.mean(axis=-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-5) * own[f"{name}.weight"] + own[f"{name}.bias"]


def gelu(x: Doubles) -> Doubles:
    """x Phi(x)."""
    return x * 0.5 * (1 + np.vectorize(erf)(x / sqrt(2)))


def unit(x: Doubles) -> Doubles:
    """Rows of length 1."""
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def softmax(x: Doubles) -> Doubles:
    """Along the last axis."""
    shifted = np.exp(x - x.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


def attention(queries_TD: Doubles, context_SD: Doubles, own: dict[str, Doubles], name: str, num_heads: int) -> Doubles:
    """Vaswani et al. 2017, equation 1, head by head, of one sample whose context is all present."""
    width = queries_TD.shape[1]
    query, both = linear(queries_TD, own, f"{name}.query"), linear(context_SD, own, f"{name}.key_value")
    key, value = both[:, :width], both[:, width:]
    size = width // num_heads
    heads = []
    for head in range(num_heads):
        part = slice(head * size, (head + 1) * size)
        heads.append(softmax(query[:, part] @ key[:, part].T / sqrt(size)) @ value[:, part])
    return linear(np.concatenate(heads, axis=1), own, f"{name}.out")


def mlp(x: Doubles, own: dict[str, Doubles], name: str) -> Doubles:
    """Two layers."""
    return linear(gelu(linear(x, own, f"{name}.up")), own, f"{name}.down")


def block(x_TD: Doubles, own: dict[str, Doubles], name: str, num_heads: int) -> Doubles:
    """Pre-norm Transformer block of one sample."""
    normed = layer_norm(x_TD, own, f"{name}attention_norm")
    x_TD = x_TD + attention(normed, normed, own, f"{name}attention", num_heads)
    return x_TD + mlp(layer_norm(x_TD, own, f"{name}mlp_norm"), own, f"{name}mlp")


def fusion_block(queries_KD: Doubles, context_SD: Doubles, own: dict[str, Doubles], name: str, num_heads: int) -> Doubles:
    """Fusion queries read a context."""
    read = attention(
        layer_norm(queries_KD, own, f"{name}query_norm"),
        layer_norm(context_SD, own, f"{name}context_norm"),
        own,
        f"{name}attention",
        num_heads,
    )
    queries_KD = queries_KD + read
    return queries_KD + mlp(layer_norm(queries_KD, own, f"{name}mlp_norm"), own, f"{name}mlp")


def convolution(x_HWD: Doubles, weight: Doubles, bias: Doubles, stride: int = 1) -> Doubles:
    """3x3 or 1x1 convolution with zeros around, one output pixel at a time."""
    reach = weight.shape[2] // 2
    padded = np.pad(x_HWD, ((reach, reach), (reach, reach), (0, 0)))
    rows, columns = range(0, x_HWD.shape[0], stride), range(0, x_HWD.shape[1], stride)
    found = np.zeros((len(rows), len(columns), len(weight)))
    for i, row in enumerate(rows):
        for j, column in enumerate(columns):
            patch = padded[row : row + 2 * reach + 1, column : column + 2 * reach + 1]
            found[i, j] = np.einsum("ochw,hwc->o", weight, patch) + bias
    return found


def group_norm(x_HWD: Doubles, num_groups: int, weight: Doubles, bias: Doubles) -> Doubles:
    """Wu and He 2018, with 1e-5 under the root."""
    parts = np.split(x_HWD, num_groups, axis=2)
    return np.concatenate([(part - part.mean()) / np.sqrt(part.var() + 1e-5) for part in parts], axis=2) * weight + bias
