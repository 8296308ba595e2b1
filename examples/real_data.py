"""Turn a folder of real clips, photos and sounds with titles and tags into the input tables of `reelspace run`.

`python examples/real_data.py FOLDER OUT [--max-images N]`, then
`python -m reelspace.cli run --videos OUT/videos.parquet --out my-out --preset tiny`

FOLDER holds any of these; files are named relative to the folder of their list:
  video/clips.jsonl     file, title_en, title_zh, hashtags
  images/images.jsonl   file, label, tags
  audio/clips.jsonl     file, title, class_name, label
Titles and tags become captions as an author would write them ("Playing fetch with my dog #dog #outdoor"). Such folders know no
searches, clicks, comments or times: the other tables stay away, and rows are put one minute apart, in an order mixed by name.
"""

import argparse
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

START = datetime(2025, 1, 1, tzinfo=UTC)
APART = timedelta(minutes=1)
VIDEOS = pa.schema(
    {
        "video_id": pa.int64(),
        "uri": pa.large_string(),
        "caption": pa.large_string(),
        "created_at": pa.timestamp("us", "UTC"),
        "kind": pa.large_string(),
    }
)


@dataclass(frozen=True, slots=True)
class Work:
    """One media file with the words of its author."""

    path: Path
    caption: str
    kind: str


def main() -> None:
    """Write OUT/videos.parquet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--max-images", type=int, help="take only this many of the photos, spread over the list")
    options = parser.parse_args()
    works = list(find_works(options.folder, options.max_images))
    if not works:
        parser.error(f"{options.folder} has none of video/clips.jsonl, images/images.jsonl, audio/clips.jsonl")
    options.out.mkdir(parents=True, exist_ok=True)
    pq.write_table(videos_table(works, options.folder), options.out / "videos.parquet")
    print(f"{len(works)} works in {options.out / 'videos.parquet'}")


def find_works(folder: Path, max_images: int | None = None) -> Iterator[Work]:
    """Give every work that the folder's lists name."""
    for row in _rows(folder / "video" / "clips.jsonl"):
        yield _work(folder / "video", row, f"{row['title_en']} {row['title_zh']}", row["hashtags"], "video")
    images = _rows(folder / "images" / "images.jsonl")
    for row in images[:: -(-len(images) // max_images)] if max_images else images:
        yield _work(folder / "images", row, row["label"].replace("-", " "), row["tags"], "image")
    for row in _rows(folder / "audio" / "clips.jsonl"):
        yield _work(folder / "audio", row, f"{row['class_name']}: {row['title']}", [row["label"]], "sound")


def videos_table(works: Sequence[Work], folder: Path) -> pa.Table:
    """Make the table of works; the same folder gives the same rows."""
    mixed = sorted(works, key=lambda work: hashlib.sha256(str(work.path.relative_to(folder)).encode()).digest())
    columns = {
        "video_id": list(range(1, len(mixed) + 1)),
        "uri": [str(work.path.resolve()) for work in mixed],
        "caption": [work.caption for work in mixed],
        "created_at": [START + number * APART for number in range(len(mixed))],
        "kind": [work.kind for work in mixed],
    }
    return pa.table(columns, schema=VIDEOS)


def _work(folder: Path, row: Mapping[str, Any], words: str, tags: Sequence[str], kind: str) -> Work:
    hashtags = " ".join(f"#{re.sub(r'[^0-9A-Za-z一-鿿]', '', tag)}" for tag in tags)
    return Work(folder / row["file"], f"{words} {hashtags}", kind)


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.is_file() else []


if __name__ == "__main__":
    main()
