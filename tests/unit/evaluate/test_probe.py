"""The probe on a generated world without media: embeddings that know the topic, or the background, or nothing."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from reelspace.cli.evaluate import app
from reelspace.core.errors import UserError
from reelspace.core.rng import rng
from reelspace.demo.generate import generate
from reelspace.demo.presets import ALL_PARTS, CUTOFF, world_preset
from reelspace.evaluate.probe import ProbeSettings, probe
from reelspace.evaluate.vectors import Embedding

SETTINGS = ProbeSettings(cutoff=CUTOFF, min_training_works=3)


@dataclass(frozen=True)
class World:
    root: Path
    works: list[dict[str, Any]]

    @property
    def ids(self) -> np.ndarray:
        return np.array([work["video_id"] for work in self.works])

    @property
    def late(self) -> list[int]:
        """Rows of the works after the cut-off, by the day that the truth gives."""
        return [row for row, work in enumerate(self.works) if work["day"] >= 50]

    def one_hot(self, column: str) -> np.ndarray:
        values, rows = np.unique([work[column] for work in self.works], return_inverse=True)
        return np.eye(len(values), dtype=np.float32)[rows]

    def embedding(self, vectors: np.ndarray) -> Embedding:
        return Embedding(self.ids, (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    root = tmp_path_factory.mktemp("probe") / "world"
    settings = world_preset("demo", seed=4, num_works=400)
    generate(settings.model_copy(update={"parts": ALL_PARTS - {"media"}}), root)
    works = pq.read_table(root / "truth" / "works.parquet").to_pylist()
    return World(root, [work for work in works if work["decodable"]])


def test_an_embedding_of_the_topic_is_perfect_and_one_of_the_background_fails_the_twins(world: World) -> None:
    by_topic = probe(world.embedding(world.one_hot("topic")), world.root, SETTINGS)
    assert by_topic["num_works"] == len(world.works)
    assert by_topic["num_queries"] == len(world.late)
    assert by_topic["num_twins"] == sum(world.works[row]["twin_of"] is not None for row in world.late) > 5
    assert by_topic["video_to_topic_p10"] == by_topic["background_swap_share"] == by_topic["video_to_topic_ndcg10"] == 1.0
    assert by_topic["video_to_topic_p10_interval"] == (1.0, 1.0)
    assert by_topic["video_graded_ndcg10"] < 1.0
    by_background = probe(world.embedding(world.one_hot("background")), world.root, SETTINGS)
    low, high = by_background["background_swap_share_interval"]
    assert low <= by_background["background_swap_share"] <= high < 0.5


def test_precisions_equal_a_loop_over_the_truth(world: World) -> None:
    vectors = np.concatenate([world.one_hot("topic"), 0.6 * world.one_hot("background")], axis=1)
    vectors = vectors + 0.3 * rng(8, "noise").standard_normal(vectors.shape)
    embedding = world.embedding(vectors)
    found = probe(embedding, world.root, SETTINGS)
    topics = [work["topic"] for work in world.works]
    training = {topic: sum(t == topic and w["day"] < 50 for t, w in zip(topics, world.works, strict=True)) for topic in set(topics)}
    tagged = set(pq.read_table(world.root / "truth" / "tag_uses.parquet")["video_id"].to_pylist())
    shares = {}
    for row in world.late:
        order = np.argsort(-(embedding.vectors_ND @ embedding.vectors_ND[row]), kind="stable")
        shares[row] = np.mean([topics[other] == topics[row] for other in order if other != row][:10])
    trained = [row for row in world.late if training[topics[row]] >= 3]
    assert 0.2 < found["video_to_topic_p10"] < 0.999
    assert found["video_to_topic_p10"] == pytest.approx(np.mean([shares[row] for row in trained]))
    assert found["background_swap_share"] == pytest.approx(
        np.mean([shares[r] for r in world.late if world.works[r]["twin_of"] is not None])
    )
    silent = [row for row in trained if world.works[row]["kind"] == "image" or world.works[row]["sound"] == "none"]
    untagged = [row for row in trained if world.works[row]["video_id"] not in tagged]
    slices = found["slices"]
    assert (slices["no_sound_count"], slices["no_hashtag_count"]) == (len(silent), len(untagged))
    assert slices["no_sound_p10"] == pytest.approx(np.mean([shares[row] for row in silent]))
    assert slices["no_hashtag_p10"] == pytest.approx(np.mean([shares[row] for row in untagged]))


def test_works_of_another_world_and_a_cutoff_behind_the_end_are_refused(world: World) -> None:
    embedding = world.embedding(world.one_hot("topic"))
    strange = Embedding(embedding.video_ids_N + 10**12, embedding.vectors_ND)
    with pytest.raises(UserError, match="is it the same world"):
        probe(strange, world.root, SETTINGS)
    late = ProbeSettings(cutoff=CUTOFF.replace(year=2030))
    with pytest.raises(UserError, match="expected works uploaded from 2030"):
        probe(embedding, world.root, late)


def test_the_command_measures_files_of_third_parties(world: World, tmp_path: Path) -> None:
    vectors = 5 * world.one_hot("topic")
    np.save(tmp_path / "clip.npy", vectors)
    (tmp_path / "ids.txt").write_text("\n".join(map(str, world.ids)))
    pq.write_table(pa.table({"video_id": world.ids, "clip": vectors.tolist(), "worse": (-vectors).tolist()}), tmp_path / "clip.parquet")
    common = ["--truth", str(world.root), "--cutoff", "2025-02-20", "--set", "min_training_works=3"]
    expected = json.loads(json.dumps(probe(world.embedding(vectors), world.root, SETTINGS)))
    for files in (("clip.npy", "--ids", str(tmp_path / "ids.txt")), ("clip.parquet", "--column", "clip")):
        name, *options = files
        result = CliRunner().invoke(app, ["probe", "--vectors", str(tmp_path / name), *options, *common])
        assert result.exit_code == 0, result.output
        assert json.loads(result.stdout) == expected
