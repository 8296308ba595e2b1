from datetime import UTC, datetime, timedelta

import numpy as np

from reelspace.core.rng import rng
from reelspace.evaluate.prefixes import prefix_ND, prefix_values
from reelspace.evaluate.topics import topic_task
from reelspace.evaluate.truth import WorkTruth

CUTOFF = datetime(2025, 2, 20, tzinfo=UTC)


def test_a_prefix_has_length_one_again_and_keeps_its_direction():
    vectors = rng(1, "vectors").standard_normal((20, 8)).astype(np.float32)
    cut = prefix_ND(vectors, 3)
    assert np.allclose(np.linalg.norm(cut, axis=1), 1, atol=1e-6)
    assert np.allclose(cut * np.linalg.norm(vectors[:, :3], axis=1, keepdims=True), vectors[:, :3], atol=1e-6)
    assert not prefix_ND(np.array([[0.0, 1.0]], dtype=np.float32), 1).any()


def test_precision_of_a_prefix_is_that_of_the_numbers_it_keeps():
    topics = np.tile([0, 1], 30)
    created = [CUTOFF + timedelta(days=1 if row >= 40 else -1) for row in range(60)]
    task = topic_task(WorkTruth(topics, np.zeros(60, dtype=bool), np.zeros(60, dtype=bool)), created, CUTOFF, 1)
    # The topic is in the last two numbers; the first four say nothing.
    vectors = np.concatenate([rng(2, "noise").standard_normal((60, 4)) * 0.1, np.eye(2)[topics]], axis=1).astype(np.float32)
    values = prefix_values(task, vectors, (4, 5, 6, 99))
    assert list(values) == ["video_to_topic_p10_d4", "video_to_topic_p10_d5"]
    assert values["video_to_topic_p10_d5"].mean() > 0.95
    assert 0.3 < values["video_to_topic_p10_d4"].mean() < 0.7
