"""Normal forms."""

import pytest

from reelspace.signals.normal_forms import NormalForms, public_text

FORMS = NormalForms()


@pytest.mark.parametrize(
    ("raw", "normal"),
    [
        ("無人機", "无人机"),
        ("Ｄｒｏｎｅ", "drone"),
        ("STRASSE", "strasse"),
        ("Straße", "strasse"),
        ("wide_angle", "wideangle"),
        ("相😂机", "相机"),
        ("⚽️", "⚽"),
        ("C++", "c"),
    ],
)
def test_tags_that_differ_in_width_case_script_or_marks_are_one(raw: str, normal: str) -> None:
    assert FORMS.tag(raw) == normal


def test_queries_lose_punctuation_and_spaces_between_chinese_words() -> None:
    assert FORMS.query("  How to  CHOOSE 相 機!? ") == "how to choose 相机"
    assert FORMS.query("?!") == ""


def test_long_numbers_and_handles_are_hidden_short_ones_stay() -> None:
    assert FORMS.query("call 13800001111 iphone 15") == "call *** iphone 15"
    assert public_text("ask @someone(A12) or 13800001111, not 110") == "ask @*** or ***, not 110"


def test_a_normal_form_is_its_own_normal_form() -> None:
    for text in ("無人機 Tutorial", "ｃａｆｅ́ 拉麵", "ǅ"):
        assert FORMS.query(FORMS.query(text)) == FORMS.query(text)
