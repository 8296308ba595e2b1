"""Checks what a store holds of one shard, byte by byte, and names what is damaged."""

from hashlib import sha256 as new_hash
from typing import Final
from uuid import UUID

import numpy as np

from reelspace.core.errors import CorruptArtifact
from reelspace.core.rng import rng
from reelspace.core.store import Store
from reelspace.search.compute.generation import IDS, MANIFEST, UUIDS, array_of
from reelspace.search.compute.host import Hosting, ShardHost
from reelspace.search.compute.shard import Shard
from reelspace.search.compute.tuning import recall_of
from reelspace.search.storage.entries import Write, decode
from reelspace.search.storage.ids import Id
from reelspace.search.storage.layout import (
    Collection,
    ShardManifest,
    ShardState,
    collection_key,
    generation_key,
    parse,
    read_current,
    read_file,
    sha256,
)
from reelspace.search.storage.log import Log, log_numbers
from reelspace.search.storage.rows import Op
from reelspace.search.tools.findings import ShardCheck

NUM_QUERIES: Final = 100
RECALL_AT: Final = 10
RECALL_MARGIN: Final = 0.05
"""So far below its target a recall on few sampled rows may lie by chance."""


class ShardVerifier:
    """Checks one shard of a collection; the shard is in memory while its rows are counted and searched."""

    def __init__(self, store: Store, made: Collection, shard: int) -> None:
        self._store, self._made, self._shard = store, made, shard
        self._name = f"shard {shard} of {made.full_name}"
        self._log = Log(store, made.full_name, shard, made.fields)
        self._check = ShardCheck(made.full_name, shard)

    def verify(self) -> ShardCheck:
        """Check files, then pointer and log against each other, and at last the rows and their recall."""
        state: ShardState | None = None
        with self._check.noting(collection_key(self._made.full_name, "current.json")):
            state = read_current(self._store, self._made.full_name, self._made.num_shards).shards[str(self._shard)]
        self._verify_generations()
        ids = None if state is None else self._ids_of_current(state)
        self._verify_log(state, ids)
        if not self._check.damages and ids is not None:
            with self._check.noting(self._name):
                self._verify_loaded(len(ids))
        return self._check

    def _key(self, generation: int, name: str) -> str:
        return generation_key(self._made.full_name, self._shard, generation, name)

    def _verify_generations(self) -> None:
        prefix = collection_key(self._made.full_name, f"shards/{self._shard}/generations/")
        for number in sorted({int(key.removeprefix(prefix).partition("/")[0]) for key in self._store.list(prefix)}):
            key = self._key(number, MANIFEST)
            if not self._store.exists(key):
                continue  # what a process that was ended had begun to publish, or to remove: nothing may point at it
            with self._check.noting(key):
                manifest = read_file(self._store, ShardManifest, key)
                told = manifest.shard, manifest.num_shards, manifest.space_id
                if told != (self._shard, self._made.num_shards, self._made.space_id):
                    raise CorruptArtifact(f"it is of shard {told[0]} of {told[1]}, space {told[2]}")
                self._verify_files(number, manifest)

    def _verify_files(self, generation: int, manifest: ShardManifest) -> None:
        for name, facts in manifest.files.items():
            key = self._key(generation, name)
            with self._check.noting(key):
                digest, size_bytes = new_hash(), 0
                for chunk in self._store.stream(key):
                    digest.update(chunk)
                    size_bytes += len(chunk)
                self._check.num_files += 1
                self._check.size_bytes += size_bytes
                if (size_bytes, digest.hexdigest()) != (facts.size_bytes, facts.sha256):
                    what = f"it has {size_bytes} bytes of SHA-256 {digest.hexdigest()[:16]}..."
                    raise CorruptArtifact(f"{what}, its manifest says {facts.size_bytes} of {facts.sha256[:16]}...")

    def _ids_of_current(self, state: ShardState) -> set[Id] | None:
        """Check what the pointer says of the current generation, and give the ids of its rows."""
        key = self._key(state.generation, MANIFEST)
        with self._check.noting(key):
            data = self._store.get(key)
            if sha256(data) != state.manifest_sha256:
                raise CorruptArtifact(f"its SHA-256 is {sha256(data)[:16]}..., the pointer says {state.manifest_sha256[:16]}...")
            manifest = parse(ShardManifest, data, key)
            if manifest.contains_log != state.contains_log:
                raise CorruptArtifact(f"it has the log up to {manifest.contains_log}, the pointer says up to {state.contains_log}")
            files = {name: self._store.get(self._key(state.generation, name)) for name in (IDS, UUIDS)}
            if any(sha256(file) != manifest.files[name].sha256 for name, file in files.items()):
                return None  # noted before; nothing is parsed that is not what it should be
            integers, uuids = (array_of(file) for file in files.values())
            ids: set[Id] = {*integers.tolist(), *(UUID(bytes=one.tobytes()) for one in uuids)}
            if len(ids) != manifest.num_rows:
                raise CorruptArtifact(f"it says {manifest.num_rows} rows, there are {len(ids)} ids")
            return ids
        return None

    def _verify_log(self, state: ShardState | None, ids: set[Id] | None) -> None:
        """Check the log from its floor on, and change the ids as it says."""
        floor, check = 0, self._check
        with check.noting(self._log.floor_key):
            floor = self._log.floor()
        numbers = {number for number in log_numbers(self._store, self._made.full_name, self._shard) if number > floor}
        last = max(numbers, default=floor)
        for number in sorted(set(range(floor + 1, last + 1)) - numbers):
            check.note(self._log.key(number), "it is missing, though later ones are there")
        if state is not None and not floor <= state.contains_log <= last:
            what = f"the log is dropped up to {floor} and ends at {last}, the current generation has it up to {state.contains_log}"
            check.note(self._log.floor_key, what)
        for number in sorted(numbers):
            with check.noting(self._log.key(number)):
                data = self._store.get(self._log.key(number))
                check.num_objects += 1
                check.size_bytes += len(data)
                writes = decode(self._log.key(number), number, self._made.fields, data).writes
                if ids is not None and state is not None and number > state.contains_log:
                    for write in writes:
                        _apply(ids, write)

    def _verify_loaded(self, num_rows: int) -> None:
        check = self._check
        with ShardHost(self._store, self._made, self._shard, Hosting(poll_s=3600.0)) as host:
            check.num_rows = host.num_rows
            if host.num_rows != num_rows:
                check.note(self._name, f"{host.num_rows} rows are served, files and log have {num_rows}")
            check.recall, targets = host.with_shard(lambda shard: ({name: _recall(shard, name) for name in shard.indexes}, _targets(shard)))
        for name, recall in check.recall.items():
            if recall < targets[name] - RECALL_MARGIN:
                what = f"recall at {RECALL_AT} of vector {name!r} is {recall:.3f} on sampled rows, it was built for {targets[name]:g}"
                check.note(self._name, what)


def _apply(ids: set[Id], write: Write) -> None:
    for op, id in zip(write.rows.ops_N.tolist(), write.rows.ids, strict=True):
        if op == Op.UPSERT:
            ids.add(id)
        elif op == Op.DELETE:
            ids.discard(id)


def _targets(shard: Shard) -> dict[str, float]:
    return {name: index.facts.index.recall_target for name, index in shard.indexes.items()}


def _recall(shard: Shard, name: str) -> float:
    """Search for sampled rows and compare with exact search, each row itself left out."""
    index = shard.indexes[name]
    positions = index.positions(np.flatnonzero(~shard.dead_N))
    positions = positions[positions >= 0]
    if len(positions) < 2:
        return 1.0
    chosen = np.sort(rng(0, "verify").choice(positions, min(NUM_QUERIES, len(positions)), replace=False))
    vectors_QD, rows_Q1 = index.gather(chosen), index.rows(chosen)[:, None]
    found_QK = shard.search(vectors_QD, RECALL_AT + 1, using=name).rows_QK
    exact_QK = shard.search_exactly(vectors_QD, RECALL_AT + 1, using=name).rows_QK
    return recall_of(np.where(found_QK == rows_Q1, -1, found_QK), np.where(exact_QK == rows_Q1, -1, exact_QK))
