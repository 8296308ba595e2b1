"""Where a faiss index works: this machine's processor or one of its GPUs. The only difference between the two.

The stored index is always the processor's form; a device gets a copy.
"""

import ctypes
import logging
import os
import re
import sys
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from reelspace.core.errors import SettingError, UserError
from reelspace.search.compute.library import faiss

MAX_LISTS: Final = 2048
"""A GPU visits at most so many lists for a query (faiss's getMaxKSelection)."""
MAX_CANDIDATES: Final = 512
"""So many candidates of a query a GPU is asked for at most. For more, faiss's kernels over 8-bit codes want more shared memory than there
is, and the process ends (seen with 1.15.1 on an H100)."""
SCRATCH_BYTES: Final = 256 << 20
"""Of a GPU's memory for one index's searches; faiss takes six times as much for each index unless told. More is taken when needed."""
LIBRARY_BYTES: Final = 128 << 20
"""What CUDA's libraries take beside it for each index; measured on an H100: 52 MiB."""
_FULL: Final = re.compile("out.of.memory|alloc fail")
_RUNTIMES: Final = ("libcudart.so.13", "libcudart.so.12")


class NoRoom(UserError):
    """A generation does not fit into the memory that a shard may take beside those that serve."""


@dataclass(frozen=True, slots=True)
class Placed:
    """An index on its device.

    `selectors`: whether a search heeds a selector of rows. Without cuVS, faiss on a GPU takes one and ignores it silently.
    `most_candidates`, `most_lists`: so many a search may ask for, and visit.
    `resources` lives as long as the index uses it.
    """

    index: Any
    selectors: bool = True
    most_candidates: int = sys.maxsize
    most_lists: int = sys.maxsize
    resources: Any = None

    def answers(self, num_candidates: int, num_lists: int | None) -> bool:
        """Tell whether a search may ask for so much."""
        return num_candidates <= self.most_candidates and (num_lists or 0) <= self.most_lists


def place(index: Any, device: int | None) -> Placed:
    """Put an index on a device: None for the processor, else the GPU's ordinal.

    A graph, and a type that this GPU or this faiss has no form of, stays on the processor; the log says so.

    Raises:
        SettingError: this faiss or this machine has no such GPU.
        NoRoom: the GPU's memory is taken.
    """
    if device is None:
        return Placed(index)
    num_gpus = faiss.get_num_gpus()
    if device >= num_gpus:
        raise SettingError(f"shard device: expected a GPU below {num_gpus}, got {device}; faiss sees {num_gpus} GPUs on this machine")
    _check_room(index, device)
    resources = faiss.StandardGpuResources()
    resources.setTempMemory(SCRATCH_BYTES)
    resources.setPinnedMemory(0)
    try:
        placed = _copied(index, device, resources)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        if _FULL.search(reason):
            raise NoRoom(f"GPU {device} has no room for an index of {index.ntotal:,} vectors: {reason}") from error
        logging.getLogger(__name__).warning("an index of %d vectors stays on the processor: %s", index.ntotal, reason)
        return Placed(index)
    return Placed(placed, _heeds_selectors(placed), MAX_CANDIDATES, MAX_LISTS, resources)


def _copied(index: Any, device: int, resources: Any) -> Any:
    """Copy an index to a GPU: in the form of cuVS, which heeds selectors, where this faiss has cuVS and cuVS that form."""
    options = faiss.GpuClonerOptions()
    options.indicesOptions = faiss.INDICES_64_BIT
    # Tables of product codes in half the bytes: those of 64 parts exceed what a block of threads shares otherwise.
    options.useFloat16 = hasattr(index, "pq")
    options.use_cuvs = "NVIDIA_CUVS" in faiss.get_compile_options()
    try:
        return faiss.index_cpu_to_gpu(resources, device, index, options)
    except RuntimeError as error:
        if not options.use_cuvs or _FULL.search(str(error)):
            raise
        options.use_cuvs = False
        return faiss.index_cpu_to_gpu(resources, device, index, options)


def _heeds_selectors(index: Any) -> bool:
    """Try whether an index that gives a row gives none where none is allowed."""
    nothing = faiss.IDSelectorBitmap(np.zeros(index.ntotal // 8 + 1, dtype=np.uint8))
    nlist = getattr(index, "nlist", None)
    found = []
    for options in ({}, {"sel": nothing}):
        parameters = faiss.SearchParameters(**options)
        if nlist is not None:
            parameters = faiss.SearchParametersIVF(nprobe=min(nlist, MAX_LISTS), **options)
        found.append(int(index.search(np.ones((1, index.d), dtype=np.float32), 1, params=parameters)[1][0, 0]))
    return found[0] >= 0 > found[1]


def _check_room(index: Any, device: int) -> None:
    """Refuse an index that a GPU has no memory for; faiss ends the process where what it takes first fails, and not by an exception."""
    wanted = index.ntotal * (getattr(index, "code_size", 4 * index.d) + 8) + SCRATCH_BYTES + LIBRARY_BYTES
    free = free_bytes(device)
    if free is not None and free < wanted:
        raise NoRoom(f"GPU {device} has no room for an index of {index.ntotal:,} vectors: it takes {wanted:,} bytes, {free:,} are free")


def free_bytes(device: int) -> int | None:
    """Ask CUDA for the free memory of a GPU; None where faiss brought CUDA's runtime in under another name."""
    for name in _RUNTIMES:
        try:
            runtime = ctypes.CDLL(name, mode=os.RTLD_NOW | os.RTLD_NOLOAD)
        except OSError:
            continue
        free, whole = ctypes.c_size_t(), ctypes.c_size_t()
        if runtime.cudaSetDevice(device) == 0 and runtime.cudaMemGetInfo(ctypes.byref(free), ctypes.byref(whole)) == 0:
            return free.value
    return None
