"""The hidden causes: sizes, families, and independence from the topic."""

from collections import Counter, defaultdict

import numpy as np
import pytest

from reelspace.demo.latents import World, plan
from reelspace.demo.presets import CUTOFF_DAY, world_preset


def test_demo_has_enough_works_per_topic(demo_world: World) -> None:
    counts = Counter(work.topic for work in demo_world.works if work.broken is None)
    newborn = dict(demo_world.settings.newborn_days)
    assert len(demo_world.works) == 600
    assert all(count >= (18 if topic in newborn else 30) for topic, count in counts.items())
    assert len({work.area for work in demo_world.works}) == 4


def test_old_topics_have_at_least_twelve_training_works(demo_world: World) -> None:
    counts = Counter(work.topic for work in demo_world.works if not work.is_late and work.broken is None)
    newborn = dict(demo_world.settings.newborn_days)
    assert all((counts[topic] < 12) == (topic in newborn) for topic in range(16))


@pytest.mark.parametrize("world_name", ["demo_world", "apps_world"])
def test_newborn_topics_start_on_their_day(world_name: str, request: pytest.FixtureRequest) -> None:
    world: World = request.getfixturevalue(world_name)
    first = defaultdict(lambda: 60)
    for work in world.works:
        first[work.topic] = min(first[work.topic], work.day)
    assert all(start <= first[topic] <= start + 3 for topic, start in world.settings.newborn_days)


def test_twins_stay_on_one_side_of_the_cutoff_and_25_are_late(demo_world: World) -> None:
    by_id = {work.video_id: work for work in demo_world.works}
    twins = [work for work in demo_world.works if work.twin_of is not None]
    assert len(twins) == 100
    assert sum(work.day >= CUTOFF_DAY for work in twins) >= 25
    for twin in twins:
        original = by_id[twin.twin_of or 0]
        assert (original.day >= CUTOFF_DAY) == (twin.day >= CUTOFF_DAY)
        assert original.background != twin.background
        assert original.created_us <= twin.created_us
        for cause in ("topic", "subtopic", "style", "energy", "mood", "quality", "composition", "kind"):
            assert getattr(original, cause) == getattr(twin, cause)


def test_reuploads_and_series_have_their_shares(demo_world: World) -> None:
    works = demo_world.works
    assert sum(work.near_duplicate_of is not None for work in works) == 18
    series = Counter(work.series for work in works if work.series is not None)
    assert sum(series.values()) == 30
    assert set(series.values()) == {3}
    for number in series:
        members = [work for work in works if work.series == number]
        assert len({(work.topic, work.creator_id) for work in members}) == 1


def test_three_files_are_broken_in_three_ways(demo_world: World) -> None:
    assert sorted(work.broken for work in demo_world.works if work.broken) == ["empty", "garbage", "truncated"]


@pytest.mark.parametrize("cause", ["style", "energy", "mood", "quality", "background", "composition", "popularity_rank"])
def test_causes_are_independent_of_the_topic(apps_world: World, cause: str) -> None:
    originals = [work for work in apps_world.works if work.look_of == work.video_id and work.series is None]
    values = np.array([getattr(work, cause) for work in originals], dtype=float)
    topics = np.array([work.topic for work in originals])

    def spread(labels: np.ndarray) -> float:
        return float(np.var([values[labels == topic].mean() for topic in range(24)]))

    shuffled = np.random.default_rng(1)
    chance = [spread(shuffled.permutation(topics)) for _ in range(400)]
    assert spread(topics) < np.quantile(chance, 0.995)


def test_sound_is_of_the_own_topic_in_four_works_of_five(apps_world: World) -> None:
    sounds = Counter(work.sound for work in apps_world.works)
    assert sounds["own"] / 3_000 == pytest.approx(0.8, abs=0.03)
    assert sounds["none"] / 3_000 == pytest.approx(0.1, abs=0.03)


def test_the_plan_is_a_function_of_the_seed() -> None:
    assert plan(world_preset("demo", seed=5)).works == plan(world_preset("demo", seed=5)).works
    assert plan(world_preset("demo", seed=5)).works != plan(world_preset("demo", seed=6)).works
