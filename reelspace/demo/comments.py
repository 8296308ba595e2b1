"""Comments under works: useful ones on different aspects among praise, emoji, spam, copies and the author's own."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from reelspace.core.rng import rng
from reelspace.demo.creators import FIRST_USER_ID
from reelspace.demo.latents import END_US, NUM_LOUD_WORKS, Work, World
from reelspace.demo.topics import Topic
from reelspace.demo.words import join, pick

CommentKind = Literal["useful", "praise", "emoji", "spam", "duplicate", "author"]
_KINDS: tuple[CommentKind, ...] = ("useful", "praise", "emoji", "spam", "duplicate", "author")
_WEIGHTS = (0.36, 0.2, 0.16, 0.1, 0.12, 0.06)
_LOUD_COUNTS = (3_000, 2_200, 1_700, 1_400, 1_250, 1_150)
_MAX_QUIET = 900
_MEAN_DELAY_US = 1.0 * 86_400e6
_WRONG_TOPIC_SHARE = 0.06  # useful-looking comments that talk about something else
_USEFUL = {
    "zh": (
        *("这个{w}真不错", "{w}哪里买的", "求{w}教程", "{w}的细节拍得好", "想看更多{w}", "适合新手的{w}吗", "第一次见这种{w}"),
        *("{w}有哪些推荐", "我也喜欢{w}", "出个{w}合集吧"),
    ),
    "en": (
        *("this {w} is great", "where did you get the {w}", "need a {w} tutorial", "love the {w} detail", "show us more {w}"),
        *("is this {w} good for beginners", "never seen such {w}", "some more {w} please", "i like {w} too", "nice work with the {w}"),
    ),
}
_PRAISE = {
    "zh": ("太好看了", "厉害厉害", "前排", "哈哈哈哈", "学到了", "爱了爱了", "打卡", "已关注", "催更"),
    "en": ("so good", "amazing", "first", "lol", "love it", "wow", "great video", "subscribed", "keep going"),
}
_EMOJI = ("😂😂😂", "👍", "❤️❤️", "🔥🔥🔥", "😍", "👏👏", "🤣", "🙏", "😮😮")
_SPAM = {
    "zh": ("加我领红包", "点我主页免费领礼品", "刷单日结三百", "低价代刷播放量", "互关互赞必回"),
    "en": ("check my profile for free coins", "earn money from home now", "cheap followers here", "sub for sub", "click my bio for a gift"),
}
_AUTHOR = {
    "zh": ("谢谢大家支持", "下期继续{w}", "有问题评论区问我"),
    "en": ("thanks for watching", "more {w} next time", "ask me anything here"),
}


@dataclass(frozen=True, slots=True)
class Comment:
    """One comment; `kind` is truth and stays out of the tables."""

    video_id: int
    user_id: int
    text: str
    commented_us: int
    likes: int
    kind: CommentKind


def comments(world: World) -> list[Comment]:
    """All comments in the order of time."""
    written: list[Comment] = []
    for work in world.works:
        written += _under(world, work)
    written.sort(key=lambda comment: (comment.commented_us, comment.video_id, comment.user_id))
    return written


def _under(world: World, work: Work) -> list[Comment]:
    draw = rng(world.settings.seed, "comments", work.video_id)
    num = _count(draw, work, len(world.works))
    kinds = draw.choice(len(_KINDS), size=num, p=_WEIGHTS)
    delays = draw.exponential(_MEAN_DELAY_US, num)
    left_us = END_US - 1 - work.created_us
    delays = np.where(delays < left_us, delays, draw.random(num) * left_us)
    users = FIRST_USER_ID + draw.integers(0, 8 * len(world.works), num)
    found: list[Comment] = []
    for index in range(num):
        kind = _KINDS[int(kinds[index])]
        if kind == "duplicate" and not found:
            kind = "praise"
        text = found[int(draw.integers(len(found)))].text if kind == "duplicate" else _text(draw, world, work, kind)
        likes = int(draw.poisson(6.0 if kind == "useful" else 1.5) * (1 + 20 / (1 + work.popularity_rank)))
        user_id = work.creator_id if kind == "author" else int(users[index])
        found.append(Comment(work.video_id, user_id, text, work.created_us + int(delays[index]), likes, kind))
    return found


def _count(draw: np.random.Generator, work: Work, num_works: int) -> int:
    if work.popularity_rank < NUM_LOUD_WORKS:
        return _LOUD_COUNTS[work.popularity_rank]
    return int(draw.poisson(min(_MAX_QUIET, 2.5 + num_works / (1 + work.popularity_rank - NUM_LOUD_WORKS) ** 0.8)))


def _text(draw: np.random.Generator, world: World, work: Work, kind: CommentKind) -> str:
    language = work.language if draw.random() < 0.8 else "en" if work.language == "zh" else "zh"
    if kind == "emoji":
        return pick(draw, _EMOJI)
    if kind == "praise":
        return pick(draw, _PRAISE[language])
    if kind == "spam":
        return pick(draw, _SPAM[language])
    topic = world.topics[work.topic]
    if kind == "author":
        return pick(draw, _AUTHOR[language]).format(w=topic.words[language].main)
    if draw.random() < _WRONG_TOPIC_SHARE:
        topic = world.topics[int(draw.integers(len(world.topics)))]
    return pick(draw, _USEFUL[language]).format(w=_aspect(draw, topic, work.subtopic, language))


def _aspect(draw: np.random.Generator, topic: Topic, subtopic: int, language: str) -> str:
    words = topic.words[language]
    aspect = [pick(draw, words.in_comments)]
    if draw.random() < 0.4:
        aspect.insert(0, words.subtopics[subtopic])
    return join(aspect, language)
