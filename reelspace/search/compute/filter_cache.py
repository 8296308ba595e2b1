"""Which rows a filter allows, kept for the filters asked for last and brought up to date as rows come.

Legend: N rows, A allowed rows.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from reelspace.search.compute.filters import Filter, decode_filter
from reelspace.search.compute.payloads import Edition, Payloads, RowsOf

MAX_CACHE_BYTES: Final = 64 << 20


@dataclass(frozen=True, slots=True)
class Allowed:
    """The rows that a filter allows, deleted ones among them: bits, 8 rows to a byte from the lowest bit, as faiss reads them.

    `num_allowed` tells how much wider a search must look.
    """

    num_rows: int
    num_allowed: int
    bits: NDArray[np.uint8]

    def mask_N(self) -> NDArray[np.bool_]:
        """Give one boolean per row."""
        return np.unpackbits(self.bits, count=self.num_rows, bitorder="little").view(np.bool_)

    @property
    def size_bytes(self) -> int:
        """Memory that it takes."""
        return self.bits.nbytes


@dataclass(frozen=True, slots=True)
class _Kept:
    where: Filter
    edition: Edition
    allowed: Allowed
    size_bytes: int


class FilterCache:
    """Answers which rows a filter allows. Calls come from one thread at a time."""

    def __init__(self, payloads: Payloads, rows_of: RowsOf, *, max_bytes: int = MAX_CACHE_BYTES) -> None:
        """Keep at most max_bytes of answers. For rows_of see Payloads.mask."""
        self._payloads = payloads
        self._rows_of = rows_of
        self._max_bytes = max_bytes
        self._kept: OrderedDict[bytes, _Kept] = OrderedDict()
        self._size_bytes = 0

    @property
    def size_bytes(self) -> int:
        """Memory that answers and filters take."""
        return self._size_bytes

    def allowed(self, where: bytes) -> Allowed:
        """Give the rows that an encoded filter allows now; one that is asked for again costs a look-up.

        Raises:
            FilterRefused: the bytes are no filter.
            KeyRefused: a condition's key names nothing.
        """
        kept = self._kept.get(where)
        edition = self._payloads.edition
        if kept is None or kept.edition != edition:
            kept = self._looked_up(where, kept, edition)
            self._keep(where, kept)
        else:
            self._kept.move_to_end(where)
        return kept.allowed

    def _looked_up(self, where: bytes, kept: _Kept | None, edition: Edition) -> _Kept:
        if kept is None:
            tree = decode_filter(where)
            mask_N = self._payloads.mask(tree, self._rows_of)
        else:
            tree = kept.where
            mask_N = self._payloads.mask(tree, self._rows_of, kept.allowed.mask_N(), kept.edition)
        num_allowed = int(np.count_nonzero(mask_N))
        allowed = Allowed(len(mask_N), num_allowed, np.packbits(mask_N, bitorder="little"))
        return _Kept(tree, edition, allowed, allowed.size_bytes + 2 * len(where))

    def _keep(self, where: bytes, kept: _Kept) -> None:
        old = self._kept.pop(where, None)
        self._size_bytes += kept.size_bytes - (old.size_bytes if old else 0)
        self._kept[where] = kept
        while self._size_bytes > self._max_bytes:
            _, dropped = self._kept.popitem(last=False)
            self._size_bytes -= dropped.size_bytes
