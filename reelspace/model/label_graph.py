"""Label-graph head: two layers of graph convolution turn label vectors into classifiers, reading only the rows they need.

H1 = LeakyReLU(A H0 W1), H2 = A H1 W2, and the classifier of label l is H2[l]; H0 are label vectors, here of our own text tower.
Legend: K labels, K1 = K + 1, E stored entries of A (or of some of its rows), S labels asked for, M their neighbours,
N the neighbours' neighbours, J entries of one row of A, D dimension, H hidden width.
Source: ML-GCN (Chen et al., 2019, equations 2 and 3); slope, initialisation and no bias as in its official code (megvii-research/ML-GCN,
models.py).
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from reelspace.model.blocks import normalised

_SLOPE = 0.2
LabelInputs = Tensor | Callable[[Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class Entries:
    """Entries of S rows of a matrix; row_E counts from 0 to S - 1 in the order in which the rows were asked for."""

    row_E: Tensor
    column_E: Tensor
    value_E: Tensor


@dataclass(frozen=True, slots=True)
class SparseRows:
    """A K x K matrix by rows: the entries of row i lie from start_K1[i] up to start_K1[i + 1].

    start_K1 and column_E are int64, value_E is float32, all on one device; `sparse_rows` makes it from arrays and checks it.
    """

    start_K1: Tensor
    column_E: Tensor
    value_E: Tensor

    def entries(self, labels_S: Tensor) -> Entries:
        """Read some rows; the cost is that of their entries, whatever K.

        Raises:
            IndexError or RuntimeError: a label is below 0 or at least K (on a GPU, torch's own assertion).
        """
        begin_S = self.start_K1.index_select(0, labels_S)
        length_S = self.start_K1.index_select(0, labels_S + 1) - begin_S
        row_E = torch.repeat_interleave(length_S)
        before_S = length_S.cumsum(0) - length_S
        place_E = torch.arange(len(row_E), device=row_E.device) + (begin_S - before_S)[row_E]
        return Entries(row_E, self.column_E[place_E], self.value_E[place_E])

    def strongest(self, max_neighbours: int) -> "SparseRows":
        """Keep a label's own entry and the largest others of its row, so that no popular label makes a step expensive.

        Args:
            max_neighbours: others kept in a row, at least 0; among equal values the lower column stays.

        Returns:
            The same values: what was left out is not spread over the rest, so a cut row sums to less.
        """
        num_labels = len(self.start_K1) - 1
        labels_K = torch.arange(num_labels, device=self.start_K1.device)
        row_E = torch.repeat_interleave(labels_K, self.start_K1.diff())
        rank_E = torch.where(self.column_E == row_E, torch.inf, self.value_E)
        order_E = torch.sort(rank_E, descending=True, stable=True).indices
        order_E = order_E[torch.sort(row_E[order_E], stable=True).indices]  # by row, and in it by falling value
        has_own_K = torch.zeros(num_labels, dtype=torch.int64, device=row_E.device).index_add_(0, row_E, (self.column_E == row_E).long())
        kept_E = torch.arange(len(row_E), device=row_E.device) - self.start_K1[row_E] < max_neighbours + has_own_K[row_E]
        place_E = order_E[kept_E].sort().values
        length_K = torch.bincount(row_E[place_E], minlength=num_labels)
        start_K1 = torch.cat([length_K.new_zeros(1), length_K.cumsum(0)])
        return SparseRows(start_K1, self.column_E[place_E], self.value_E[place_E])


def sparse_rows(start_K1: NDArray[np.int64], column_E: NDArray[np.int64], value_E: NDArray[np.float32]) -> SparseRows:
    """Take the arrays of a square sparse adjacency (`signals.label_graph.sparse_adjacency`) without a copy where types allow."""
    num_labels = len(start_K1) - 1
    assert num_labels >= 0, "start needs one number more than there are rows"
    assert start_K1[0] == 0, "the first row starts at 0"
    assert start_K1[-1] == len(column_E) == len(value_E), f"{start_K1[-1]} entries by start, {len(column_E)} columns, {len(value_E)} values"
    assert (np.diff(start_K1) >= 0).all(), "rows lie in order"
    assert not len(column_E) or (column_E.min() >= 0 and column_E.max() < num_labels), f"columns are 0 to {num_labels - 1}"
    arrays = (start_K1.astype(np.int64, copy=False), column_E.astype(np.int64, copy=False), value_E.astype(np.float32, copy=False))
    return SparseRows(*(torch.from_numpy(np.ascontiguousarray(array)) for array in arrays))


@dataclass(frozen=True, slots=True)
class ClassifierTerms:
    """What the classifier of one label is the sum of: own_D + the sum of term_JD; value_J is its row of A, by column_J."""

    column_J: Tensor
    value_J: Tensor
    term_JD: Tensor
    own_D: Tensor

    @property
    def classifier_D(self) -> Tensor:
        """The sum."""
        return self.own_D + self.term_JD.sum(dim=0)


class LabelGraphNetwork(nn.Module):
    """Gives classifiers of labels from label vectors and the label graph.

    The adjacency belongs to the labels of a run, not to what was learned: it is no part of the state_dict.
    Computes in float32 whatever the parameters' type and autocast: sums over hundreds of neighbours lose too much in bfloat16.
    """

    start_K1: Tensor
    column_E: Tensor
    value_bits_E: Tensor

    def __init__(self, dimension: int, hidden: int, adjacency: SparseRows, *, residual: bool) -> None:
        """Make the two layers.

        Args:
            dimension: length of label vectors and of classifiers.
            hidden: width between the layers.
            adjacency: A; `SparseRows.strongest` caps the neighbours of a row.
            residual: off gives the paper's formula. On, a classifier is H0[l] + H2[l] at length 1, and W2 starts at zero, so training
                starts from each label's own vector, and a label without training works keeps near it.
        """
        super().__init__()
        self.residual = residual
        self.first = nn.Parameter(_uniform(dimension, hidden))
        self.second = nn.Parameter(torch.zeros(hidden, dimension) if residual else _uniform(hidden, dimension))
        self.register_buffer("start_K1", adjacency.start_K1, persistent=False)
        self.register_buffer("column_E", adjacency.column_E, persistent=False)
        # As bits, because `.bfloat16()` on a module, which mixed-precision engines call, would round a float buffer.
        self.register_buffer("value_bits_E", adjacency.value_E.view(torch.int32), persistent=False)

    @property
    def adjacency(self) -> SparseRows:
        """A on the module's device."""
        return SparseRows(self.start_K1, self.column_E, self.value_bits_E.view(torch.float32))

    def forward(self, inputs: LabelInputs, labels_S: Tensor, own_SD: Tensor | None = None) -> Tensor:
        """Give the classifiers of some labels, SD float32, each equal to its row of the computation over all labels.

        Args:
            inputs: H0 as a K x D tensor, or a function from N label numbers (int64, each once, on the module's device) to their N x D rows,
                for tables that do not fit memory; it is called once for H0 of all neighbours and, with the residual, once for labels_S.
            labels_S: label numbers, int64; the same label may come twice.
            own_SD: the labels' own vectors for the residual, such as ones with gradients where `inputs` is a table that is refreshed now
                and then; None takes their rows of inputs.

        Units: vectors of length 1 with the residual, else of free length. Cost: two rows of D numbers for each entry of the M rows of A.
        """
        with torch.autocast(labels_S.device.type, enabled=False):
            outer = self.adjacency.entries(labels_S)
            middle_M, place_E = torch.unique(outer.column_E, return_inverse=True)
            mixed_SH = _mixed(outer, self._hidden(inputs, middle_M), place_E, len(labels_S))
            vector_SD = mixed_SH @ self.second.float()
            if not self.residual:
                return vector_SD
            own_SD = self._rows(inputs, labels_S) if own_SD is None else own_SD.float()
            return normalised(own_SD + vector_SD)

    def terms(self, inputs: LabelInputs, label: int) -> ClassifierTerms:
        """Split the classifier of one label, which is linear in the second layer's neighbours: term j is A[l, j] H1[j] W2.

        With the residual every part is divided by the one length, and own_D is the part of the label's own vector; else own_D is 0.
        """
        label_1 = torch.tensor([label], device=self.start_K1.device)
        with torch.autocast(label_1.device.type, enabled=False):
            entries = self.adjacency.entries(label_1)
            term_JD = entries.value_E[:, None] * self._hidden(inputs, entries.column_E) @ self.second.float()
            own_D = self._rows(inputs, label_1)[0] if self.residual else torch.zeros_like(self.second[0], dtype=torch.float32)
            if self.residual:
                length = torch.linalg.vector_norm(own_D + term_JD.sum(dim=0)).clamp(min=1e-6)
                own_D, term_JD = own_D / length, term_JD / length
        return ClassifierTerms(entries.column_E, entries.value_E, term_JD, own_D)

    def _hidden(self, inputs: LabelInputs, labels_M: Tensor) -> Tensor:
        """Rows of H1; neighbours are summed before the product with W1, because M is smaller than N."""
        inner = self.adjacency.entries(labels_M)
        base_N, place_E = torch.unique(inner.column_E, return_inverse=True)
        mixed_MD = _mixed(inner, self._rows(inputs, base_N), place_E, len(labels_M))
        return functional.leaky_relu(mixed_MD @ self.first.float(), _SLOPE)

    def _rows(self, inputs: LabelInputs, labels_N: Tensor) -> Tensor:
        if not isinstance(inputs, Tensor):
            return inputs(labels_N).float()
        num_labels = len(self.start_K1) - 1
        assert len(inputs) == num_labels, f"label vectors have {len(inputs)} rows, the label graph has {num_labels} labels"
        return inputs.index_select(0, labels_N).float()


def _mixed(entries: Entries, vectors_ND: Tensor, place_E: Tensor, num_rows: int) -> Tensor:
    """Rows of A times vectors: no sparse.mm, whose backward fails under autocast and which reads all of A."""
    weighted_ED = entries.value_E[:, None] * vectors_ND.index_select(0, place_E)
    return weighted_ED.new_zeros(num_rows, vectors_ND.shape[1]).index_add(0, entries.row_E, weighted_ED)


def _uniform(rows: int, columns: int) -> Tensor:
    return torch.empty(rows, columns).uniform_(-1 / sqrt(columns), 1 / sqrt(columns))
