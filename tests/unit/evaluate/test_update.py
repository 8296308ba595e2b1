"""What an update costs old topics and is worth to new ones, on vectors whose answers are known."""

from datetime import UTC, datetime, timedelta

import numpy as np

from reelspace.evaluate.topics import TopicTask, topic_task
from reelspace.evaluate.truth import WorkTruth
from reelspace.evaluate.update import UpdateTask, update_values

CUTOFF = datetime(2025, 2, 20, tzinfo=UTC)
# Topic 0: 12 works that trained, 3 that were held back; topic 1: 12 works of the new day, of which the last 2 did not train.
TOPIC_N = np.array([0] * 15 + [1] * 12)
CREATED_N = [CUTOFF - timedelta(days=1)] * 12 + [CUTOFF] * 3 + [CUTOFF + timedelta(days=5)] * 12
IS_NEW_N = np.arange(27) >= 15
TRAINED_N = (np.arange(27) < 12) | (IS_NEW_N & (np.arange(27) < 25))


def task() -> TopicTask:
    truth = WorkTruth(TOPIC_N, np.zeros(27, dtype=bool), TOPIC_N == 1)
    return topic_task(truth, CREATED_N, CUTOFF, 5, TRAINED_N)


def test_old_works_ask_again_and_new_works_ask_that_did_not_train() -> None:
    update = UpdateTask(task(), IS_NEW_N)
    assert update.old_rows_Q.tolist() == [12, 13, 14]
    assert update.new_rows_Q.tolist() == [25, 26]
    vectors_ND = np.eye(2, dtype=np.float32)[TOPIC_N]
    values = update_values(update, vectors_ND, vectors_ND[update.old_rows_Q])
    assert {name: found.tolist() for name, found in values.items()} == {
        "old_topics_p10_before": [1.0] * 3,
        "old_topics_p10": [1.0] * 3,
        "old_topics_p10_change": [0.0] * 3,
        "new_topics_p10": [1.0] * 2,
    }


def test_a_query_that_drifted_to_the_new_works_is_a_loss_of_its_own() -> None:
    update = UpdateTask(task(), IS_NEW_N)
    vectors_ND = np.eye(2, dtype=np.float32)[TOPIC_N]
    again_QD = vectors_ND[update.old_rows_Q].copy()
    again_QD[1] = [0, 1]
    values = update_values(update, vectors_ND, again_QD)
    assert values["old_topics_p10_before"].tolist() == [1.0, 1.0, 1.0]
    assert values["old_topics_p10_change"].tolist() == [0.0, -1.0, 0.0]


def test_new_works_that_lie_among_the_old_cost_the_old_and_are_not_found() -> None:
    update = UpdateTask(task(), IS_NEW_N)
    vectors_ND = np.zeros((27, 2), dtype=np.float32)
    vectors_ND[:, 0] = 1.0
    values = update_values(update, vectors_ND, vectors_ND[update.old_rows_Q])
    # Ties go by row, and the first rows are of topic 0.
    assert values["new_topics_p10"].tolist() == [0.0, 0.0]
