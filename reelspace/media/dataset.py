"""Samples out of an artifact of shards, each checked against the hash of its byte range.

Shapes: N samples, B of them.
"""

import copy
import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from reelspace.core.artifacts import Artifact
from reelspace.core.errors import CorruptArtifact, UserError
from reelspace.media.sample import Sample, unpack
from reelspace.media.sample_cache import SampleCache
from reelspace.media.shards import INDEX_FILE

_NUM_THREADS: Final = 4


class ShardReader:
    """Reads samples by video id; holds the index in memory, nothing else."""

    def __init__(self, artifact: Artifact) -> None:
        self._artifact = artifact
        self._cache: SampleCache | None = None
        self._num_threads = _NUM_THREADS
        self.index: pa.Table = pq.read_table(pa.BufferReader(artifact.read(INDEX_FILE)))
        """One row per sample, by rising video_id: shard, offset, length, sha256, created_at, kind, num_frames, has_audio, text."""
        self.video_ids: NDArray[np.int64] = self.index["video_id"].to_numpy()
        """video_ids_N, ascending."""
        _, shards_N = np.unique(self.index["shard"].to_numpy(), return_inverse=True)
        self.shard_of_row: NDArray[np.int64] = shards_N.astype(np.int64)
        """shard_of_row_N: number of the shard each sample lies in, for the sampler."""

    def reading(self, cache: SampleCache | None, num_threads: int) -> Self:
        """Give a reader of the same samples that looks for their bytes in a cache first, and reads so many samples of a call at a time."""
        reader = copy.copy(self)
        reader._cache, reader._num_threads = cache, num_threads
        return reader

    @property
    def id(self) -> str:
        """Id of the artifact of shards."""
        return self._artifact.id

    def __len__(self) -> int:
        return len(self.video_ids)

    def read(self, video_id: int) -> Sample:
        """Read one sample.

        Raises:
            UserError: no sample of that id.
            CorruptArtifact: its bytes are not those of the index; names shard and sample.
        """
        return unpack(self._bytes(self._row(video_id)))

    def packed(self, video_id: int) -> bytes:
        """Read the bytes of one sample as they lie in its shard; raises what `read` raises."""
        return self._bytes(self._row(video_id))

    def read_all(self, video_ids: Sequence[int]) -> list[Sample]:
        """Read several samples, in the order of the ids, a few at a time in threads."""
        with ThreadPoolExecutor(self._num_threads) as threads:
            return list(threads.map(self.read, video_ids))

    def _row(self, video_id: int) -> int:
        row = int(np.searchsorted(self.video_ids, video_id))
        if row == len(self) or self.video_ids[row] != video_id:
            raise UserError(f"video {video_id} is not in the shards {self._artifact.id[:12]}; it may lie in their quarantine")
        return row

    def _bytes(self, row: int) -> bytes:
        facts = {name: self.index[name][row].as_py() for name in ("shard", "offset", "length", "sha256")}
        data = None if self._cache is None else self._cache.get(facts["sha256"])
        if data is None:
            data = self._artifact.read_range(facts["shard"], facts["offset"], facts["length"])
            if hashlib.sha256(data).hexdigest() != facts["sha256"]:
                where = f"{facts['shard']!r} of artifact {self._artifact.manifest.kind} {self._artifact.id}"
                raise CorruptArtifact(f"sample {self.video_ids[row]} in {where} is corrupt: its SHA-256 differs; make the artifact again")
            if self._cache is not None:
                self._cache.put(facts["sha256"], data)
        return data
