"""Counts what operations cost as they run: the bytes of every storage while somebody holds it, and FLOPs."""

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry, sdpa_backward_flop_count, sdpa_flop_count

aten = torch.ops.aten


class Ledger(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Follows a module's passes on fake tensors, without its parameters and buffers.

    Sizes that depend on the data are the planned ones: the tokens that a mask picks of each text, the entries of a label's row in the
    label graph, and different labels among some.

    live_bytes: what is held now; a gradient that has arrived at its parameter is no longer counted.
    peak_bytes: the most that was held at a time.
    full_peak_bytes: the same together with the gradients that had arrived by then.
    recompute_flops: FLOPs of what was computed anew on the way back.
    """

    def __init__(self, module: nn.Module, masked_per_text: int, num_labels: int, num_neighbours: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live_bytes = self.peak_bytes = self.full_peak_bytes = self.recompute_flops = 0
        self._flops = self._gradient_bytes = 0
        self._is_backward = False
        self._masked_per_text = masked_per_text
        self._num_labels = num_labels
        self._entries_per_row = 1 + num_neighbours
        self._held: dict[int, weakref.ref[Any]] = {}
        self._gradients: set[int] = set()
        for tensor in (*module.parameters(), *module.buffers()):
            storage = tensor.untyped_storage()
            self._held[storage._cdata] = weakref.ref(storage)
        for parameter in module.parameters():
            parameter.register_post_accumulate_grad_hook(self._arrived)  # type: ignore[no-untyped-call]

    @contextmanager
    def backward(self) -> Iterator[None]:
        """Mark the backward pass."""
        self._is_backward = True
        try:
            yield
        finally:
            self._is_backward = False

    def take_peak(self) -> int:
        """Give the most that was held at a time, and look for the next peak from what is held now."""
        peak = self.peak_bytes
        self.peak_bytes = self.full_peak_bytes = self.live_bytes
        return peak

    def take_flops(self) -> int:
        """Give the FLOPs since the last call, without those of what was computed anew."""
        flops, self._flops = self._flops, 0
        return flops

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation and note what it made and what it cost."""
        kwargs = kwargs or {}
        planned = _PLANNED.get(func)
        out = None if planned is None else planned(self, *args, **kwargs)
        if out is None:
            out = func(*args, **kwargs)
        formula = _FLOPS.get(func._overloadpacket)
        if formula is not None:
            self._count(formula(*args, **kwargs, out_val=out))
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor):
                self._note(leaf)
        return out

    def masked_rows(self, values: Tensor, indices: Any) -> Tensor | None:
        """Make as many rows as a mask is planned to pick; None where the index is no mask."""
        mask = indices[0]
        if len(indices) != 1 or mask is None or mask.dtype != torch.bool:
            return None
        return values.new_empty(len(mask) * self._masked_per_text, *values.shape[mask.dim() :])

    def places(self, mask: Tensor) -> Tensor:
        """Make the places that a mask picks."""
        return mask.new_empty(len(mask) * self._masked_per_text, mask.dim(), dtype=torch.int64)

    def entries(self, repeats: Tensor, **_: Any) -> Tensor:
        """Make the entries of some rows of the label graph."""
        return repeats.new_empty(len(repeats) * self._entries_per_row)

    def unique(self, labels: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor, Tensor]:
        """Make the different labels among some: at most all there are."""
        found = labels.new_empty(min(labels.numel(), self._num_labels))
        return found, labels.new_empty(labels.shape), found.new_empty(0)

    def _count(self, flops: int) -> None:
        # On the way back only what is computed anew remembers how it was made.
        if self._is_backward and torch.is_grad_enabled():
            self.recompute_flops += flops
        else:
            self._flops += flops

    def _note(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._held:
            return
        size = storage.nbytes()
        self._held[key] = weakref.ref(storage, lambda _: self._forget(key, size))
        self.live_bytes += size
        self.peak_bytes = max(self.peak_bytes, self.live_bytes)
        self.full_peak_bytes = max(self.full_peak_bytes, self.live_bytes + self._gradient_bytes)

    def _forget(self, key: int, size: int) -> None:
        del self._held[key]
        self.live_bytes -= size

    def _arrived(self, parameter: Tensor) -> None:
        """Leave a gradient to the count of gradients; further ones are added to it in place."""
        assert parameter.grad is not None, "the hook runs when it has come"
        storage = parameter.grad.untyped_storage()
        if storage._cdata not in self._gradients:
            self._gradients.add(storage._cdata)
            self._held[storage._cdata] = weakref.ref(storage)
            self.live_bytes -= storage.nbytes()
            self._gradient_bytes += storage.nbytes()


def _attention_flops(query: Tensor, key: Tensor, value: Tensor, *_: Any, out_val: Any = None, **__: Any) -> int:
    return int(sdpa_flop_count(query.shape, key.shape, value.shape))  # type: ignore[no-untyped-call]


def _attention_backward_flops(grad: Tensor, query: Tensor, key: Tensor, value: Tensor, *_: Any, out_val: Any = None, **__: Any) -> int:
    return int(sdpa_backward_flop_count(grad.shape, query.shape, key.shape, value.shape))  # type: ignore[no-untyped-call]


_PLANNED: dict[Any, Callable[..., Any]] = {
    aten.nonzero.default: Ledger.places,
    aten.index.Tensor: Ledger.masked_rows,
    aten.repeat_interleave.Tensor: Ledger.entries,
    aten._unique2.default: Ledger.unique,
}
# torch's own counter does not know the attention of the CPU.
_FLOPS: dict[Any, Callable[..., int]] = {
    **flop_registry,
    aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops,
    aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward_flops,
}
