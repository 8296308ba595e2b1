"""The truth and its ceilings."""

from pathlib import Path

import numpy as np
import orjson
import pyarrow.parquet as pq
import pytest

from reelspace.demo.ceilings import ceilings
from reelspace.demo.hashtags import tag_uses
from reelspace.demo.latents import World
from reelspace.demo.truth import relevance


def test_relevance_is_graded_and_symmetric() -> None:
    assert relevance(2, 1, 2, 1) == 3
    assert relevance(2, 1, 2, 0) == 2
    assert relevance(2, 1, 3, 1) == relevance(3, 1, 2, 1) == 1
    assert relevance(2, 1, 4, 1) == 0


def test_the_video_ceiling_is_what_an_oracle_ranking_reaches(demo_world: World) -> None:
    shown = [work for work in demo_world.works if work.broken is None]
    topics = np.array([work.topic for work in shown])
    late = np.array([work.is_late for work in shown])
    scores = []
    for row in np.flatnonzero(late):
        order = np.argsort(-(topics == topics[row]).astype(float), kind="stable")
        scores.append(np.mean(topics[order[order != row][:10]] == topics[row]))
    teacher = ceilings(demo_world, tag_uses(demo_world))["teacher"]
    assert isinstance(teacher, dict)
    assert teacher["video_to_topic_p10_all"] == pytest.approx(np.mean(scores))


def test_ceilings_say_how_relevant_raw_hashtags_are(demo_world: World) -> None:
    uses = tag_uses(demo_world)
    hashtags = ceilings(demo_world, uses)["hashtags"]
    assert isinstance(hashtags, dict)
    assert hashtags["precision_raw"] == pytest.approx(np.mean([use.relevant for group in uses.values() for use in group]))
    assert hashtags["precision_raw"] < hashtags["precision_clean_by_spelling"] <= 1


def test_truth_tells_of_every_work_and_every_use(small_world_directory: Path) -> None:
    truth = small_world_directory / "truth"
    works = pq.read_table(truth / "works.parquet")
    assert works.num_rows == 120
    assert {
        "video_id",
        "topic",
        "topic_name",
        "area",
        "newborn",
        "subtopic",
        "style",
        "energy",
        "mood",
        "quality",
        "background",
        "composition",
    } <= set(works.column_names)
    captions = {
        row["video_id"]: row["caption"]
        for path in small_world_directory.glob("tables/videos/*/part.parquet")
        for row in pq.read_table(path, partitioning=None).to_pylist()
    }
    uses = pq.read_table(truth / "tag_uses.parquet").to_pylist()
    assert all(f"#{use['tag']}" in captions[use["video_id"]] for use in uses)
    assert sum(caption.count("#") > 0 for caption in captions.values()) == len({use["video_id"] for use in uses})
    assert orjson.loads((truth / "ceilings.json").read_bytes())["media"] == {"quarantined": 3}


def test_judgements_are_wrong_in_one_of_twenty(small_world_directory: Path) -> None:
    truth = {
        (use["video_id"], use["tag"]): use["relevant"]
        for use in pq.read_table(small_world_directory / "truth" / "tag_uses.parquet").to_pylist()
    }
    judged = pq.read_table(small_world_directory / "tables" / "tag_judgements.parquet").to_pylist()
    assert judged
    wrong = [row["relevant"] != truth[row["video_id"], row["tag"]] for row in judged]
    assert np.mean(wrong) < 0.15
