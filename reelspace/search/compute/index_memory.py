"""The memory of a faiss index by part, as it lies there; nothing is copied, and what is mapped from a file is left out.

faiss keeps it where it is as long as nothing is added to the index. The arrays do not keep the index alive: hold it meanwhile.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from numpy.typing import NDArray

from reelspace.search.compute.library import faiss

Arrays = Iterable[NDArray[Any]]
_TABLES_OF_PQ: Final = ("centroids", "transposed_centroids", "centroids_sq_lengths", "sdc_table")
_GRAPH: Final = ("neighbors", "offsets", "levels", "cum_nneighbor_per_level", "assign_probas")


def index_memory(index: Any) -> Mapping[str, Callable[[Any], Arrays]]:
    """Give, by the name of a part, what gives its arrays of this index, always in the same order."""
    parts: dict[str, Callable[[Any], Arrays]] = {"tables of codes": _tables}
    if hasattr(index, "hnsw"):
        parts["graph"] = _graph
        parts["codes"] = lambda one: _vector(faiss.downcast_index(one.storage).codes)
    if hasattr(index, "invlists"):
        parts["centroids"] = lambda one: _vector(faiss.downcast_index(one.quantizer).codes)
        parts["codes in lists"] = _list_codes
        parts["places in lists"] = _list_ids
    return parts


def _tables(index: Any) -> Iterator[NDArray[Any]]:
    coded = faiss.downcast_index(index.storage) if hasattr(index, "storage") else index
    if hasattr(coded, "sq"):
        yield from _vector(coded.sq.trained)
    if hasattr(coded, "pq"):
        for name in _TABLES_OF_PQ:
            yield from _vector(getattr(coded.pq, name))
    if hasattr(coded, "precomputed_table"):
        yield from _vector(coded.precomputed_table)


def _graph(index: Any) -> Iterator[NDArray[Any]]:
    for name in _GRAPH:
        yield from _vector(getattr(index.hnsw, name))


def _list_codes(index: Any) -> Iterator[NDArray[Any]]:
    lists = faiss.downcast_InvertedLists(index.invlists)
    if _are_mapped(lists):
        return
    # Codes that are searched fast lie in blocks, the last of which is filled up.
    per_block = getattr(lists, "n_per_block", 1)
    block_bytes = getattr(lists, "block_size", lists.code_size)
    for number in range(lists.nlist):
        num_blocks = -(-lists.list_size(number) // per_block)
        if num_blocks:
            yield faiss.rev_swig_ptr(lists.get_codes(number), num_blocks * block_bytes)


def _list_ids(index: Any) -> Iterator[NDArray[Any]]:
    lists = faiss.downcast_InvertedLists(index.invlists)
    if _are_mapped(lists):
        return
    for number in range(lists.nlist):
        size = lists.list_size(number)
        if size:
            yield faiss.rev_swig_ptr(lists.get_ids(number), size)


def _are_mapped(lists: Any) -> bool:
    """Tell whether lists lie in a mapped file; those in blocks never do."""
    return bool(lists.nlist) and not hasattr(lists, "n_per_block") and not lists.codes.at(0).is_owned


def _vector(vector: Any) -> Iterator[NDArray[Any]]:
    """Give the memory of one of the vectors of C++."""
    size = vector.size()
    if size and getattr(vector, "is_owned", True):
        yield faiss.rev_swig_ptr(vector.data(), size)
