"""Bytes per vector of every index type, part by part, for any number of rows and dimension.

Legend: D dimension, n rows of a shard.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from reelspace.search.compute.lists import num_lists
from reelspace.search.planning.measured import Kind

PQ_BYTES: Final = 64
ID_BYTES: Final = 8
_FLOAT: Final = 4
_PQ_CODES: Final = 256
_FAST_SCAN_CODES: Final = 16
# Codes of a list lie in blocks of 32 vectors; on average half of the last one is empty.
_BLOCK_PADDING: Final = 16
# 2 x 32 links of 4 bytes, upper levels of 32 links for one vector in 32 (Malkov and Yashunin 2016), the level, and where its links begin.
_LINK_BYTES: Final = 2 * 32 * 4 + 32 * 4 / 31 + 4 + 8


@dataclass(frozen=True, slots=True)
class Part:
    """What a vector takes in memory for one purpose."""

    name: str
    size_bytes: float
    arithmetic: str


def index_parts(kind: Kind, dimension: int, rows: float) -> list[Part]:
    """Give the parts of an index over `rows` vectors, bytes per vector; vectors for re-ranking are not among them."""
    return list(_parts(kind, dimension, rows))


def _parts(kind: Kind, dimension: int, rows: float) -> Iterator[Part]:
    whole = _FLOAT * dimension
    if kind == "flat":
        yield Part("vectors", whole, f"4 x {dimension}")
        return
    if kind == "hnsw":
        yield Part("codes", dimension, f"1 x {dimension}")
        yield Part("links", _LINK_BYTES, "2 x 32 links of 4 bytes, upper levels, offsets")
        return
    lists = num_lists(rows)
    if kind == "ivf_sq8":
        yield Part("codes", dimension, f"1 x {dimension}")
    elif kind == "ivf_pq_fastscan":
        code = dimension / 4
        yield Part("codes", code, f"4 bits for each of {dimension} / 2 parts")
        yield Part("padding", _BLOCK_PADDING * code * lists / rows, f"half of the last block of 32 in {lists:,} lists")
        yield Part("codebooks", _FAST_SCAN_CODES * whole / rows, f"{_FAST_SCAN_CODES} x {whole:,} bytes in all")
    else:
        yield Part("codes", PQ_BYTES, f"8 bits for each of {PQ_BYTES} parts")
        yield Part("codebooks", _PQ_CODES * whole / rows, f"{_PQ_CODES} x {whole:,} bytes in all")
    yield Part("ids", ID_BYTES, "int64 in its list")
    yield Part("centres", whole * lists / rows, f"{lists:,} lists x {whole:,} bytes over {rows:,.0f} vectors")


def rerank_bytes(kind: Kind, dimension: int) -> int:
    """Give the bytes of a vector that is kept for re-ranking; 0 where none is."""
    return _FLOAT * dimension if kind in ("ivf_pq_fastscan", "ivf_pq64_reranked", "hnsw") else 0


def reranks_from_disk(kind: Kind) -> bool:
    """Tell whether candidates are read from disk, so that memory holds only codes."""
    return kind == "ivf_pq64_reranked"


def why_not(kind: Kind, dimension: int) -> str | None:
    """Tell why vectors of this length have no such index; None where they have."""
    if kind.startswith("ivf_pq64") and dimension % PQ_BYTES:
        return f"{PQ_BYTES} parts do not divide {dimension} dimensions"
    if kind == "ivf_pq_fastscan" and dimension % 2:
        return f"parts of 2 do not divide {dimension} dimensions"
    return None
