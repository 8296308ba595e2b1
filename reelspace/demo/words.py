"""What creators write: captions and cover texts.

Of all captions 30 % have no words beside tags, 20 % have words that name no topic, 50 % name it; six in ten with words name the
background, which every topic shares.
"""

import numpy as np

from reelspace.core.rng import rng
from reelspace.demo.backgrounds import BACKGROUNDS
from reelspace.demo.latents import Work
from reelspace.demo.topics import Topic

NO_WORDS_SHARE = 0.3
NO_TOPIC_SHARE = 0.2
NAMES_BACKGROUND_SHARE = 0.6
_SUBTOPIC_SHARE = 0.3
_SECOND_WORD_SHARE = 0.35
_COVER_SHARE = 0.15
_TOPIC_LINES = {
    "zh": (
        ("今天拆一个{w}", "{w}到货啦", "{w}开箱"),
        ("{w}用了一周说说感受", "{w}到底值不值", "聊聊{w}"),
        ("给大家看看{w}", "{w}时刻", "又是{w}的一天"),
    ),
    "en": (
        ("unpacking my {w}", "{w} just arrived", "first look at the {w}"),
        ("my honest thoughts on {w}", "{w} after one week", "is {w} worth it"),
        ("a little {w} today", "{w} moments", "another day of {w}"),
    ),
}
_OTHER_LINES = {
    "zh": ("随手拍一段", "周末快乐", "记录今天", "心情不错", "慢慢来", "大家晚上好", "第一次发视频"),
    "en": ("just a quick clip", "happy weekend", "what a day", "good mood", "taking it slow", "good evening everyone", "my first post"),
}
_PLACES = {"zh": ("在{b}前拍的", "背景是{b}", "{b}真好看"), "en": ("shot by the {b}", "the {b} again", "love this {b}")}
_TAILS = {"zh": ("", "", "，你们觉得呢", "，下次继续", "！"), "en": ("", "", ", what do you think", ", more soon", "!")}
_JOINTS = {"zh": "，", "en": ", "}
_COVERS = {
    "zh": ("{w}来了", "必看", "别划走", "{w}日记", "第{n}集"),
    "en": ("{w} time", "must see", "wait for it", "{w} diary", "part {n}"),
}


def caption(seed: int, work: Work, topic: Topic) -> str:
    """The words of a caption, without hashtags; empty for three works in ten."""
    draw = rng(seed, "caption", work.video_id)
    kind, background, tail = draw.random(3)
    if kind < NO_WORDS_SHARE:
        return ""
    parts = [_other_line(draw, work) if kind < NO_WORDS_SHARE + NO_TOPIC_SHARE else _topic_line(draw, work, topic)]
    if background < NAMES_BACKGROUND_SHARE:
        shown = BACKGROUNDS[work.background]
        parts.append(pick(draw, _PLACES[work.language]).format(b=shown.zh if work.language == "zh" else shown.en))
    return _JOINTS[work.language].join(parts) + _TAILS[work.language][int(tail * len(_TAILS[work.language]))]


def cover_text(seed: int, work: Work, topic: Topic) -> str | None:
    """The text a creator put on the cover; most have none."""
    draw = rng(seed, "cover text", work.video_id)
    if draw.random() >= _COVER_SHARE:
        return None
    return pick(draw, _COVERS[work.language]).format(w=topic.words[work.language].main, n=int(draw.integers(1, 9)))


def pick(draw: np.random.Generator, options: tuple[str, ...]) -> str:
    """One of the options, each as likely."""
    return options[int(draw.integers(len(options)))]


def join(words: list[str], language: str) -> str:
    """Words beside each other, as the language writes them."""
    return "".join(words) if language == "zh" else " ".join(words)


def _topic_line(draw: np.random.Generator, work: Work, topic: Topic) -> str:
    words = topic.words[work.language]
    order = draw.permutation(3)
    named = [words.in_captions[int(order[0])]]
    if draw.random() < _SECOND_WORD_SHARE:
        named.append(words.in_captions[int(order[1])])
    if draw.random() < _SUBTOPIC_SHARE:
        named.insert(0, words.subtopics[work.subtopic])
    return pick(draw, _TOPIC_LINES[work.language][work.style]).format(w=join(named, work.language))


def _other_line(draw: np.random.Generator, work: Work) -> str:
    return pick(draw, _OTHER_LINES[work.language])
