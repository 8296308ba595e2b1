from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from reelspace.evaluate.slices import SliceSettings, slice_figures, slice_masks
from reelspace.evaluate.topics import topic_task
from reelspace.evaluate.truth import WorkFacts, WorkTruth

CUTOFF = datetime(2025, 2, 20, tzinfo=UTC)
TRAINING = {0: 9, 1: 5, 2: 7, 3: 6, 4: 1}
DAYS_AFTER = (0, 4, 8)


def world():
    """Five topics with 9, 5, 7, 6 and 1 training works, and three queries each, uploaded 0, 4 and 8 days after the cut-off."""
    topics, created = [], []
    for topic, count in TRAINING.items():
        topics += [topic] * count
        created += [CUTOFF - timedelta(days=2)] * count
    for topic in TRAINING:
        topics += [topic] * 3
        created += [CUTOFF + timedelta(days=days) for days in DAYS_AFTER]
    num = len(topics)
    truth = WorkTruth(np.array(topics), np.zeros(num, dtype=bool), np.zeros(num, dtype=bool))
    tagged, sounding = np.arange(num) % 2 == 0, np.arange(num) % 3 == 0
    return topic_task(truth, created, CUTOFF, 5), WorkFacts(np.zeros(num), np.zeros(num), tagged, sounding), created


def members(settings):
    task, facts, created = world()
    masks = slice_masks(task, facts, created, CUTOFF, settings)
    return task, {name: set(task.query_rows_Q[mask].tolist()) for name, mask in masks.items()}


def test_each_slice_holds_the_queries_of_trained_topics_with_its_property():
    task, found = members(SliceSettings(fresh_days=4.5, tail_share=0.25))
    asked = {row for row in task.query_rows_Q.tolist() if task.truth.topic_N[row] != 4}
    assert len(asked) == 12
    assert found["fresh"] == {row for row in asked if (row - sum(TRAINING.values())) % 3 in (1, 2)}
    assert found["tail"] == {row for row in asked if task.truth.topic_N[row] == 1}
    assert found["no_hashtag"] == {row for row in asked if row % 2}
    assert found["no_sound"] == {row for row in asked if row % 3}


@pytest.mark.parametrize(("share", "topics"), [(0.5, {1, 3}), (0.75, {1, 3, 2}), (1.0, {0, 1, 2, 3})])
def test_the_tail_is_of_the_topics_with_the_fewest_training_works(share, topics):
    task, found = members(SliceSettings(tail_share=share))
    assert {int(task.truth.topic_N[row]) for row in found["tail"]} == topics


def test_a_slice_has_its_mean_interval_and_count():
    masks = {"some": np.array([True, True, False]), "empty": np.zeros(3, dtype=bool)}
    figures = slice_figures(np.array([0.5, 1.0, 0.0]), masks, 0)
    assert (figures["some_p10"], figures["some_count"]) == (0.75, 2)
    low, high = figures["some_p10_interval"]
    assert (low, high) == (0.5, 1.0)
    assert (figures["empty_p10"], figures["empty_p10_interval"], figures["empty_count"]) == (None, None, 0)
