"""Captions: what is a hashtag and what is left of the words."""

import gzip
import json
from pathlib import Path

import hypothesis
import hypothesis.strategies as strategies
import pytest

from reelspace.core.captions import Caption, parse_caption, visible_text


@pytest.mark.parametrize(
    ("written", "text", "tags"),
    [
        ("first look #camera #lens", "first look", ("camera", "lens")),
        ("#a#b", "", ("a", "b")),
        ("#a##b#", "", ("a", "b")),
        ("#x# is good", "is good", ("x",)),
        ("＃相机 开箱", "开箱", ("相机",)),
        ("＃相机＃", "", ("相机",)),
        ("love#cat and dog", "love and dog", ("cat",)),
        ("我为#巨像文明#拍摄了视频！来玩吧", "我为 拍摄了视频！来玩吧", ("巨像文明",)),
        ("好吃#火锅，明天还去", "好吃，明天还去", ("火锅",)),
        ("goal #⚽ #👨‍👩‍👧家 😂", "goal 😂", ("⚽", "👨‍👩‍👧家")),
        ("#3.8女王节. #C++ rocks", ". rocks", ("3.8女王节", "C++")),
        ("#hello-world- x", "x", ("hello-world",)),
        ("#same #same #Same", "", ("same", "Same")),
    ],
)
def test_tags_are_found_and_cut_out(written: str, text: str, tags: tuple[str, ...]) -> None:
    assert parse_caption(written) == Caption(text, tags)


@pytest.mark.parametrize(
    "written",
    [
        "see https://example.com/page#part and www.example.com/#top",
        "example.com/page#part",
        "the #1 reason",
        "it&#39;s",
        "press #️⃣ now",
        "",
    ],
)
def test_fragments_entities_keycaps_and_small_numbers_are_no_tags(written: str) -> None:
    assert parse_caption(written) == Caption(written, ())


def test_a_chinese_tag_right_behind_an_address_is_a_tag() -> None:
    assert parse_caption("https://example.com/abc#美食 好") == Caption("https://example.com/abc 好", ("美食",))


def test_lone_hashes_vanish() -> None:
    assert parse_caption("# #健身 # 好 ##") == Caption("好", ("健身",))


def test_text_hidden_by_overrides_and_invisible_marks_is_read_as_seen() -> None:
    assert parse_caption("#我要\u202e热上\u202c门 \u200bok\x00 \ud800") == Caption("ok", ("我要上热门",))


def test_visible_text_keeps_joined_emoji_and_leaves_ascii_alone() -> None:
    assert visible_text("👩‍🚀 a\tb") == "👩‍🚀 a b"
    assert visible_text("plain ascii") == "plain ascii"


@hypothesis.settings(max_examples=300, deadline=None, derandomize=True, database=None)
@hypothesis.given(strategies.text(alphabet=strategies.characters() | strategies.sampled_from("##＃ a好.,😂/:"), max_size=40))
def test_any_text_parses_and_its_tags_hold_no_hash_or_space(text: str) -> None:
    caption = parse_caption(text)
    assert all(tag and not set("#＃@ \n\t") & set(tag) for tag in caption.tags)
    assert caption.text == caption.text.strip()
    caption.text.encode("utf-8")


def test_real_captions_give_the_tags_the_platform_found(real_data: Path) -> None:
    with gzip.open(real_data / "text" / "kuairec_captions.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    wanted, found = 0, 0
    for row in rows:
        caption = row["caption"] or ""
        tags = set(parse_caption(caption).tags)
        expected = {tag for tag in row["topic_tags"] or () if f"#{tag}" in caption.replace("＃", "#")}
        wanted += len(expected)
        found += len(expected & tags)
    assert len(rows) > 7_000
    assert wanted > 10_000
    assert found / wanted >= 0.99
