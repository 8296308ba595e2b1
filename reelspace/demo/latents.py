"""The hidden causes of every work: drawn first, kept in truth/, read by everything that is generated after them.

Each cause has a named stream of its own over all works, so adding one later changes no other.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from reelspace.core.rng import rng
from reelspace.demo.creators import Creator, creators, creators_of_works
from reelspace.demo.families import Broken, Families, families
from reelspace.demo.presets import CUTOFF_DAY, DAY_ZERO, NUM_DAYS, WorldSettings
from reelspace.demo.topics import NUM_SUBTOPICS, Topic, topics

STYLES = ("unboxing", "review", "show")
MOODS = ("calm", "happy", "tense", "sad")
NUM_BACKGROUNDS = 10
NUM_COMPOSITIONS = 6
NUM_LOUD_WORKS = 6  # the most popular ones: above 1,000 comments each, all early enough to gather them
_LOUD_BEFORE_DAY = 30
_US_PER_DAY = 86_400_000_000
_DAY_ZERO_US = int(DAY_ZERO.timestamp()) * 1_000_000
END_US = _DAY_ZERO_US + NUM_DAYS * _US_PER_DAY
CUTOFF_US = _DAY_ZERO_US + CUTOFF_DAY * _US_PER_DAY
# Uploads by hour of the day in UTC, relative; the same for every topic.
_HOURS = np.array([4, 3, 2, 1, 1, 1, 2, 3, 4, 4, 5, 6, 7, 6, 5, 5, 5, 6, 7, 8, 9, 9, 8, 6], dtype=np.float64)

SoundSource = Literal["own", "other", "none"]


@dataclass(frozen=True, slots=True)
class Work:
    """One work and everything that is true about it."""

    video_id: int
    topic: int
    subtopic: int
    area: int
    newborn: bool
    style: int
    energy: float
    mood: int
    quality: float
    background: int
    composition: int
    created_us: int
    kind: Literal["video", "image"]
    broken: Broken | None
    sound: SoundSource
    sound_topic: int
    language: Literal["zh", "en"]
    popularity_rank: int  # 0 is the most popular
    creator_id: int
    twin_of: int | None
    near_duplicate_of: int | None
    series: int | None
    look_of: int  # the work whose streams draw the foreground: itself, or the original of a twin or a re-upload

    @property
    def day(self) -> int:
        return (self.created_us - _DAY_ZERO_US) // _US_PER_DAY

    @property
    def is_late(self) -> bool:
        return self.created_us >= CUTOFF_US


@dataclass(frozen=True, slots=True)
class World:
    """The plan of a world: settings, catalogue, creators and works in the order of upload."""

    settings: WorldSettings
    topics: tuple[Topic, ...]
    creators: tuple[Creator, ...]
    works: tuple[Work, ...]


def plan(settings: WorldSettings) -> World:
    """Draw the hidden causes of every work; a pure function of the settings' seed and sizes."""
    catalogue = topics(settings.num_topics)
    topic_N = _topic_of_works(settings)
    created_us_N = _upload_times(settings, topic_N)
    order_N = np.argsort(created_us_N, kind="stable")
    topic_N, created_us_N = topic_N[order_N], created_us_N[order_N]
    day_N = (created_us_N - _DAY_ZERO_US) // _US_PER_DAY
    kin = families(settings, topic_N, day_N)
    people = creators(settings, catalogue)
    creator_N = creators_of_works(settings, people, topic_N, kin.series_N)
    works = _works(settings, topic_N, created_us_N, creator_N, kin)
    return World(settings=settings, topics=catalogue, creators=people, works=works)


def _topic_of_works(settings: WorldSettings) -> NDArray[np.int64]:
    newborn = dict(settings.newborn_days)
    old = [topic for topic in range(settings.num_topics) if topic not in newborn]
    num_old_works = settings.num_works - len(newborn) * settings.num_newborn_works
    weights = rng(settings.seed, "topic sizes").uniform(0.88, 1.12, len(old))
    sizes = np.floor(weights / weights.sum() * num_old_works).astype(int)
    sizes[: num_old_works - int(sizes.sum())] += 1
    counts = {**dict(zip(old, sizes.tolist(), strict=True)), **dict.fromkeys(newborn, settings.num_newborn_works)}
    return np.repeat(np.array(list(counts), dtype=np.int64), list(counts.values()))


def _upload_times(settings: WorldSettings, topic_N: NDArray[np.int64]) -> NDArray[np.int64]:
    first_day = np.zeros(settings.num_topics)
    for topic, day in settings.newborn_days:
        first_day[topic] = day
    num = len(topic_N)
    first_N = first_day[topic_N]
    day_N = np.floor(first_N + rng(settings.seed, "upload day").random(num) * (NUM_DAYS - first_N)).astype(np.int64)
    hour_N = rng(settings.seed, "upload hour").choice(24, size=num, p=_HOURS / _HOURS.sum())
    within_N = rng(settings.seed, "upload second").integers(0, 3_600_000_000, num)
    times: NDArray[np.int64] = _DAY_ZERO_US + day_N * _US_PER_DAY + hour_N.astype(np.int64) * 3_600_000_000 + within_N
    return times


def _works(
    settings: WorldSettings, topic_N: NDArray[np.int64], created_us_N: NDArray[np.int64], creator_N: NDArray[np.int64], kin: Families
) -> tuple[Work, ...]:
    seed, num = settings.seed, len(topic_N)
    video_id_N = 100_000 + rng(seed, "ids").permutation(num)
    look_N = kin.look_N  # rows whose look is copied; drawing first and copying after keeps every stream in step
    subtopic_N = rng(seed, "subtopic").integers(0, NUM_SUBTOPICS, num)[look_N]
    style_N = rng(seed, "style").integers(0, len(STYLES), num)[look_N]
    energy_N = rng(seed, "energy").random(num)[look_N].round(4)
    mood_N = rng(seed, "mood").integers(0, len(MOODS), num)[look_N]
    quality_N = rng(seed, "quality").beta(4, 2, num)[look_N].round(4)
    composition_N = rng(seed, "composition").integers(0, NUM_COMPOSITIONS, num)[look_N]
    background_N = _backgrounds(seed, kin)
    image_N = rng(seed, "kind").random(num)[look_N] < settings.image_share
    sound_N = rng(seed, "sound kind").random(num)
    other_N = rng(seed, "sound topic").integers(1, settings.num_topics, num)
    chinese_N = rng(seed, "language").random(num) < 0.55
    rank_N = _popularity(seed, created_us_N)
    newborn = dict(settings.newborn_days)

    def work(row: int) -> Work:
        topic = int(topic_N[row])
        source: SoundSource = "none" if sound_N[row] < 0.1 else "other" if sound_N[row] < 0.2 else "own"
        return Work(
            video_id=int(video_id_N[row]),
            topic=topic,
            subtopic=int(subtopic_N[row]),
            area=topic // 4,
            newborn=topic in newborn,
            style=int(style_N[row]),
            energy=float(energy_N[row]),
            mood=int(mood_N[row]),
            quality=float(quality_N[row]),
            background=int(background_N[row]),
            composition=int(composition_N[row]),
            created_us=int(created_us_N[row]),
            kind="image" if image_N[row] else "video",
            broken=kin.broken.get(row),
            sound=source,
            sound_topic=topic if source == "own" else int((topic + other_N[row]) % settings.num_topics),
            language="zh" if chinese_N[row] else "en",
            popularity_rank=int(rank_N[row]),
            creator_id=int(creator_N[row]),
            twin_of=_id(video_id_N, kin.twin_of.get(row)),
            near_duplicate_of=_id(video_id_N, kin.near_duplicate_of.get(row)),
            series=int(kin.series_N[row]) if kin.series_N[row] >= 0 else None,
            look_of=int(video_id_N[look_N[row]]),
        )

    return tuple(work(row) for row in range(num))


def _id(video_id_N: NDArray[np.int64], row: int | None) -> int | None:
    return None if row is None else int(video_id_N[row])


def _backgrounds(seed: int, kin: Families) -> NDArray[np.int64]:
    """A re-upload and a series keep their background; a twin gets another one."""
    num = len(kin.look_N)
    own_N = rng(seed, "background").integers(0, NUM_BACKGROUNDS, num)
    shift_N = rng(seed, "twin background").integers(1, NUM_BACKGROUNDS, num)
    shown_N = own_N[kin.look_N]
    for twin in kin.twin_of:
        shown_N[twin] = (shown_N[twin] + shift_N[twin]) % NUM_BACKGROUNDS
    return shown_N


def _popularity(seed: int, created_us_N: NDArray[np.int64]) -> NDArray[np.int64]:
    """Ranks without regard to topic; the loudest works are early ones."""
    rank_N = rng(seed, "popularity").permutation(len(created_us_N))
    early = np.flatnonzero(created_us_N < _DAY_ZERO_US + _LOUD_BEFORE_DAY * _US_PER_DAY)
    chosen = early[np.argsort(rank_N[early])[:NUM_LOUD_WORKS]]
    for rank, row in enumerate(chosen):
        holder = int(np.flatnonzero(rank_N == rank)[0])
        rank_N[holder], rank_N[row] = rank_N[row], rank
    return rank_N
