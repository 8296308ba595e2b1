"""Languages of short texts."""

import pytest

from reelspace.signals.languages import LANGUAGES, language_of


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("这个相机哪里买的", "zh"),
        ("這個鏡頭真不錯", "zh"),
        ("好吃の蛋糕店推荐", "zh"),
        ("求iphone 15 pro教程啊啊啊啊", "zh"),
        ("このレンズはどこで買えますか", "ja"),
        ("美味しそう", "ja"),
        ("이 카메라 어디서 샀어요", "ko"),
        ("Где купить такой объектив?", "cyrillic"),
        ("من أين اشتريت هذه الكاميرا", "arabic"),
        ("where did you get the lens", "en"),
        ("NICE LENS!!", "en"),
        ("i’m in love with this 😍", "en"),
        ("the café was so good", "en"),
        ("¿dónde compraste la cámara?", "other_latin"),
        ("que lindo me encanta", "other_latin"),
        ("muito bom, parabéns pelo vídeo", "other_latin"),
        ("c'est trop beau merci pour la vidéo", "other_latin"),
        ("das ist wirklich sehr schön", "other_latin"),
        ("bagus banget videonya", "other_latin"),
        ("đẹp quá bạn ơi", "other_latin"),
        ("çok güzel olmuş", "other_latin"),
        ("สวยมาก", "other"),
        ("बहुत अच्छा", "other"),
        ("😂😂👍", "none"),
        ("666 !!!", "none"),
        ("", "none"),
    ],
)
def test_the_language_of_a_comment_is_named(text: str, language: str) -> None:
    assert language_of(text) == language


def test_every_answer_is_a_known_language() -> None:
    assert {language_of(text) for text in ("hello", "你好", "안녕", "?", "สวย")} <= set(LANGUAGES)
