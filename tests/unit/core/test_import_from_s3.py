"""Tables and media of the user's own in a bucket, read where they lie."""

import hashlib
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reelspace.core.artifacts import open_artifact, read_manifest_file
from reelspace.core.store import open_store
from reelspace.steps import import_tables


def test_tables_and_media_in_a_bucket_are_imported(s3_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REELSPACE_STORE", f"{s3_url}/store")
    world = open_store(f"{s3_url}/world")
    bucket = s3_url.split("/")[2]
    rows = [
        {"video_id": number, "uri": uri, "caption": "", "created_at": "2025-01-31T12:00:00Z"}
        for number, uri in enumerate(["media/0.mp4", f"s3://{bucket}/some/prefix/world/media/1.mp4", "media/none.mp4"])
    ]
    world.put("tables/videos/day=2025-01-31/part.jsonl", "".join(json.dumps(row) + "\n" for row in rows).encode())
    for number in (0, 1):
        world.put(f"media/{number}.mp4", b"clip" * number)
    import_tables.run(f"{s3_url}/world", str(tmp_path / "tables"), str(tmp_path / "media"), "{}")
    media = open_artifact(open_store(f"{s3_url}/store"), read_manifest_file(tmp_path / "media").id)
    found = pq.read_table(pa.BufferReader(media.read("media.parquet"))).to_pylist()
    assert [(row["sha256"], row["size_bytes"], row["missing"]) for row in found] == [
        (hashlib.sha256(b"").hexdigest(), 0, False),
        (hashlib.sha256(b"clip").hexdigest(), 4, False),
        (None, None, True),
    ]
