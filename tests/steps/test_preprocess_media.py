"""From media files to shards: everything is accounted for, bytes repeat, and a killed run goes on where it was."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import wave
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from reelspace.core.artifacts import Artifact, open_artifact, read_manifest_file
from reelspace.core.errors import SettingError, TemporaryError, UserError
from reelspace.core.store import open_store
from reelspace.media.dataset import ShardReader
from reelspace.steps import import_tables, preprocess_media

EncodeClip = Callable[..., bytes]
CREATED_AT = "2025-01-31T12:00:00Z"
TOLERANT = {"max_bad_ratio": 1.0}
ONE_WORKER = {"num_workers": 1}


@dataclass
class Place:
    """A user's folder with media, and the store that a run of the step fills."""

    root: Path
    monkeypatch: pytest.MonkeyPatch
    rows: list[dict[str, Any]] = field(default_factory=list)
    store: str = ""

    def add(self, name: str, data: bytes | None, caption: str = "", **columns: Any) -> int:
        """Add a work; no data means that its file is missing."""
        video_id = len(self.rows) + 1
        if data is not None:
            (self.root / name).write_bytes(data)
        self.rows.append({"video_id": video_id, "uri": name, "caption": caption, "created_at": CREATED_AT, **columns})
        return video_id

    def imported(self, store: str = "store") -> "Place":
        """Bring the tables into a store of that name, and use it."""
        (self.root / "videos.jsonl").write_text("".join(json.dumps(row) + "\n" for row in self.rows))
        self.store = str(self.root / store) if "://" not in store else store
        self.monkeypatch.setenv("REELSPACE_STORE", self.store)
        paths = {"paths": {"videos": str(self.root / "videos.jsonl")}}
        import_tables.run("", self.manifest("tables"), self.manifest("media"), json.dumps(paths))
        return self

    def manifest(self, name: str) -> str:
        return str(self.root / "manifests" / name)

    def arguments(self, settings: Mapping[str, object]) -> tuple[str, str, str, str, str]:
        return self.manifest("tables"), self.manifest("media"), self.manifest("shards"), str(self.root), json.dumps(settings)

    def run(self, settings: Mapping[str, object] = TOLERANT) -> Artifact:
        preprocess_media.run(*self.arguments(settings))
        return open_artifact(open_store(self.store), read_manifest_file(self.manifest("shards")).id)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    return Place(tmp_path, monkeypatch)


def photo(number: int, side: int = 96) -> bytes:
    buffer = io.BytesIO()
    pixels = np.random.default_rng(number).integers(0, 255, (side, side, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(buffer, "JPEG")
    return buffer.getvalue()


def sound() -> bytes:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(np.random.default_rng(0).integers(-9000, 9000, 16_000).astype("<i2").tobytes())
    return buffer.getvalue()


def add_one_of_each(place: Place, encode_clip: EncodeClip) -> None:
    frames_FHWC = np.random.default_rng(1).integers(0, 255, (12, 64, 64, 3)).astype(np.uint8)
    clip = encode_clip(frames_FHWC, (np.random.default_rng(2).integers(-9000, 9000, 19_200).astype(np.int16),))
    place.add("clip.mp4", clip, "A ramen shop #ramen #food", cover_text="Best of 2025 #tag")
    place.add("photo.jpg", photo(1), "拉面 很 好吃\u200b #拉面")
    place.add("sound.wav", sound(), "", cover_text=None)
    place.add("empty.mp4", b"", "nothing")
    place.add("half.mp4", clip[: len(clip) // 2], "half")
    place.add("page.mp4", b"<html></html>", "page")
    place.add("gone.mp4", None, "gone")
    place.add("again.mp4", clip, "#only #tags")


def test_what_came_in_went_out_or_lies_in_quarantine_with_its_reason(place: Place, encode_clip: EncodeClip) -> None:
    add_one_of_each(place, encode_clip)
    artifact = place.imported().run()
    assert json.loads(artifact.read("ledger.json")) == {
        "in": 8,
        "out": 4,
        "quarantined": 4,
        "reasons": {"empty_file": 1, "missing_file": 1, "truncated": 1, "unsupported": 1},
    }
    bad = {row["id"]: row for row in (json.loads(artifact.read(name)) for name in artifact.names() if name.startswith("quarantine/"))}
    assert {name: row["reason"] for name, row in bad.items()} == {
        "4": "empty_file",
        "5": "truncated",
        "6": "unsupported",
        "7": "missing_file",
    }
    assert bad["5"]["byte_range"] == [0, len((place.root / "half.mp4").read_bytes())]
    assert len(bad["5"]["sha256"]) == 64
    index = ShardReader(artifact).index.to_pylist()
    assert [(row["video_id"], row["kind"], row["num_frames"], row["has_audio"]) for row in index] == [
        (1, "video", 4, True),
        (2, "image", 1, False),
        (3, "sound", 0, True),
        (8, "video", 4, True),
    ]
    assert artifact.run_facts()["metrics"]["out"] == 4


def test_samples_carry_the_authors_words_without_tags(place: Place, encode_clip: EncodeClip) -> None:
    add_one_of_each(place, encode_clip)
    reader = ShardReader(place.imported().run())
    assert [sample.text for sample in reader.read_all([1, 2, 3, 8])] == ["A ramen shop Best of 2025", "拉面 很 好吃", "", ""]


@pytest.mark.parametrize(
    ("caption", "cover_text", "expected"),
    [
        ("cats at home", "cats", "cats at home"),
        ("", "cover #x", "cover"),
        ("#a #b", None, ""),
        ("a\x00b\ud83c c\u202e", "\udfff", "a b c"),
        ("a" * 30, "b", "a" * 20),
        ("word " * 10, None, "word word word word"),
    ],
)
def test_words_of_caption_and_cover_are_joined_and_cut(caption: str, cover_text: str | None, expected: str) -> None:
    assert preprocess_media.author_text(caption, cover_text, 20) == expected


def test_bytes_depend_neither_on_the_run_nor_on_the_number_of_workers(place: Place, encode_clip: EncodeClip) -> None:
    add_one_of_each(place, encode_clip)
    for number in range(20):
        place.add(f"{number}.jpg", photo(number))
    found = {place.imported(f"store{workers}").run({**TOLERANT, "pool": {"num_workers": workers}}).id for workers in (1, 2, 5)}
    moved = place.root / "elsewhere"
    shutil.copytree(place.root, moved, ignore=shutil.ignore_patterns("store*"))
    found.add(Place(moved, place.monkeypatch, place.rows).imported().run().id)
    assert len(found) == 1


def test_a_second_run_reuses_the_first(place: Place) -> None:
    for number in range(3):
        place.add(f"{number}.jpg", photo(number))
    first = place.imported().run()
    for number in range(3):
        (place.root / f"{number}.jpg").unlink()  # a second decoding would find nothing
    assert place.run().id == first.id


def test_a_file_that_changed_or_went_since_it_was_listed_is_quarantined(place: Place) -> None:
    for number in range(4):
        place.add(f"{number}.jpg", photo(number))
    place.imported()
    (place.root / "1.jpg").write_bytes(photo(99))
    (place.root / "2.jpg").unlink()
    (place.root / "3.jpg").unlink()
    os.mkfifo(place.root / "3.jpg")
    artifact = place.run()
    reasons = [json.loads(artifact.read(f"quarantine/{number}.json"))["reason"] for number in (2, 3, 4)]
    assert reasons == ["changed_since_listed", "missing_file", "missing_file"]


def test_an_input_with_nothing_to_decode_is_a_one_line_user_error(place: Place) -> None:
    place.add("page.mp4", b"<html></html>")
    place.add("gone.mp4", None)
    place.imported()
    with pytest.raises(UserError, match=r"none of the 2 media files can be decoded; the first is video 1: unsupported, ") as caught:
        place.run()
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2
    assert not Path(place.manifest("shards")).exists()


def test_too_many_bad_files_are_refused_and_a_higher_limit_goes_on_without_decoding_again(place: Place) -> None:
    for number in range(9):
        place.add(f"{number}.jpg", photo(number))
    place.add("page.mp4", b"<html></html>")
    place.imported()
    with pytest.raises(UserError, match=r"1 of 10 items are bad \(unsupported 1\), more than the allowed share of 0\.05"):
        place.run({})
    for number in range(9):
        (place.root / f"{number}.jpg").unlink()
    artifact = place.run({"max_bad_ratio": 0.1})
    assert json.loads(artifact.read("ledger.json"))["out"] == 9
    assert artifact.run_facts()["metrics"]["resumed"] == 10


def test_a_hundred_bad_files_in_a_row_stop_the_step(place: Place) -> None:
    place.add("photo.jpg", photo(0))
    for number in range(120):
        place.add(f"{number}.mp4", b"")
    place.imported()
    with pytest.raises(UserError, match="100 items in a row are bad, the last is 101"):
        place.run()


def test_an_unknown_setting_names_the_nearest() -> None:
    with pytest.raises(SettingError, match=r"'frames\.num_frame' is unknown, the nearest is 'frames\.num_frames'"):
        preprocess_media.run("", "", "", "", '{"frames": {"num_frame": 4}}')


def test_a_killed_run_goes_on_without_decoding_again(place: Place) -> None:
    for number in range(40):
        place.add(f"{number:02d}.jpg", photo(number, side=900))
    expected = place.imported("reference").run({"shard_mib": 1})
    place.imported("killed")
    script = "import sys; from reelspace.steps import preprocess_media; preprocess_media.run(*sys.argv[1:])"
    arguments = place.arguments({"shard_mib": 1, "pool": ONE_WORKER})
    process = subprocess.Popen([sys.executable, "-c", script, *arguments], stderr=subprocess.DEVNULL)
    deadline_s = time.monotonic() + 60
    while num_journalled(place.store) < 10 and time.monotonic() < deadline_s:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    num_done = num_journalled(place.store)
    assert 10 <= num_done < 40
    for number in range(num_done):
        (place.root / f"{number:02d}.jpg").unlink()  # whoever decoded them again would find nothing
    artifact = place.run({"shard_mib": 1})
    assert artifact.id == expected.id
    assert artifact.run_facts()["metrics"]["resumed"] == num_done
    artifact.verify()


def num_journalled(store: str) -> int:
    """Whole lines of all journals in the state of the only run."""
    texts = [path.read_bytes() for path in Path(store).glob("runs/*/state/shards/*.jsonl")]
    return sum(line.endswith(b"\n") and b"video_id" in line for text in texts for line in text.splitlines(keepends=True))


def test_media_and_store_in_a_bucket_give_the_same_artifact(place: Place, s3_url: str) -> None:
    for number in range(3):
        place.add(f"{number}.jpg", photo(number))
    place.add("gone.jpg", None)
    local = place.imported("local").run()
    bucket = open_store(f"{s3_url}/world")
    bucket.put("tables/videos.jsonl", (place.root / "videos.jsonl").read_bytes())
    for number in range(3):
        bucket.put(f"{number}.jpg", (place.root / f"{number}.jpg").read_bytes())
    place.store = f"{s3_url}/store"
    place.monkeypatch.setenv("REELSPACE_STORE", place.store)
    import_tables.run(f"{s3_url}/world", place.manifest("tables"), place.manifest("media"), "{}")
    arguments = (*place.arguments(TOLERANT)[:3], f"{s3_url}/world", json.dumps(TOLERANT))
    preprocess_media.run(*arguments)
    assert read_manifest_file(place.manifest("shards")).id == local.id


def test_an_object_store_that_is_away_is_a_temporary_error_and_no_bad_file(place: Place) -> None:
    for number in range(3):
        place.add(f"{number}.jpg", photo(number))
    place.imported()
    place.monkeypatch.setenv("REELSPACE_S3_ENDPOINT", "http://127.0.0.1:9")
    place.monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    place.monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    with pytest.raises(TemporaryError):
        preprocess_media.run(*place.arguments(TOLERANT)[:3], "s3://away/world", json.dumps(TOLERANT))


def test_samples_of_earlier_shards_are_taken_where_nothing_changed_and_the_shards_are_the_same(place: Place):
    for number in range(4):
        place.add(f"{number}.jpg", photo(number), caption=f"my photo {number}")
    earlier = place.imported().run()
    place.add("4.jpg", photo(4))
    (place.root / "1.jpg").write_bytes(photo(77))
    place.rows[2]["caption"] = "another caption"
    place.imported()
    known = place.run({**TOLERANT, "previous": earlier.id})
    # One new, one of another file, one of other words.
    assert known.run_facts()["metrics"]["known"] == 2
    fresh_store = place.imported("fresh")
    assert fresh_store.run().id == known.id


def test_samples_of_other_settings_are_decoded_again(place: Place):
    for number in range(2):
        place.add(f"{number}.jpg", photo(number))
    earlier = place.imported().run({**TOLERANT, "jpeg_quality": 50})
    found = place.run({**TOLERANT, "previous": earlier.id})
    assert found.run_facts()["metrics"]["known"] == 0
