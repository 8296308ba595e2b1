"""Hashtags: 17 % of works carry them; two uses in three are about the work, the others are noise of three kinds.

Noise looks as it does on real platforms: begging for traffic is spread over everything, hijacked trends come in bursts of a few days
and spread over topics, unrelated tags come from creators who repeat them, or disagree with what everybody else says about the work.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from reelspace.core.rng import rng
from reelspace.demo.creators import Creator
from reelspace.demo.latents import Work, World
from reelspace.demo.topics import Topic

TAGGED_SHARE = 0.17
MIN_TAGGED_PER_TOPIC = 2
MAIN_SPELLINGS_SHARE = 0.6
NoiseKind = Literal["begging", "trend", "unrelated"]

_RELEVANT_PER_WORK = (0.22, 0.32, 0.28, 0.18)  # chance of 1, 2, 3, 4 relevant tags
_NOISE_PER_WORK = (0.38, 0.24, 0.17, 0.12, 0.09)  # chance of 0 to 4
_NOISE_KINDS: tuple[NoiseKind, ...] = ("begging", "trend", "unrelated")
_NOISE_WEIGHTS = (0.29, 0.25, 0.46)
_BEGGING = (
    *("求上热门", "我要上热门", "上热门", "热门", "感谢官方", "感谢推荐", "作品推广", "求关注", "互粉", "涨粉", "给个小红心"),
    *(
        "助力上榜",
        "冲鸭",
        "拜托了",
        "求播放",
        "fyp",
        "foryou",
        "foryoupage",
        "viral",
        "followme",
        "like4like",
        "plsboost",
        "blowup",
        "trending",
    ),
)
# (tag, first day, last day): a news item that everybody puts under everything for a week
_TRENDS = (
    *(("跨年倒计时", 0, 5), ("newyear", 0, 6), ("流星雨", 7, 13), ("awardsnight", 10, 16), ("新片首映", 14, 20), ("春节", 25, 33)),
    *(("lunarnewyear", 26, 33), ("决赛夜", 34, 39), ("finalnight", 34, 39), ("情人节", 42, 47), ("valentines", 42, 47)),
    *(("流感季", 20, 26), ("初雪", 36, 42), ("springsale", 50, 57), ("樱花季", 48, 54), ("月食", 54, 59)),
)
_UNRELATED = (
    *("星座", "穿搭", "减肥", "汽车", "房产", "股票", "搬家", "考研", "育儿", "婚礼", "美甲", "电视剧", "地铁", "装修", "养生", "手游"),
    *("horoscope", "outfit", "weightloss", "cars", "realestate", "stocks", "moving", "exams", "parenting", "wedding", "nails", "tvseries"),
)
_STUFFED_PER_CREATOR = 3
_PLAIN_WORD_SHARE = 0.3  # of unrelated tags: a word of no topic; the others are main spellings of another topic
_SAME_AREA_SHARE = 0.3  # of those: a topic of the work's own area, which categories hardly tell apart


@dataclass(frozen=True, slots=True)
class TagUse:
    """One hashtag under one work, as written (without the number sign), and whether it is about the work."""

    video_id: int
    tag: str
    relevant: bool
    noise_kind: NoiseKind | None


def tag_uses(world: World) -> dict[int, tuple[TagUse, ...]]:
    """The hashtags of every tagged work; empty if the world has no tags."""
    if "tags" not in world.settings.parts:
        return {}
    people = {creator.creator_id: creator for creator in world.creators}
    return {work.video_id: _uses(world, work, people[work.creator_id]) for work in _tagged_works(world, people)}


def with_tags(world: World, work: Work, words: str, uses: tuple[TagUse, ...]) -> str:
    """A caption with its hashtags behind the words: `#tag`, or `#tag#` as some Chinese platforms write it."""
    closed = work.language == "zh" and rng(world.settings.seed, "tag form", work.video_id).random() < 0.1
    written = [f"#{use.tag}#" if closed else f"#{use.tag}" for use in uses]
    return " ".join([words, *written] if words else written)


def _tagged_works(world: World, people: dict[int, Creator]) -> list[Work]:
    """Exactly 17 % of works, drawn by topic's and creator's habit, at least two of each topic."""
    seed = world.settings.seed
    habit = rng(seed, "tag rate of topics").uniform(0.6, 1.4, len(world.topics))
    keys = rng(seed, "tagged").exponential(size=len(world.works))
    keys /= np.array([habit[work.topic] * (0.15 + people[work.creator_id].tag_rate) for work in world.works])
    by_key = [world.works[int(row)] for row in np.argsort(keys)]
    first: list[Work] = []
    for topic in range(len(world.topics)):
        first += [work for work in by_key if work.topic == topic and work.broken is None][:MIN_TAGGED_PER_TOPIC]
    chosen = {work.video_id for work in first}
    rest = [work for work in by_key if work.video_id not in chosen]
    return first + rest[: max(0, round(TAGGED_SHARE * len(world.works)) - len(first))]


def _uses(world: World, work: Work, creator: Creator) -> tuple[TagUse, ...]:
    draw = rng(world.settings.seed, "tags", work.video_id)
    num_relevant = 1 + int(draw.choice(4, p=_RELEVANT_PER_WORK))
    num_noise = int(draw.choice(5, p=_NOISE_PER_WORK))
    uses = [TagUse(work.video_id, tag, True, None) for tag in _relevant(draw, world.topics[work.topic], num_relevant)]
    for kind in draw.choice(3, size=num_noise, p=_NOISE_WEIGHTS):
        uses.append(_noise(draw, world, work, creator, _NOISE_KINDS[int(kind)]))
    distinct = {use.tag: use for use in reversed(uses)}
    tags = sorted(distinct)
    return tuple(distinct[tags[int(index)]] for index in draw.permutation(len(tags)))


def _relevant(draw: np.random.Generator, topic: Topic, num: int) -> list[str]:
    main, others = list(topic.spellings[:2]), list(topic.spellings[2:])
    tags: list[str] = []
    for _ in range(num):
        pool = main if (draw.random() < _main_chance(len(tags)) and main) or not others else others
        tags.append(pool.pop(int(draw.integers(len(pool)))))
    return tags


def _main_chance(num_chosen: int) -> float:
    """Later tags of a work often find the main spellings used up, so the first ones lean to them."""
    return (0.7, 0.66, 0.7, 0.7)[num_chosen]


def _noise(draw: np.random.Generator, world: World, work: Work, creator: Creator, kind: NoiseKind) -> TagUse:
    if kind == "unrelated" and not creator.stuffs_tags and draw.random() < 0.5:
        kind = "begging"  # unrelated tags come far more often from creators who stuff them
    if kind == "begging" and creator.stuffs_tags:
        kind = "unrelated"
    if kind == "trend":
        running = [tag for tag, first, last in _TRENDS if first <= work.day <= last]
        if running:
            return TagUse(work.video_id, running[int(draw.integers(len(running)))], False, "trend")
        kind = "begging"
    if kind == "begging":
        return TagUse(work.video_id, _BEGGING[int(len(_BEGGING) * draw.random() ** 1.7)], False, "begging")
    return TagUse(work.video_id, _unrelated(draw, world, work, creator), False, "unrelated")


def _unrelated(draw: np.random.Generator, world: World, work: Work, creator: Creator) -> str:
    """A tag of another topic or of none; a stuffing creator takes it from a short list of favourites."""
    source = draw
    if creator.stuffs_tags:
        source = rng(world.settings.seed, "stuffed tags", creator.creator_id, int(draw.integers(_STUFFED_PER_CREATOR)))
    word = _UNRELATED[int(source.integers(len(_UNRELATED)))]
    near = world.topics[work.topic].area if source.random() < _SAME_AREA_SHARE else int(source.integers(len(world.topics) // 4))
    other = 4 * near + int(source.integers(4))
    if source.random() < _PLAIN_WORD_SHARE or other in creator.topics or other == work.topic:
        return word
    return world.topics[other].spellings[int(source.integers(2))]
