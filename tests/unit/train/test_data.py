"""Training data: works joined with the crowd's texts and labels by id."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from reelspace.core.errors import UserError
from reelspace.media.sample import Sample
from reelspace.train.data import load_data
from reelspace.train.settings import TrainSettings
from tests.unit.train.builders import MODEL

EVIDENCE = {7: {"tags": {"a": 0.5}, "queries": {}}, 8: {"tags": {"b": 0.5}, "queries": {}}, 9: {"tags": {}, "queries": {"c": 2}}}
NOON = datetime(2025, 1, 1, 12, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Shelf:
    """Samples in memory, read like shards."""

    samples: list[Sample]

    id = "of the shelf"

    @property
    def video_ids(self) -> NDArray[np.int64]:
        return np.array([sample.video_id for sample in self.samples])

    @property
    def shard_of_row(self) -> NDArray[np.int64]:
        return np.arange(len(self.samples)) // 2

    @property
    def index(self) -> pa.Table:
        return pa.table({"created_at": [sample.created_at for sample in self.samples], "text": [sample.text for sample in self.samples]})

    def reading(self, cache: object, num_threads: int) -> "Shelf":
        return self

    def read_all(self, video_ids: list[int]) -> list[Sample]:
        return [sample for sample in self.samples if sample.video_id in video_ids]


@pytest.fixture
def shelf() -> Shelf:
    """Works 1 to 5, one a day; work 3 is a still image without sound."""
    draw = np.random.default_rng(0)
    samples = []
    for video_id in range(1, 6):
        num_frames = 1 if video_id == 3 else 4
        frames = draw.integers(0, 256, (num_frames, 32, 32, 3), dtype=np.uint8)
        audio = None if video_id == 3 else draw.integers(-9_000, 9_000, 9_000).astype(np.int16)
        samples.append(
            Sample(video_id, frames, audio, f"caption {video_id}", NOON + timedelta(days=video_id), "image" if video_id == 3 else "video")
        )
    return Shelf(samples)


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    """Label 7 on works 1, 2 and 5; label 8 on work 1 alone; label 9 on works 2 and 3."""
    tables = {
        "vocabulary": [{"label_id": number, "text": f"label {number}"} for number in (7, 8, 9)],
        "video_labels": [
            {"video_id": video_id, "label_id": label_id, "weight": 0.5, "evidence": json.dumps(EVIDENCE[label_id])}
            for video_id, label_id in ((1, 7), (2, 7), (5, 7), (1, 8), (2, 9), (3, 9))
        ],
        "propensities": [
            {"label_id": number, "propensity": 0.5, "num_both": 0, "num_tags": 1, "num_queries": 1, "method": "frequency"}
            for number in (7, 8, 9)
        ],
        "missing": [{"video_id": number} for number in range(1, 6)],
        "graph": [{"i": 7, "j": 9, "count": 1, "p_ij": 0.33}, {"i": 9, "j": 7, "count": 1, "p_ij": 0.5}],
        "weights": [{"label_id": 7, "weight": 0.8}, {"label_id": 8, "weight": 2.0}, {"label_id": 9, "weight": 1.4}],
        "texts": [{"video_id": 2, "caption": "caption 2", "comments": ["nice"], "queries": ["best thing", "thing"]}],
    }
    for name, rows in tables.items():
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / f"{name}.parquet")
    return tmp_path


def test_labels_are_weighed_by_certainty_and_rarity_and_lone_ones_left_out(shelf: Shelf, labels: Path) -> None:
    data = load_data(shelf, labels, TrainSettings(), MODEL)
    assert data.label_names == ((7, "label 7"), (9, "label 9"))
    np.testing.assert_allclose(data.labels_NK, [[0.4, 0], [0.4, 0.7], [0, 0.7], [0, 0], [0.4, 0]])
    assert data.texts_N[1].queries == ("best thing", "thing")
    assert data.texts_N[0].queries == ()
    assert set(data.corpus) == {*(f"caption {number}" for number in range(1, 6)), "best thing", "thing", "nice"}


def test_works_after_the_cut_off_do_not_train(shelf: Shelf, labels: Path) -> None:
    data = load_data(shelf, labels, TrainSettings(train_until=NOON + timedelta(days=4)), MODEL)
    assert data.ids_N.tolist() == [1, 2, 3]
    assert [text for text in data.corpus if "4" in text or "5" in text] == []


def test_without_the_crowd_only_captions_are_left(shelf: Shelf, labels: Path) -> None:
    data = load_data(shelf, labels, TrainSettings(crowd=()), MODEL)
    assert data.labels_NK.shape == (5, 0)
    assert data.corpus == [f"caption {number}" for number in range(1, 6)]


def test_of_some_signals_only_theirs_are_read(shelf: Shelf, labels: Path) -> None:
    tags = load_data(shelf, labels, TrainSettings(crowd=("hashtags",), weigh_labels=False), MODEL)
    assert tags.label_names == ((7, "label 7"),)
    np.testing.assert_allclose(tags.labels_NK, [[0.5], [0.5], [0], [0], [0.5]])
    assert tags.texts_N[1].queries == tags.texts_N[1].comments == ()
    queries = load_data(shelf, labels, TrainSettings(crowd=("queries",)), MODEL)
    assert queries.label_names == ((9, "label 9"),)
    assert (queries.texts_N[1].queries, queries.texts_N[1].comments) == (("best thing", "thing"), ())
    comments = load_data(shelf, labels, TrainSettings(crowd=("comments",)), MODEL)
    assert comments.label_names == ()
    assert comments.texts_N[1].comments == ("nice",)


def test_the_graph_is_between_columns_and_an_absence_counts_by_its_chance_to_be_true(shelf: Shelf, labels: Path) -> None:
    facts = load_data(shelf, labels, TrainSettings(), MODEL).label_facts
    assert facts is not None
    assert list(zip(facts.graph.i_G.tolist(), facts.graph.j_G.tolist(), strict=True)) == [(0, 1), (1, 0)]
    # 2 of 5 works carry each label, which is half of those it fits: 4 of 5 fit, so of the 3 others 2 fit unseen.
    np.testing.assert_allclose(facts.negative_weights_K, [1 / 3, 1 / 3], atol=1e-4)


def test_a_still_image_has_one_frame_and_no_sound(shelf: Shelf, labels: Path) -> None:
    data = load_data(shelf, labels, TrainSettings(), MODEL)
    media = data.media.read(np.arange(5))
    assert media.num_frames_B.tolist() == [2, 2, 1, 2, 2]
    assert media.has_audio_B.tolist() == [True, True, False, True, True]


@pytest.mark.parametrize("num", [0, 1])
def test_one_work_is_too_few(shelf: Shelf, labels: Path, num: int) -> None:
    with pytest.raises(UserError, match=f"at least 2 works uploaded before 2025-01-0.* got {num}"):
        load_data(shelf, labels, TrainSettings(train_until=NOON + timedelta(days=num + 1)), MODEL)
    with pytest.raises(UserError, match=f"at least 2 works in the shards, got {num}"):
        load_data(Shelf(shelf.samples[:num]), labels, TrainSettings(), MODEL)
