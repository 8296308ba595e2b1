"""The labelled table of a fine-tuning: classes, splits, and every table that cannot train is refused with what to do."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reelspace.core.artifacts import open_artifact
from reelspace.core.errors import UserError
from reelspace.core.store import open_store
from reelspace.media.dataset import ShardReader
from reelspace.steps.finetune_table import Labelled, choose, read_labelled
from reelspace.train.finetune_settings import FinetuneSettings
from tests.unit.train.worlds import FIRST_ID, NUM_WORKS, World, write_world

IDS = range(FIRST_ID, FIRST_ID + NUM_WORKS)
SETTINGS = FinetuneSettings(min_works=2, held_out=0.0)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return write_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def reader(world: World) -> ShardReader:
    return ShardReader(open_artifact(open_store(world.store), world.shards))


def table(labels: Mapping[int, Sequence[str]], split: Mapping[int, str] | None = None, *, has_many: bool = False) -> Labelled:
    return Labelled({video_id: dict.fromkeys(texts, 1.0) for video_id, texts in labels.items()}, split or {}, has_many, {})


def by_topic(num_topics: int = 2) -> dict[int, list[str]]:
    return {video_id: [f"topic {video_id % num_topics}"] for video_id in IDS}


def write(directory: Path, rows: list[dict[str, object]], kind: pa.DataType) -> Path:
    schema = pa.schema({"video_id": pa.int64(), "label": kind, "split": pa.large_string()})
    directory.mkdir(exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema), directory / "labelled.parquet")
    return directory


def test_classes_are_columns_in_the_order_of_their_names(reader: ShardReader):
    chosen = choose(table(by_topic(3)), reader, SETTINGS, [])
    assert chosen.task == "single_label"
    assert chosen.classes == ((0, "topic 0"), (1, "topic 1"), (2, "topic 2"))
    assert np.array_equal(chosen.labels_NK.argmax(axis=1), chosen.ids_N % 3)


def test_the_held_out_works_are_the_same_whatever_the_seed_and_the_other_works(reader: ShardReader):
    held = []
    for seed, ids in ((0, list(IDS)), (7, list(IDS)[:15])):
        settings = FinetuneSettings(min_works=2, held_out=0.4, seed=seed)
        chosen = choose(table({video_id: [f"topic {video_id % 2}"] for video_id in ids}), reader, settings, [])
        held.append({int(video_id) for video_id in chosen.ids_N[chosen.is_held_out_N]})
    assert 3 <= len(held[0]) <= 13
    assert held[1] == {video_id for video_id in held[0] if video_id in list(IDS)[:15]}


def test_a_split_of_the_table_counts_before_time_and_hash(reader: ShardReader):
    split = {FIRST_ID: "held_out", FIRST_ID + 19: "train"}
    settings = FinetuneSettings(min_works=2, held_out=0.5, train_until=datetime(2025, 1, 1, tzinfo=UTC) + timedelta(days=15))
    chosen = choose(table(by_topic(), split), reader, settings, [])
    held = set(chosen.ids_N[chosen.is_held_out_N].tolist())
    assert held == {FIRST_ID, *range(FIRST_ID + 15, FIRST_ID + 19)}


def test_classes_of_too_few_training_works_are_left_out_and_counted(reader: ShardReader):
    labels = {**by_topic(), FIRST_ID: ["rare"], FIRST_ID + 1: ["rare"], FIRST_ID + 2: ["rarest"]}
    # One of the two rare works is held out, so that only one trains it.
    chosen = choose(table(labels, {FIRST_ID: "held_out"}), reader, SETTINGS, [])
    assert [text for _, text in chosen.classes] == ["topic 0", "topic 1"]
    assert chosen.facts == {"works_unknown": 0, "classes_left_out": 2, "works_left_out": 3}
    assert len(chosen.ids_N) == NUM_WORKS - 3


def test_a_work_without_a_trained_class_is_a_negative_of_a_multi_label_task(reader: ShardReader):
    labels = {**by_topic(), FIRST_ID: [], FIRST_ID + 1: ["rare"]}
    chosen = choose(table(labels, has_many=True), reader, SETTINGS, [])
    assert chosen.task == "multi_label"
    assert len(chosen.ids_N) == NUM_WORKS
    assert not chosen.labels_NK[:2].any()


def test_known_labels_are_not_trained(reader: ShardReader):
    chosen = choose(table(by_topic(), has_many=True), reader, SETTINGS, ["topic 0"])
    assert [text for _, text in chosen.classes] == ["topic 1"]


def test_unknown_works_are_counted_up_to_their_share(reader: ShardReader):
    labels = {**by_topic(), 7: ["topic 0"], 8: ["topic 1"]}
    assert choose(table(labels), reader, SETTINGS, []).facts["works_unknown"] == 2
    with pytest.raises(UserError, match=r"2 of the table's 22 works are not in the shards \(video_id 7, 8\).*max_unknown_share"):
        choose(table(labels), reader, FinetuneSettings(min_works=2, max_unknown_share=0.05), [])
    with pytest.raises(UserError, match="no work of the table is in the shards"):
        choose(table({7: ["a"]}), reader, FinetuneSettings(max_unknown_share=1.0), [])


@pytest.mark.parametrize(
    ("labels", "has_many", "change", "says"),
    [
        ({}, False, {}, "no labelled work"),
        ({video_id: ["cat"] for video_id in IDS}, False, {}, "expected at least 2 classes .* got 1 of the table's 1"),
        ({video_id: ["cat"] for video_id in IDS}, True, {}, "every training work has the label cat"),
        (by_topic(20), False, {}, "expected at least 2 classes with 2 training works or more .* got 0 of the table's 20"),
        ({**by_topic(), FIRST_ID: ["cat", "dog"]}, False, {}, "1 works have not exactly one label .*100 has cat, dog.*multi_label"),
        ({**by_topic(), FIRST_ID: []}, True, {"task": "single_label"}, r"work 100 has none"),
        (by_topic(), False, {"train_until": datetime(2024, 1, 1, tzinfo=UTC)}, "got 0 of the table's 2: label more works, or lower"),
    ],
)
def test_a_table_that_cannot_train_is_refused(
    reader: ShardReader, labels: dict[int, list[str]], has_many: bool, change: dict[str, object], says: str
):
    with pytest.raises(UserError, match=says):
        choose(table(labels, has_many=has_many), reader, SETTINGS.model_copy(update=change), [])


def test_several_rows_of_a_work_are_its_labels(tmp_path: Path):
    rows = [{"video_id": 1, "label": "a", "split": None}, {"video_id": 1, "label": "b", "split": "train"}]
    found = read_labelled(write(tmp_path, rows, pa.large_string()), "table")
    assert (dict(found.labels), dict(found.split), found.has_many) == ({1: {"a": 1.0, "b": 1.0}}, {1: "train"}, False)


def test_rows_that_contradict_each_other_are_refused(tmp_path: Path):
    rows = [{"video_id": 1, "label": "a", "split": "held_out"}, {"video_id": 1, "label": "b", "split": "train"}]
    with pytest.raises(UserError, match="work 1 is both train and held_out"):
        read_labelled(write(tmp_path, rows, pa.large_string()), "table")
    with pytest.raises(UserError, match="work 1 has an empty label"):
        read_labelled(write(tmp_path, [{"video_id": 1, "label": ["a", ""], "split": None}], pa.list_(pa.large_string())), "table")


def test_a_labels_artifact_is_read_with_its_numbers_and_weights(world: World):
    found = read_labelled(world.labels_directory, "labels")
    assert found.has_many
    assert found.ids == {"camera": 0, "ramen": 1, "cat": 2, "drone": 3}
    assert found.labels[FIRST_ID + 1] == {"ramen": 0.8}
    assert FIRST_ID not in found.labels


def test_an_artifact_of_another_kind_is_refused(world: World):
    with pytest.raises(UserError, match="table is an artifact of kind vectors, expected table"):
        read_labelled(world.labels_directory, "vectors")
