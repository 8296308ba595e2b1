"""Words and phrases."""

import os
import subprocess
import sys
from pathlib import Path

from reelspace.signals.phrases import Phrases, content_runs
from reelspace.signals.segmentation import Segmenter


def test_chinese_is_cut_by_dictionary_and_known_words_stay_whole() -> None:
    assert Segmenter().words("蛋糕教程怎么选 best camera don't") == ("蛋糕", "教程", "怎么", "选", "best", "camera", "don't")
    assert "玄凤鹦鹉" in Segmenter(["玄凤鹦鹉"]).words("我的玄凤鹦鹉")
    assert "玄凤鹦鹉" not in Segmenter().words("我的玄凤鹦鹉")


def test_dictionary_words_are_told_from_slips() -> None:
    segmenter = Segmenter(["相机", "像机", "情感语录", "无人鸡"])
    assert [segmenter.is_ordinary(word) for word in ("相机", "像机", "情感语录", "无人鸡")] == [True, False, True, False]


def test_the_dictionary_is_read_without_a_cache_file_or_a_log_line(tmp_path: Path) -> None:
    code = "from reelspace.signals.segmentation import Segmenter; print(Segmenter().words('蛋糕教程'))"
    environment = {**os.environ, "TMPDIR": str(tmp_path), "HOME": "/nonexistent"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "('蛋糕', '教程')\n"
    assert done.stderr == ""
    assert list(tmp_path.iterdir()) == []


def test_words_that_come_together_become_a_phrase_and_others_do_not() -> None:
    texts = [("film", "roll")] * 3 + [("骨", "传导", "耳机")] * 3 + [("best", "lens"), ("best", "cake"), ("best", "lens"), ("best", "lens")]
    texts += [("lens", "cap")] * 4 + [("best", "cat"), ("best", "dog"), ("best", "tea")] + [("耳机",)] * 9
    phrases = Phrases(texts)
    assert phrases.join(("old", "film", "roll")) == ("old", "film roll")
    assert phrases.join(("骨", "传导", "耳机")) == ("骨传导", "耳机")
    assert phrases.join(("best", "lens")) == ("best", "lens")


def test_phrases_do_not_reach_over_template_words() -> None:
    assert content_runs(("lens", "for", "my", "camera"), {"for", "my"}) == [("lens",), ("camera",)]
