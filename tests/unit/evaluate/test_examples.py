from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from reelspace.core.rng import rng
from reelspace.evaluate.examples import confusion, examples
from reelspace.evaluate.topics import topic_task, video_rows_QK
from reelspace.evaluate.truth import WorkTruth

CUTOFF = datetime(2025, 2, 20, tzinfo=UTC)
TOPICS = np.array([3, 5, 9])[np.arange(60) % 3]
TOPICS[TOPICS == 9] = np.where(np.arange(20) < 14, 9, 5)
IDS = np.arange(60) + 500


@pytest.fixture
def task():
    created = [CUTOFF + timedelta(days=1 if row >= 36 else -1) for row in range(60)]
    return topic_task(WorkTruth(TOPICS, np.zeros(60, dtype=bool), np.zeros(60, dtype=bool)), created, CUTOFF, 14)


@pytest.fixture
def vectors():
    drawn = np.eye(10)[TOPICS] + 0.5 * rng(3, "noise").standard_normal((60, 10))
    return (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)


def test_confusion_counts_the_topics_of_hits_by_the_topic_of_their_query(task, vectors):
    rows = video_rows_QK(task, vectors, vectors)
    found = confusion(task, rows)
    assert found.topics_T.tolist() == [3, 5, 9]
    for asking, topic in enumerate(found.topics_T):
        hits = [TOPICS[hit] for query, row in enumerate(task.query_rows_Q) if TOPICS[row] == topic for hit in rows[query]]
        shares = [hits.count(other) / len(hits) for other in found.topics_T]
        assert found.share_TT[asking] == pytest.approx(shares)


def test_a_topic_that_nobody_asks_has_no_row_of_shares(task, vectors):
    rows = video_rows_QK(task, vectors, vectors)
    keep = task.topic_Q != 5
    less = type(task)(task.truth, task.query_rows_Q[keep], task.trained_topics)
    found = confusion(less, rows[keep])
    assert np.isnan(found.share_TT[1]).all()
    assert np.allclose(found.share_TT[[0, 2]].sum(axis=1), 1)


def test_examples_are_right_by_topic_and_hold_the_worst_queries(task, vectors):
    shown = examples(task, IDS, vectors, 6, seed=1)
    assert len({example.video_id for example in shown}) == 6
    precisions = {}
    for query, row in enumerate(task.query_rows_Q):
        hits = video_rows_QK(task, vectors, vectors)[query]
        precisions[int(IDS[row])] = sum(TOPICS[hit] == TOPICS[row] for hit in hits) / 10
    for example in shown:
        assert len(example.hits) == 10
        assert example.video_id not in {hit.video_id for hit in example.hits}
        assert example.precision == pytest.approx(precisions[example.video_id])
        assert [hit.is_right for hit in example.hits] == [TOPICS[hit.video_id - 500] == example.topic for hit in example.hits]
        assert [hit.score for hit in example.hits] == sorted((hit.score for hit in example.hits), reverse=True)
    drawn = {example.video_id for example in shown[:3]}
    rest = sorted(value for video_id, value in precisions.items() if video_id not in drawn)
    assert [example.precision for example in shown[3:]] == pytest.approx(rest[:3])


def test_another_seed_draws_other_examples(task, vectors):
    drawn = [{example.video_id for example in examples(task, IDS, vectors, 6, seed)[:3]} for seed in range(4)]
    assert len({frozenset(ids) for ids in drawn}) > 1
    assert examples(task, IDS, vectors, 6, 0) == examples(task, IDS, vectors, 6, 0)
    assert examples(task, IDS, vectors, 0, 0) == ()
    assert len(examples(task, IDS, vectors, 1000, 0)) == len(task.query_rows_Q)
