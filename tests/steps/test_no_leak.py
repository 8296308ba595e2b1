"""What the crowd says of works after the cut-off reaches neither the evaluation nor the training, byte for byte."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import torch

from reelspace.core.artifacts import Artifact, open_artifact, read_manifest_file
from reelspace.core.store import open_store
from reelspace.demo.generate import generate
from reelspace.demo.presets import CUTOFF, world_preset
from reelspace.media.dataset import ShardReader
from reelspace.model.inputs import video_inputs
from reelspace.model.settings import ModelSettings
from reelspace.model.tokenizer import Tokenizer
from reelspace.steps import import_tables, preprocess_media, preprocess_signals
from reelspace.train.data import load_data
from reelspace.train.settings import TrainSettings

NUM_WORKS = 80
TABLES = ("videos", "searches", "impressions", "clicks", "comments", "tag_judgements", "regions")
CROWD = ("impressions", "clicks", "comments", "tag_judgements")
MODEL = ModelSettings()
Tables = dict[str, pa.Table]
Bytes = dict[str, bytes]


@dataclass(frozen=True, slots=True)
class Inputs:
    """All that a model is shown, by name: in training, and in the evaluation of works after the cut-off."""

    training: Bytes
    evaluation: Bytes


@dataclass(frozen=True, slots=True)
class Platform:
    """A generated world and a store for the steps."""

    world: Path
    root: Path

    def tables(self) -> Tables:
        places = {name: self.world / "tables" / name for name in TABLES}
        return {
            name: pq.read_table(path if path.is_dir() else path.with_suffix(".parquet"), partitioning=None) for name, path in places.items()
        }

    def tags_of(self) -> dict[int, list[str]]:
        """The tags of the truth by work, in the order of its rows."""
        tags: dict[int, list[str]] = {}
        for row in pq.read_table(self.world / "truth" / "tag_uses.parquet").to_pylist():
            tags.setdefault(row["video_id"], []).append(row["tag"])
        return tags

    def inputs(self, name: str, tables: Tables, as_of: str | None) -> Inputs:
        """Run the steps from tables to what a model is shown."""
        place = self.root / name
        (place / "source" / "tables").mkdir(parents=True)
        (place / "source" / "media").symlink_to(self.world / "media")
        for table, rows in tables.items():
            pq.write_table(rows, place / "source" / "tables" / f"{table}.parquet")
        manifests = {kind: str(place / f"{kind}.json") for kind in ("tables", "media", "labels", "shards")}
        store = str(self.root / "store")
        signals = {"as_of": as_of, "searches": {"min_users": 2}}
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("REELSPACE_STORE", store)
            import_tables.run(str(place / "source"), manifests["tables"], manifests["media"], "{}")
            preprocess_signals.run(manifests["tables"], manifests["labels"], json.dumps(signals))
            media = json.dumps({"max_bad_ratio": 1.0, "pool": {"num_workers": 1}})
            preprocess_media.run(manifests["tables"], manifests["media"], manifests["shards"], str(place / "source"), media)
        made = {kind: open_artifact(open_store(store), read_manifest_file(manifests[kind]).id) for kind in ("labels", "shards")}
        return read_inputs(made["shards"], made["labels"].fetch(place / "labels"))


def read_inputs(shards: Artifact, labels: Path) -> Inputs:
    reader = ShardReader(shards)
    data = load_data(reader, labels, TrainSettings(train_until=CUTOFF), MODEL)
    assert len(data.ids_N) >= 30
    assert any(texts.queries for texts in data.texts_N)
    assert any(texts.comments for texts in data.texts_N)
    assert data.labels_NK.any()
    tokenizer = Tokenizer.train(data.corpus, 400, MODEL.text_length)
    late = [sample for sample in reader.read_all(reader.video_ids.tolist()) if sample.created_at >= CUTOFF]
    assert len(late) >= 10
    shown: Bytes = {"ids": json.dumps([sample.video_id for sample in late]).encode()}
    for number, tensor in enumerate(video_inputs(late, MODEL, tokenizer)):
        shown[f"argument {number}"] = tensor.numpy().tobytes()
    shown |= {f"text {sample.video_id}": sample.text.encode() for sample in late}
    return Inputs(training=dict(leaves("data", data)), evaluation=shown)


def leaves(name: str, value: Any) -> Iterator[tuple[str, bytes]]:
    """Every array and every plain value below a dataclass, with its path."""
    if is_dataclass(value):
        for field in fields(value):
            yield from leaves(f"{name}.{field.name}", getattr(value, field.name))
    elif isinstance(value, Mapping):
        for key in value:
            yield from leaves(f"{name}[{key!r}]", value[key])
    elif isinstance(value, tuple | list):
        yield f"len({name})", str(len(value)).encode()
        for number, item in enumerate(value):
            yield from leaves(f"{name}[{number}]", item)
    elif isinstance(value, torch.Tensor):
        yield from leaves(name, value.numpy())
    elif isinstance(value, np.ndarray):
        yield name, str((value.dtype, value.shape)).encode() + value.tobytes()
    else:
        yield name, repr(value).encode()


def late_ids(tables: Tables) -> list[int]:
    videos = tables["videos"]
    late = pc.greater_equal(videos["created_at"], pa.scalar(CUTOFF, videos["created_at"].type))
    return [int(video_id) for video_id in videos["video_id"].filter(late).to_pylist()]


def split_caption(caption: str, tags: list[str]) -> tuple[str, str]:
    """The words and the tail of tags behind them, found by the tags themselves and not by our parser."""
    starts = [caption.find(mark + tags[0]) for mark in ("#", " #")] if tags else []
    found = [start for start in starts if start >= 0]
    assert found or not tags, (caption, tags)
    start = min(found, default=len(caption))
    return caption[:start], caption[start:].strip()


def with_captions(tables: Tables, tail_of: Mapping[int, str], tags_of: Mapping[int, list[str]]) -> pa.Table:
    """The works with other tags: a late work's caption keeps its words and gets the given tail."""
    videos = tables["videos"]
    captions = []
    for video_id, caption in zip(videos["video_id"].to_pylist(), videos["caption"].to_pylist(), strict=True):
        words, _ = split_caption(caption, tags_of.get(video_id, []))
        captions.append(" ".join(part for part in (words, tail_of[video_id]) if part) if video_id in tail_of else caption)
    column = videos.schema.get_field_index("caption")
    return videos.set_column(column, videos.schema.field(column), pa.array(captions, videos.schema.field(column).type))


def without_the_crowd_of(late: list[int], tables: Tables, tags_of: Mapping[int, list[str]]) -> Tables:
    """Everything the crowd said of these works is gone; so are searches that showed nothing else."""
    about = pa.array(late, pa.int64())
    changed = {name: rows.filter(pc.invert(pc.is_in(rows["video_id"], about))) for name, rows in tables.items() if name in CROWD}
    searches = tables["searches"]
    shown, left = (set(part["impressions"]["search_id"].to_pylist()) for part in (tables, changed))
    keep = [
        (search not in shown or search in left) and reference not in set(late)
        for search, reference in zip(searches["search_id"].to_pylist(), searches["reference_video_id"].to_pylist(), strict=True)
    ]
    changed["searches"] = searches.filter(pa.array(keep))
    changed["videos"] = with_captions(tables, dict.fromkeys(late, ""), tags_of)
    return tables | changed


def shuffled_crowd_of(late: list[int], tables: Tables, tags_of: Mapping[int, list[str]]) -> Tables:
    """Everything the crowd said of these works is said of another one of them."""
    other_of = dict(zip(late, late[7:] + late[:7], strict=True))
    changed = {}
    for name in ("impressions", "clicks", "comments"):
        rows = tables[name]
        column = rows.schema.get_field_index("video_id")
        ids = [other_of.get(video_id, video_id) for video_id in rows["video_id"].to_pylist()]
        changed[name] = rows.set_column(column, rows.schema.field(column), pa.array(ids, pa.int64()))
    captions = dict(zip(tables["videos"]["video_id"].to_pylist(), tables["videos"]["caption"].to_pylist(), strict=True))
    tails = {other_of[video_id]: split_caption(captions[video_id], tags_of.get(video_id, []))[1] for video_id in late}
    changed["videos"] = with_captions(tables, tails, tags_of)
    judged = tables["tag_judgements"]
    changed["tag_judgements"] = judged.filter(pc.invert(pc.is_in(judged["video_id"], pa.array(late, pa.int64()))))
    return tables | changed


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Platform:
    root = tmp_path_factory.mktemp("leak")
    generate(world_preset("demo", seed=11, num_works=NUM_WORKS), root / "world")
    return Platform(root / "world", root)


@pytest.fixture(scope="module")
def changes(platform: Platform) -> dict[str, Tables]:
    tables, tags_of = platform.tables(), platform.tags_of()
    late = late_ids(tables)
    assert sum(bool(tags_of.get(video_id)) for video_id in late) >= 2
    changes = {change.__name__: change(late, tables, tags_of) for change in (without_the_crowd_of, shuffled_crowd_of)}
    for changed in changes.values():
        for name in ("videos", "impressions", "clicks", "comments"):
            assert not changed[name].equals(tables[name]), name
    assert len(changes["without_the_crowd_of"]["searches"]) < len(tables["searches"])
    return changes


@pytest.fixture(scope="module")
def original(platform: Platform) -> Inputs:
    return platform.inputs("original", platform.tables(), CUTOFF.isoformat())


def names_of_differences(one: Bytes, other: Bytes) -> list[str]:
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))


@pytest.mark.parametrize("change", ["without_the_crowd_of", "shuffled_crowd_of"])
def test_the_crowd_of_works_after_the_cutoff_changes_no_byte_of_any_input(
    platform: Platform, changes: dict[str, Tables], original: Inputs, change: str
) -> None:
    changed = platform.inputs(change, changes[change], CUTOFF.isoformat())
    assert names_of_differences(original.evaluation, changed.evaluation) == []
    assert names_of_differences(original.training, changed.training) == []


def test_without_a_cutoff_the_same_change_would_be_seen(platform: Platform, changes: dict[str, Tables]) -> None:
    whole = platform.inputs("whole", platform.tables(), None)
    changed = platform.inputs("whole changed", changes["without_the_crowd_of"], None)
    assert names_of_differences(whole.training, changed.training) != []


def test_what_an_author_writes_beside_the_tags_is_seen(platform: Platform, original: Inputs) -> None:
    tables, tags_of = platform.tables(), platform.tags_of()
    tails = dict.fromkeys(late_ids(tables), "quite other words")
    changed = platform.inputs("other words", tables | {"videos": with_captions(tables, tails, tags_of)}, CUTOFF.isoformat())
    assert names_of_differences(original.evaluation, changed.evaluation) != []
