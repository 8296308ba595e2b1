"""One sealed generation of a shard in files: written from rows, and opened with every hash checked before anything parses.

Legend: N rows, D dimension.
"""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from reelspace.core.errors import CorruptArtifact
from reelspace.core.store import Store
from reelspace.search.compute.library import faiss
from reelspace.search.compute.shard import Shard, ShardParts
from reelspace.search.storage.layout import FileFacts, ServedGeneration, ShardManifest, generation_key, parse, sha256

INDEX: Final = "index.faiss"
IDS: Final = "ids.npy"
PAYLOAD: Final = "payload.arrow"
VECTORS: Final = "vectors.npy"
FILES: Final = (INDEX, IDS, PAYLOAD, VECTORS)
MANIFEST: Final = "manifest.json"
READ_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a shard works: GPU ordinal or None for the processor, and threads of one search."""

    device: int | None = None
    num_threads: int = 1


def write_files(parts: ShardParts, directory: Path) -> dict[str, FileFacts]:
    """Write the four files and give their hashes; equal parts give equal bytes."""
    directory.mkdir(parents=True, exist_ok=True)
    faiss.write_index(parts.index, str(directory / INDEX))
    np.save(directory / IDS, parts.ids_N.astype("<i8"), allow_pickle=False)
    np.save(directory / VECTORS, parts.vectors_ND.astype("<f4"), allow_pickle=False)
    with pa.ipc.new_file(str(directory / PAYLOAD), parts.payload.schema) as writer:
        writer.write_table(parts.payload)
    data = {name: (directory / name).read_bytes() for name in FILES}
    return {name: FileFacts(sha256=sha256(content), size_bytes=len(content)) for name, content in data.items()}


def open_generation(store: Store, served: ServedGeneration, placement: Placement | None = None) -> Shard:
    """Load a generation into memory.

    Raises:
        CorruptArtifact: a file's bytes are not those its manifest names, or do not fit together; names the key and the store.
        ArtifactMissing: a file is gone.
    """
    placement = placement or Placement()
    where = {name: generation_key(served.collection, served.shard, served.generation, name) for name in (*FILES, MANIFEST)}
    data = store.get(where[MANIFEST])
    _check_hash(data, served.manifest_sha256, f"{where[MANIFEST]} in {store.url}")
    manifest = parse(ShardManifest, data, f"{where[MANIFEST]} in {store.url}")
    files = {name: _checked(store, where[name], manifest.files[name]) for name in FILES}
    parts = _parse_parts(manifest, files, where[MANIFEST])
    return Shard(parts, placement.device, placement.num_threads)


def _checked(store: Store, key: str, facts: FileFacts) -> bytes:
    data = store.get(key)
    if len(data) != facts.size_bytes:
        raise CorruptArtifact(f"{key} in {store.url} is corrupt: it has {len(data)} bytes, its manifest says {facts.size_bytes}")
    _check_hash(data, facts.sha256, f"{key} in {store.url}")
    return data


def _check_hash(data: bytes, expected: str, where: str) -> None:
    found = sha256(data)
    if found != expected:
        raise CorruptArtifact(f"{where} is corrupt: its SHA-256 is {found[:16]}..., {expected[:16]}... was promoted; promote it again")


def _parse_parts(manifest: ShardManifest, files: Mapping[str, bytes], name: str) -> ShardParts:
    reader = faiss.PyCallbackIOReader(io.BytesIO(files[INDEX]).read, READ_BYTES)
    index = faiss.read_index(faiss.BufferedIOReader(reader, READ_BYTES))
    ids_N: NDArray[np.int64] = np.load(io.BytesIO(files[IDS]), allow_pickle=False)
    vectors_ND: NDArray[np.float32] = np.load(io.BytesIO(files[VECTORS]), allow_pickle=False)
    payload = pa.ipc.open_file(pa.BufferReader(files[PAYLOAD])).read_all()
    sizes = {INDEX: (index.ntotal, index.d), IDS: (len(ids_N),), VECTORS: vectors_ND.shape, PAYLOAD: (len(payload),)}
    rows, dimension = manifest.num_rows, manifest.dimension
    if sizes != {INDEX: (rows, dimension), IDS: (rows,), VECTORS: (rows, dimension), PAYLOAD: (rows,)}:
        raise CorruptArtifact(f"{name}: the files beside it have {sizes}, it says {rows} rows of length {dimension}; build the index again")
    return ShardParts(manifest.index, index, ids_N, vectors_ND, payload)
