"""Samples of an earlier run that need no second decoding: the same file, words, settings and code give the same bytes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from reelspace.core.artifacts import Artifact, canonical_json, open_artifact
from reelspace.core.errors import ArtifactMissing
from reelspace.core.log import log
from reelspace.media.dataset import ShardReader
from reelspace.media.job import Packed
from reelspace.media.sample import Words


@dataclass(frozen=True, slots=True)
class KnownSamples:
    """Samples by work, where nothing that they are made of has changed."""

    reader: ShardReader | None
    rows: Mapping[int, int]
    """Row in the reader's index, by video id."""
    media_sha256: Mapping[int, str]
    """Hash of the media file that each was decoded from."""

    def has(self, words: Words, sha256: str | None) -> bool:
        """Tell whether the sample of a work with these words, out of the file of this hash, is known."""
        row = self.rows.get(words.video_id)
        if row is None or self.reader is None or sha256 is None or self.media_sha256.get(words.video_id) != sha256:
            return False
        index = self.reader.index
        return (index["text"][row].as_py(), index["created_at"][row].as_py().isoformat()) == (words.text, words.created_at)

    def sample(self, video_id: int) -> Packed:
        """Read a sample that `has` told of; CorruptArtifact if its bytes are not those of the index."""
        assert self.reader is not None, "has told of it"
        index, row = self.reader.index, self.rows[video_id]
        facts: dict[str, Any] = {name: index[name][row].as_py() for name in ("kind", "num_frames", "has_audio")}
        return Packed(data=self.reader.packed(video_id), **facts)


NOTHING = KnownSamples(None, {}, {})


def known_samples(shards: Artifact | None, settings: Mapping[str, object], code: str) -> KnownSamples:
    """Open the samples of earlier shards; none of them are known where settings or code were others."""
    if shards is None:
        return NOTHING
    manifest = shards.manifest
    if canonical_json(manifest.settings) != canonical_json(settings) or manifest.code != code:
        log("samples_not_reused", shards=shards.id, reason="they were decoded with other settings or other code")
        return NOTHING
    media = _media(shards, manifest.parents)
    if media is None:
        log("samples_not_reused", shards=shards.id, reason="the list of their media files is not in the store")
        return NOTHING
    listed: pa.Table = pq.read_table(pa.BufferReader(media.read("media.parquet")), columns=["video_id", "sha256"])
    reader = ShardReader(shards)
    rows = {video_id: row for row, video_id in enumerate(reader.video_ids.tolist())}
    return KnownSamples(reader, rows, dict(zip(listed["video_id"].to_pylist(), listed["sha256"].to_pylist(), strict=True)))


def _media(shards: Artifact, parents: Sequence[str]) -> Artifact | None:
    for parent in parents:
        try:
            artifact = open_artifact(shards.store, parent)
        except ArtifactMissing:
            continue
        if artifact.manifest.kind == "media":
            return artifact
    return None
