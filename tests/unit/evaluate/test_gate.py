import pytest

from reelspace.core.errors import SettingError
from reelspace.evaluate.gate import gate_rows

FIGURES = {"teacher": {"video_to_topic_p10": 0.7, "text_to_topic_p10_seen": None}}


def test_gate_passes_at_the_threshold_and_fails_below():
    assert gate_rows(FIGURES, {"teacher.video_to_topic_p10": 0.7})[0].passed
    assert not gate_rows(FIGURES, {"teacher.video_to_topic_p10": 0.71})[0].passed


def test_a_figure_that_was_not_measured_does_not_pass():
    assert not gate_rows(FIGURES, {"teacher.text_to_topic_p10_seen": 0.0})[0].passed


def test_a_figure_that_is_no_number_and_a_ratio_without_a_baseline_do_not_pass():
    figures = {"student": {"video_to_topic_p10": float("nan"), "cross_space_p10_ratio": None}}
    rows = gate_rows(figures, {"student.video_to_topic_p10": 0.0, "student.cross_space_p10_ratio": 0.0})
    assert [row.passed for row in rows] == [False, False]


def test_a_threshold_for_an_unknown_figure_is_refused_with_the_known_ones():
    with pytest.raises(SettingError, match=r"teacher\.video_to_topic_p01.*teacher\.video_to_topic_p10"):
        gate_rows(FIGURES, {"teacher.video_to_topic_p01": 0.5})


def test_a_threshold_for_an_interval_is_refused():
    figures = {"teacher": {"video_to_topic_p10": 0.7, "video_to_topic_p10_interval": (0.6, 0.8)}}
    with pytest.raises(SettingError, match=r"no figure 'teacher\.video_to_topic_p10_interval'"):
        gate_rows(figures, {"teacher.video_to_topic_p10_interval": 0.5})
    assert gate_rows(figures, {"teacher.video_to_topic_p10": 0.5})[0].passed
