"""One sealed generation of a shard in files: written from rows, and opened with every hash checked before anything parses.

manifest.json   ShardManifest, written last
ids.npy         uint64, ascending
uuids.npy       16 bytes each, ascending; their rows follow those of ids.npy
payload.arrow   see Payloads.to_table
vectors-<i>.npy float32 of the i-th vector name in their order, as they are stored; rows-<i>.npy its rows where not every row has one
index-<i>.faiss where the index is not flat

Legend: N rows, P vectors of one name, D dimension.
"""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import file_digest
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from reelspace.core.errors import ArtifactMissing, CorruptArtifact
from reelspace.core.local_store import LocalStore
from reelspace.core.store import Store
from reelspace.search.compute.library import faiss
from reelspace.search.compute.mapped_file import MappedFile
from reelspace.search.compute.payloads import Payloads
from reelspace.search.compute.row_ids import SealedIds
from reelspace.search.compute.shard import Shard, ShardParts
from reelspace.search.compute.vector_index import SealedVectors
from reelspace.search.storage.layout import (
    Collection,
    FileFacts,
    ServedGeneration,
    ShardManifest,
    VectorFacts,
    collection_key,
    generation_key,
    parse,
    sha256,
)
from reelspace.search.storage.rows import MAX_SQUARED_LENGTH, VectorField

IDS: Final = "ids.npy"
UUIDS: Final = "uuids.npy"
PAYLOAD: Final = "payload.arrow"
MANIFEST: Final = "manifest.json"
READ_BYTES: Final = 1 << 20
CHECKED_FLOATS: Final = 1 << 22
UNIT: Final = 1e-3
"""So far from 1 may be the squared length of a vector that is stored for cosines."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a shard works.

    Attributes:
        device: GPU ordinal, None for the processor.
        num_threads: of one search.
        mapped_in: directory for copies of files that are mapped and read as they are needed (a store that is a directory is mapped
            itself); None holds vectors and codes in memory.
    """

    device: int | None = None
    num_threads: int = 1
    mapped_in: Path | None = None


def write_files(parts: ShardParts, directory: Path) -> dict[str, FileFacts]:
    """Write the files and give their hashes; equal parts give equal bytes."""
    directory.mkdir(parents=True, exist_ok=True)
    names = [IDS, UUIDS, PAYLOAD]
    np.save(directory / IDS, parts.ids.integers_I.astype("<u8"), allow_pickle=False)
    np.save(directory / UUIDS, parts.ids.uuids_U16, allow_pickle=False)
    table = parts.payloads.to_table()
    with pa.ipc.new_file(str(directory / PAYLOAD), table.schema) as writer:
        writer.write_table(table)
    for number, name in enumerate(sorted(parts.vectors)):
        names += _write_vectors(parts.vectors[name], number, directory)
    return {name: _facts(directory / name) for name in names}


def open_generation(
    store: Store, served: ServedGeneration, placement: Placement | None = None, collection: Collection | None = None
) -> Shard:
    """Load a generation.

    Args:
        collection: what the generation must be of; None: of any.

    Raises:
        CorruptArtifact: a file's bytes are not those its manifest names, or do not fit together or to the collection, or hold a
            vector that no log may hold; names the key and the store.
        ArtifactMissing: a file is gone.
    """
    placement = placement or Placement()
    key = generation_key(served.collection, served.shard, served.generation, MANIFEST)
    data = store.get(key)
    _check_hash(sha256(data), served.manifest_sha256, f"{key} in {store.url}")
    manifest = parse(ShardManifest, data, f"{key} in {store.url}")
    if collection is not None:
        _check_collection(manifest, served, collection, f"{collection_key(served.collection)} in {store.url}")
    files = _Files(store, served, manifest, placement.mapped_in)
    try:
        parts = _parse_parts(manifest, files, key)
    except (ValueError, KeyError, RuntimeError, pa.ArrowInvalid) as error:  # faiss raises RuntimeError; a right hash of wrong bytes
        raise CorruptArtifact(f"{key} in {store.url} names a file that does not hold what it should: {error}") from error
    return Shard(parts, placement.device, placement.num_threads)


class _Files:
    """The files of a generation, checked when they are asked for: as bytes in memory, or mapped from a directory."""

    def __init__(self, store: Store, served: ServedGeneration, manifest: ShardManifest, mapped_in: Path | None) -> None:
        self._store, self._served, self._manifest = store, served, manifest
        self._directory = None if mapped_in is None else mapped_in / f"{served.collection}-{served.shard}-{served.manifest_sha256[:16]}"
        self.mapped: list[MappedFile] = []

    def array(self, name: str) -> NDArray[Any]:
        """Read or map an array."""
        if self._directory is not None:
            found: NDArray[Any] = np.load(self._mapped(name), mmap_mode="r", allow_pickle=False)
            return found
        return array_of(self.bytes(name))

    def index(self, name: str) -> Any:
        """Read or map an index."""
        if self._directory is not None:
            return faiss.read_index(str(self._mapped(name)), faiss.IO_FLAG_MMAP_IFC)
        reader = faiss.PyCallbackIOReader(io.BytesIO(self.bytes(name)).read, READ_BYTES)
        return faiss.read_index(faiss.BufferedIOReader(reader, READ_BYTES))

    def bytes(self, name: str) -> bytes:
        """Read a file."""
        key, facts = self._key(name), self._manifest.files[name]
        data = self._store.get(key)
        self._check(key, len(data), sha256(data), facts)
        return data

    def _mapped(self, name: str) -> Path:
        """Give a file to map: the store's own where it is a directory, else a copy, fetched again if its bytes are no longer right."""
        assert self._directory is not None
        facts, key = self._manifest.files[name], self._key(name)
        if isinstance(self._store, LocalStore):
            path = self._store.root / key
            if not path.exists():
                raise ArtifactMissing(f"{key} is not in {self._store.url}")
        else:
            path = self._directory / name
            if not path.exists() or _facts(path) != facts:
                self._directory.mkdir(parents=True, exist_ok=True)
                self._store.get_file(key, path)
        mapped = MappedFile(path, facts)
        found = _facts(path)
        self._check(key, found.size_bytes, found.sha256, facts)
        self.mapped.append(mapped)
        return path

    def _key(self, name: str) -> str:
        if name not in self._manifest.files:
            raise CorruptArtifact(f"the manifest of generation {self._served.generation} names no {name}; build the index again")
        return generation_key(self._served.collection, self._served.shard, self._served.generation, name)

    def _check(self, key: str, size_bytes: int, found: str, facts: FileFacts) -> None:
        where = f"{key} in {self._store.url}"
        if size_bytes != facts.size_bytes:
            raise CorruptArtifact(f"{where} is corrupt: it has {size_bytes} bytes, its manifest says {facts.size_bytes}")
        _check_hash(found, facts.sha256, where)


def array_of(data: bytes) -> NDArray[Any]:
    """Give the array of an .npy file without a copy."""
    file = io.BytesIO(data)
    formats: Any = np.lib.format
    version = formats.read_magic(file)
    shape, fortran_order, dtype = (formats.read_array_header_1_0 if version == (1, 0) else formats.read_array_header_2_0)(file)
    if fortran_order or dtype.hasobject:
        raise CorruptArtifact("expected an array of plain numbers in C order")
    return np.frombuffer(data, dtype=dtype, offset=file.tell()).reshape(shape)


def _write_vectors(sealed: SealedVectors, number: int, directory: Path) -> list[str]:
    names = [f"vectors-{number}.npy"]
    np.save(directory / names[0], np.ascontiguousarray(sealed.vectors_PD, dtype="<f4"), allow_pickle=False)
    if sealed.rows_P is not None:
        names.append(f"rows-{number}.npy")
        np.save(directory / names[-1], sealed.rows_P.astype("<i8"), allow_pickle=False)
    if sealed.index is not None:
        names.append(f"index-{number}.faiss")
        faiss.write_index(sealed.index, str(directory / names[-1]))
    return names


def _facts(path: Path) -> FileFacts:
    with path.open("rb") as file:
        return FileFacts(sha256=file_digest(file, "sha256").hexdigest(), size_bytes=path.stat().st_size)


def _check_hash(found: str, expected: str, where: str) -> None:
    if found != expected:
        raise CorruptArtifact(f"{where} is corrupt: its SHA-256 is {found[:16]}..., {expected[:16]}... was promoted; promote it again")


def _check_collection(manifest: ShardManifest, served: ServedGeneration, collection: Collection, where: str) -> None:
    """Refuse a manifest, whose hash is right, of another collection: then it is the collection's own file that is damaged."""
    vectors = {name: VectorField(one.dimension, one.metric) for name, one in manifest.vectors.items()}
    found = (manifest.shard, manifest.num_shards, manifest.space_id, vectors)
    if found != (served.shard, collection.num_shards, collection.space_id, collection.fields):
        raise CorruptArtifact(f"{where} is corrupt: generation {served.generation} of shard {served.shard} is of another make, {found}")


def _parse_parts(manifest: ShardManifest, files: _Files, name: str) -> ShardParts:
    ids = SealedIds(array_of(files.bytes(IDS)), array_of(files.bytes(UUIDS)))
    payloads = Payloads.from_table(pa.ipc.open_file(pa.BufferReader(files.bytes(PAYLOAD))).read_all())
    vectors = {
        vector: _parse_vectors(manifest.vectors[vector], number, manifest, files) for number, vector in enumerate(sorted(manifest.vectors))
    }
    rows = {"ids": len(ids), "payloads": payloads.edition.num_rows}
    if any(found != manifest.num_rows for found in rows.values()) or not ids.are_ordered:
        raise CorruptArtifact(f"{name}: the files beside it have {rows}, it says {manifest.num_rows} rows; build the index again")
    for vector, sealed in vectors.items():
        _check_fit(manifest, sealed, f"{name}: vector {vector!r}")
    return ShardParts(vectors, ids, payloads, manifest.contains_log, tuple(files.mapped))


def _parse_vectors(facts: VectorFacts, number: int, manifest: ShardManifest, files: _Files) -> SealedVectors:
    rows = f"rows-{number}.npy"
    return SealedVectors(
        facts,
        None if facts.index.kind == "flat" else files.index(f"index-{number}.faiss"),
        files.array(f"vectors-{number}.npy"),
        files.array(rows) if rows in manifest.files else None,
    )


def _check_fit(manifest: ShardManifest, sealed: SealedVectors, where: str) -> None:
    facts, rows_P = sealed.facts, sealed.rows_P
    found: Mapping[str, object] = {
        "vectors": sealed.vectors_PD.shape,
        "index": (facts.num_vectors, facts.dimension) if sealed.index is None else (sealed.index.ntotal, sealed.index.d),
        "rows": manifest.num_rows if rows_P is None else len(rows_P),
    }
    shape = (facts.num_vectors, facts.dimension)
    ordered = rows_P is None or bool(np.all(np.diff(rows_P) > 0) and (not len(rows_P) or 0 <= rows_P[0] <= rows_P[-1] < manifest.num_rows))
    if found != {"vectors": shape, "index": shape, "rows": facts.num_vectors} or not ordered or sealed.vectors_PD.dtype != np.float32:
        raise CorruptArtifact(f"{where}: the files have {found}, the manifest says {shape}; build the index again")
    _check_numbers(sealed, where)


def _check_numbers(sealed: SealedVectors, where: str) -> None:
    """Refuse vectors that a third party has sealed and no log of ours may hold: a NaN would rank anywhere."""
    vectors_PD, is_cosine = sealed.vectors_PD, sealed.facts.metric == "cosine"
    rows = max(1, CHECKED_FLOATS // sealed.facts.dimension)
    for start in range(0, len(vectors_PD), rows):
        block_MD = vectors_PD[start : start + rows]
        squares_M = np.einsum("md,md->m", block_MD, block_MD)
        fits_M = np.abs(squares_M - 1) <= UNIT if is_cosine else squares_M <= MAX_SQUARED_LENGTH * (1 + UNIT)
        if not fits_M.all():
            wanted = "length 1" if is_cosine else "finite numbers whose squares do not overflow"
            raise CorruptArtifact(f"{where}: vector {start + int(np.argmin(fits_M))} is none: expected {wanted}; build the index again")
