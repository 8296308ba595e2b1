"""Lexicons shipped with the package."""

import re
from pathlib import Path

import pytest

from reelspace.core.errors import SettingError
from reelspace.signals.lexicons import lexicons_digest, load_lexicons, read_added, read_lexicon
from reelspace.signals.normal_forms import NormalForms
from reelspace.signals.settings import AddedLexicon

LEXICONS = load_lexicons()


def _begs(tag: str) -> bool:
    return LEXICONS.begs(NormalForms().tag(tag))


@pytest.mark.parametrize(
    "tag",
    [
        "感谢快手我要上热门",
        "作品推广",
        "支持快手傳播正能量",
        "喜欢的双击加关注",
        "求官方别屏蔽",
        "FYP",
        "fypシ",
        "foryoupage",
        "GoViral",
        "follow4follow",
        "快手主播中心",
        "時尚助推官",
        "服饰宠粉节",
        "快手九周年",
        "今天拍点啥",
        "记录生活",
        "短视频带货王",
    ],
)
def test_begging_is_recognised(tag: str) -> None:
    assert _begs(tag)


@pytest.mark.parametrize(
    "tag",
    [
        "篮球",
        "快手美食",
        "热带鱼",
        "感恩节",
        "推理小说",
        "like a rolling stone",
        "following",
        "viola",
        "rapids",
        "关注健康",
        "减肥计划",
        "快手厨房",
        "健身动作大挑战",
        "记录宝宝成长",
        "原创音乐",
        "市中心",
        "摄影作品",
    ],
)
def test_content_is_not_taken_for_begging(tag: str) -> None:
    assert not _begs(tag)


@pytest.mark.parametrize("text", ["加我领红包", "刷单日结三百", "check my profile for free coins", "sub for sub", "www.example.com"])
def test_spam_comments_are_recognised(text: str) -> None:
    assert LEXICONS.comment_spam.search(text)


@pytest.mark.parametrize("text", ["这个相机哪里买的", "i like this profile shot of the cat", "where did you get the lens"])
def test_questions_are_no_spam(text: str) -> None:
    assert not LEXICONS.comment_spam.search(text)


def test_every_lexicon_has_a_version_and_the_digest_names_them_all() -> None:
    assert set(LEXICONS.versions) == {"begging", "begging_patterns", "promotions", "query_templates", "comment_spam", "aspects"}
    assert all(version >= 1 for version in LEXICONS.versions.values())
    assert re.fullmatch(r"[0-9a-f]{64}", lexicons_digest())


def test_entries_are_in_normal_form() -> None:
    forms = NormalForms()
    assert [word for word in LEXICONS.begging if forms.tag(word) != word] == []
    assert [word for word in LEXICONS.query_templates if forms.query(word) != word] == []


def test_a_lexicon_without_version_or_with_a_repeated_entry_is_refused() -> None:
    with pytest.raises(SettingError, match="version"):
        read_lexicon("mine", "one\ntwo\n")
    with pytest.raises(SettingError, match="'one' is given twice"):
        read_lexicon("mine", "# version: 2\none\none\n")


def test_entries_of_a_user_join_the_shipped_ones_and_are_told_with_their_version() -> None:
    added = load_lexicons([AddedLexicon(name="promotions", version=3, entries=("^summersale",))])
    assert added.begs("summersale2025")
    assert added.begs("fyp")
    assert not LEXICONS.begs("summersale2025")
    assert added.versions["promotions (added)"] == 3
    assert added.versions["promotions"] == LEXICONS.versions["promotions"]


def test_an_added_entry_that_is_no_regular_expression_is_named() -> None:
    with pytest.raises(SettingError, match=r"lexicon promotions.*'\(sale'"):
        load_lexicons([AddedLexicon(name="promotions", version=1, entries=("(sale",))])


def test_a_file_of_a_user_is_read_like_a_shipped_one(tmp_path: Path) -> None:
    path = tmp_path / "mine.txt"
    path.write_text("# version: 4\n^summersale\n")
    assert read_added(f"promotions={path}") == AddedLexicon(name="promotions", version=4, entries=("^summersale",))


@pytest.mark.parametrize("named", ["promotions", "promotion=mine.txt", "promotions=/no/such/file"])
def test_a_lexicon_that_is_not_there_is_refused_in_words(named: str) -> None:
    with pytest.raises(SettingError, match=re.escape(f"--lexicon {named}: expected")):
        read_added(named)
