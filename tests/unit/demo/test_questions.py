"""Answers of the servers are held against the offline ones rank by rank, and only ties may change places."""

import numpy as np

from reelspace.demo.questions import Answer, equal_answers, offline_answers
from reelspace.evaluate.vectors import Vectors

OFFLINE = [Answer("ramen", [7, 3, 9], [0.9, 0.8, 0.8])]


def test_equal_answers_hold_and_tied_hits_may_change_places():
    assert equal_answers([Answer("ramen", [7, 3, 9], [0.90000001, 0.8, 0.8])], OFFLINE)
    assert equal_answers([Answer("ramen", [7, 9, 3], [0.9, 0.8, 0.8])], OFFLINE)


def test_a_hit_tied_with_the_last_one_may_be_another():
    assert equal_answers([Answer("ramen", [7, 3, 4], [0.9, 0.8, 0.8])], OFFLINE)


def test_another_hit_another_score_or_a_missing_hit_is_a_difference():
    assert not equal_answers([Answer("ramen", [8, 3, 9], [0.9, 0.8, 0.8])], OFFLINE)
    assert not equal_answers([Answer("ramen", [7, 3, 9], [0.9, 0.79, 0.8])], OFFLINE)
    assert not equal_answers([Answer("ramen", [7, 3], [0.9, 0.8])], OFFLINE)


def test_offline_answers_leave_the_asking_work_out():
    vectors = Vectors(np.array([10, 11, 12]), [], {"vector": np.eye(3, dtype=np.float32)})
    answer = offline_answers([11], np.eye(3, dtype=np.float32)[1:2], vectors, np.array([1]))[0]
    assert answer.ids == [10, 12]
