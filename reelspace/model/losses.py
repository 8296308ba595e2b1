"""The pure losses of pretraining; averaged over the processes, each is the loss of all their rows together.

Legend: B rows of this process, G rows of all processes in order of rank, D dimension, K labels, N masked tokens, V vocabulary.
Every process passes as many rows B and calls the same losses in the same order, because the gathers are collective.
Sums and logarithms run in float32 at least, whatever the inputs; rows of unit length are the caller's duty.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from reelspace.model.blocks import normalised

Gather = Callable[[Tensor], Tensor]
# Finite, so that a row whose every pair is hidden has no NaN, neither in its loss nor on the way back, even if nobody counts it;
# in the range of bfloat16 and float32, and further down than -1 / temperature for any temperature of use.
_HIDDEN = -1e30


def alone(x: Tensor) -> Tensor:
    """The gather of a single process."""
    return x


@dataclass(frozen=True, slots=True)
class Rows:
    """Where this process's rows stand among all processes' rows.

    gather gives the rows of all processes in order of rank, and carries gradients back to the process each row came from.
    """

    gather: Gather = alone
    rank: int = 0

    def mean(self, values_B: Tensor, counted_B: Tensor) -> Tensor:
        """Give this process's part of the mean over every process's counted rows; averaged over processes it is that mean.

        Args:
            counted_B: bool. Rows that do not count may hold any value, also NaN; where none counts the mean is 0, with a gradient of 0.
        """
        counted_G = self.gather(counted_B.float())
        num_processes = len(counted_G) / len(counted_B)
        return values_B.masked_fill(~counted_B, 0).sum() / counted_G.sum().clamp(min=1) * num_processes

    def own_columns(self, num: int, device: torch.device | None = None) -> Tensor:
        """Give the places, int64, of this process's num rows among all rows."""
        return torch.arange(num, device=device) + self.rank * num

    def own(self, values_G: Tensor, num: int) -> Tensor:
        """Give this process's num rows of all rows."""
        return values_G[self.rank * num : (self.rank + 1) * num]


def nt_xent(one_BD: Tensor, two_BD: Tensor, valid_B: Tensor, temperature: float, rows: Rows) -> Tensor:
    """NT-Xent on two views of each row, with the negatives of both views.

    Args:
        one_BD, two_BD: unit rows.
        valid_B: bool; an invalid row neither counts nor is a negative.

    Source: Chen et al. 2020 (SimCLR), equation 1.
    """
    num = len(valid_B)
    one_GD, two_GD = _wide(rows.gather(one_BD)), _wide(rows.gather(two_BD))
    own_B = rows.own_columns(num, valid_B.device)
    invalid_BG = ~_gathered_flags(valid_B, rows)[None, :].expand(num, -1)
    itself_BG = _is_own(own_B, invalid_BG)
    # The columns are first the other view, whose own place is the positive pair, then the same view, whose own place is no pair.
    hidden = torch.cat([invalid_BG, invalid_BG | itself_BG], dim=1)
    losses = []
    for same_GD, other_GD in ((one_GD, two_GD), (two_GD, one_GD)):
        similar = rows.own(same_GD, num) @ torch.cat([other_GD, same_GD]).T
        losses.append(_cross_entropy_B(similar, hidden, own_B, temperature))
    return rows.mean(torch.stack(losses).mean(dim=0), valid_B)


def info_nce(left_BD: Tensor, right_BD: Tensor, valid_B: Tensor, conflicts_BG: Tensor, temperature: float, rows: Rows) -> Tensor:
    """InfoNCE between two sides of each row, the mean of both directions.

    Args:
        left_BD, right_BD: unit rows.
        valid_B: bool; an invalid row neither counts nor is a negative.
        conflicts_BG: bool, symmetric over all rows; a pair that must not repel. A row's pair with itself is always the positive one.

    Source: van den Oord et al. 2018, equation 4; symmetric as in Radford et al. 2021 (CLIP), figure 3.
    """
    return matryoshka_info_nce(left_BD, right_BD, (), valid_B, conflicts_BG, temperature, rows)


def matryoshka_info_nce(
    left_BD: Tensor,
    right_BD: Tensor,
    prefixes: Sequence[int],
    valid_B: Tensor,
    conflicts_BG: Tensor,
    temperature: float,
    rows: Rows,
) -> Tensor:
    """Mean of info_nce over the full rows and their first p coordinates, rescaled to length 1, for each p of prefixes.

    Args:
        prefixes: numbers of coordinates, each at least 1 and below D; none gives info_nce.

    Source: Kusupati et al. 2022 (Matryoshka representation learning), equation 1 with equal weights.
    """
    num, dimension = left_BD.shape
    assert all(1 <= prefix < dimension for prefix in prefixes), f"expected prefixes from 1 to {dimension - 1}, got {list(prefixes)}"
    left_GD, right_GD = _wide(rows.gather(left_BD)), _wide(rows.gather(right_BD))
    own_B = rows.own_columns(num, valid_B.device)
    hidden_BG = ~_gathered_flags(valid_B, rows)[None, :] | conflicts_BG
    hidden_BG = hidden_BG & ~_is_own(own_B, hidden_BG)
    sides = [(left_GD, right_GD), *((normalised(left_GD[:, :prefix]), normalised(right_GD[:, :prefix])) for prefix in prefixes)]
    losses = []
    for left, right in sides:
        for one, other in ((left, right), (right, left)):
            losses.append(_cross_entropy_B(rows.own(one, num) @ other.T, hidden_BG, own_B, temperature))
    return rows.mean(torch.stack(losses).mean(dim=0), valid_B)


def token_losses(logits_NV: Tensor, target_N: Tensor, is_masked_BL: Tensor) -> Tensor:
    """Give each work's sum of cross-entropies over its masked tokens, B.

    Args:
        logits_NV: one row per masked token, in the order of `ids_BL[is_masked_BL]`; N may be 0.
        target_N: int64, the tokens that were masked.
    """
    losses_N = functional.cross_entropy(_wide(logits_NV), target_N, reduction="none")
    row_N = is_masked_BL.nonzero()[:, 0]
    return losses_N.new_zeros(len(is_masked_BL)).index_add(0, row_N, losses_N)


def masked_language(losses_B: Tensor, num_masked_B: Tensor, rows: Rows) -> Tensor:
    """Cross-entropy of the masked tokens; averaged over processes it is the mean over all processes' masked tokens.

    Args:
        losses_B: of token_losses.
        num_masked_B: masked tokens of each work; where no process has one the loss is 0, with a gradient of 0.

    Source: Devlin et al. 2019 (BERT), section 3.1.
    """
    num_G = rows.gather(num_masked_B.to(losses_B.dtype))
    return losses_B.sum() / num_G.sum().clamp(min=1) * (len(num_G) / len(num_masked_B))


def multi_label(
    logits_BK: Tensor, labels_BK: Tensor, negative_weights_BK: Tensor, counted_B: Tensor, positive_weight: float, rows: Rows
) -> Tensor:
    """Weighted sigmoid cross-entropy, summed over labels, mean over the counted rows of all processes.

    Args:
        labels_BK: above 0, the weight of a positive label, times positive_weight; 0, a negative one.
        negative_weights_BK: weight of a negative label: 0 says nothing (missing, not sampled), 1 counts it once,
            negative_importance(...) lets a sampled one stand for those left out; read only where labels_BK is 0.
        counted_B: bool; a row without any label says nothing about its labels and should not count.
    """
    weights_BK = torch.where(labels_BK > 0, labels_BK * positive_weight, negative_weights_BK)
    logits_BK = _wide(logits_BK)
    losses_BK = functional.binary_cross_entropy_with_logits(logits_BK, (labels_BK > 0).to(logits_BK.dtype), reduction="none")
    return rows.mean((losses_BK * weights_BK).sum(dim=1), counted_B)


def negative_importance(num_candidates: int, num_sampled: int) -> float:
    """Give the weight num_candidates / num_sampled of each sampled negative, which makes the loss an unbiased estimate.

    Let U be the labels that are kept for certain (those positive in some row, say), and S a uniform sample, without replacement,
    of num_sampled of the num_candidates labels outside U. A candidate is in S with probability num_sampled / num_candidates, so
    sum over U of l_k + num_candidates / num_sampled * (sum over S of l_k) has the mean sum over all labels of l_k, for every row,
    also when the rows share S. Negatives in U keep the weight 1. Without candidates there is nothing to weigh: 1.

    Source: Horvitz and Thompson 1952, equation 5, with equal inclusion probabilities.
    """
    if num_candidates == 0:
        return 1.0
    assert 1 <= num_sampled <= num_candidates, f"expected 1 to {num_candidates} sampled negatives, got {num_sampled}"
    return num_candidates / num_sampled


def _cross_entropy_B(similar: Tensor, hidden: Tensor, own_B: Tensor, temperature: float) -> Tensor:
    logits = (_wide(similar) / temperature).masked_fill(hidden, _HIDDEN)
    return functional.cross_entropy(logits, own_B, reduction="none")


def _gathered_flags(flags_B: Tensor, rows: Rows) -> Tensor:
    # As numbers, because a collective need not carry booleans.
    return rows.gather(flags_B.float()) > 0


def _is_own(own_B: Tensor, like_BG: Tensor) -> Tensor:
    return own_B[:, None] == torch.arange(like_BG.shape[1], device=own_B.device)[None, :]


def _wide(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))
