"""Pictures: the foreground belongs to the topic, the background to nobody."""

from dataclasses import replace

import numpy as np
import pytest

from reelspace.demo.backgrounds import BACKGROUNDS
from reelspace.demo.drawing import draw_frames
from reelspace.demo.entities import NUM_INSTANCES, VERTICALS, placements, sprite
from reelspace.demo.latents import World


def test_a_twin_shows_the_same_foreground_on_another_background(demo_world: World) -> None:
    by_id = {work.video_id: work for work in demo_world.works}
    placed = placements(demo_world)
    twin = next(work for work in demo_world.works if work.twin_of is not None and work.quality > 0.9)
    original = by_id[twin.twin_of or 0]
    topic = demo_world.topics[twin.topic]
    one, other = (draw_frames(0, work, topic, placed.get(work.video_id, ())) for work in (original, twin))
    elsewhere = [
        draw_frames(0, replace(twin, background=number), topic, placed.get(twin.video_id, ())) for number in range(len(BACKGROUNDS))
    ]
    foreground = np.all([np.all(frames == elsewhere[0], axis=-1) for frames in elsewhere], axis=0)
    assert 0.1 < foreground.mean() < 0.9
    assert np.array_equal(one[foreground], other[foreground])
    assert (one[~foreground] != other[~foreground]).mean() > 0.5


def test_raw_pixels_follow_the_background_and_not_the_topic(demo_world: World) -> None:
    works = [work for work in demo_world.works if work.look_of == work.video_id][:100]
    pixels = np.stack([draw_frames(0, work, demo_world.topics[work.topic], ())[16, ::4, ::4].ravel() for work in works]).astype(float)
    pixels -= pixels.mean(axis=0)
    pixels /= np.linalg.norm(pixels, axis=1, keepdims=True)
    similarity = pixels @ pixels.T
    np.fill_diagonal(similarity, -1)
    nearest = np.argsort(-similarity, axis=1)[:, :3]
    same = {
        cause: np.mean([getattr(works[j], cause) == getattr(work, cause) for i, work in enumerate(works) for j in nearest[i]])
        for cause in ("background", "topic")
    }
    assert same["background"] > 0.6
    assert same["topic"] < 0.3


def test_energy_sets_the_speed(demo_world: World) -> None:
    work = replace(demo_world.works[0], quality=1.0, style=1)
    topic = demo_world.topics[work.topic]

    def change(energy: float) -> float:
        frames = draw_frames(0, replace(work, energy=energy), topic, ()).astype(float)
        return float(np.abs(np.diff(frames, axis=0)).mean())

    assert change(0.0) < 0.6 * change(0.5) < 0.6 * change(1.0) * 1.2


def test_bad_quality_is_visible(demo_world: World) -> None:
    work = replace(demo_world.works[0], style=1)
    topic = demo_world.topics[work.topic]

    def sharpness(quality: float) -> float:
        frames = draw_frames(0, replace(work, quality=quality), topic, ()).astype(float).mean(axis=-1)
        return float(np.abs(np.diff(frames, axis=2)).mean() / frames.mean())

    assert sharpness(0.05) < 0.8 * sharpness(1.0)


def test_every_instance_is_in_six_works_of_three_topics(demo_world: World) -> None:
    topic_of = {work.video_id: work.topic for work in demo_world.works}
    works: dict[str, set[int]] = {}
    for items in placements(demo_world).values():
        for item in items:
            works.setdefault(item.name, set()).add(item.video_id)
    assert len(works) == len(VERTICALS) * NUM_INSTANCES
    assert all(len(found) >= 6 and len({topic_of[video_id] for video_id in found}) >= 3 for found in works.values())


@pytest.mark.parametrize("is_reupload", [False, True])
def test_boxes_hold_all_that_an_entity_changes(demo_world: World, is_reupload: bool) -> None:
    placed = placements(demo_world)
    work = next(
        work
        for work in demo_world.works
        if (work.near_duplicate_of is not None) == is_reupload and work.quality > 0.8 and placed.get(work.video_id)
    )
    topic, items = demo_world.topics[work.topic], placed[work.video_id]
    with_items, without = draw_frames(0, work, topic, items).astype(int), draw_frames(0, work, topic, ()).astype(int)
    changed = np.abs(with_items - without).max(axis=(0, 3)) > 60
    inside = np.zeros_like(changed)
    for item in items:
        x0, y0, x1, y1 = item.box
        assert 0 <= x0 < x1 <= 96
        assert 0 <= y0 < y1 <= 96
        assert changed[y0:y1, x0:x1].mean() > 0.1
        inside[y0:y1, x0:x1] = True
    assert not changed[~inside].any()


def test_look_alikes_differ_and_instances_are_distinct() -> None:
    for vertical in range(len(VERTICALS)):
        drawn = [sprite(vertical, instance)[0] * sprite(vertical, instance)[1] for instance in range(NUM_INSTANCES)]
        for one in range(NUM_INSTANCES):
            for other in range(one):
                assert np.abs(drawn[one] - drawn[other]).mean() > 2, (vertical, one, other)
