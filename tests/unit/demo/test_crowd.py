"""The crowd's signals: shares, times and noise are as promised."""

from collections import Counter

import numpy as np
import pytest

from reelspace.demo.comments import comments
from reelspace.demo.hashtags import tag_uses
from reelspace.demo.latents import END_US, World
from reelspace.demo.music import track_of, tracks
from reelspace.demo.phrasings import evaluation_phrasings
from reelspace.demo.searches import SATISFIED_DWELL_MS, SearchLog, search_log
from reelspace.demo.words import caption


@pytest.fixture(scope="module", params=["demo_world", "apps_world"])
def world(request: pytest.FixtureRequest) -> World:
    found: World = request.getfixturevalue(request.param)
    return found


def test_17_percent_of_works_are_tagged_and_each_topic_at_least_twice(world: World) -> None:
    uses = tag_uses(world)
    topic_of = {work.video_id: work.topic for work in world.works}
    assert len(uses) / len(world.works) == pytest.approx(0.17, abs=0.001)
    assert min(Counter(topic_of[video_id] for video_id in uses).values()) >= 2
    assert len({topic_of[video_id] for video_id in uses}) == len(world.topics)


def test_35_percent_of_uses_are_irrelevant_and_60_percent_of_the_relevant_are_main_spellings(world: World) -> None:
    topic_of = {work.video_id: world.topics[work.topic] for work in world.works}
    uses = [use for group in tag_uses(world).values() for use in group]
    assert np.mean([use.relevant for use in uses]) == pytest.approx(0.65, abs=0.03)
    relevant = [use for use in uses if use.relevant]
    assert np.mean([use.tag in topic_of[use.video_id].spellings[:2] for use in relevant]) == pytest.approx(0.6, abs=0.05)
    assert all(use.tag in topic_of[use.video_id].spellings for use in relevant)
    assert all(use.tag not in topic_of[use.video_id].spellings for use in uses if not use.relevant)


def test_noise_looks_like_noise(apps_world: World) -> None:
    work_of = {work.video_id: work for work in apps_world.works}
    uses = [use for group in tag_uses(apps_world).values() for use in group]
    by_tag: dict[str, list[int]] = {}
    for use in uses:
        if use.noise_kind in ("begging", "trend"):
            by_tag.setdefault(use.tag, []).append(use.video_id)
    common = {tag: ids for tag, ids in by_tag.items() if len(ids) >= 10}
    assert len(common) >= 10
    for ids in common.values():
        topics = Counter(work_of[video_id].topic for video_id in ids)
        assert topics.most_common(1)[0][1] <= 0.4 * len(ids)
    trends = {use.tag for use in uses if use.noise_kind == "trend"}
    for tag in trends:
        days = [work_of[video_id].day for video_id in by_tag[tag]]
        assert max(days) - min(days) <= 9


def test_stuffing_creators_write_far_more_than_their_share_of_unrelated_tags(apps_world: World) -> None:
    stuffs = {creator.creator_id: creator.stuffs_tags for creator in apps_world.creators}
    creator_of = {work.video_id: work.creator_id for work in apps_world.works}
    tagged = tag_uses(apps_world)
    unrelated = [use for group in tagged.values() for use in group if use.noise_kind == "unrelated"]
    share_of_works = np.mean([stuffs[creator_of[video_id]] for video_id in tagged])
    assert np.mean([stuffs[creator_of[use.video_id]] for use in unrelated]) > 1.6 * share_of_works


def test_some_unrelated_tags_are_main_spellings_of_other_topics_so_no_word_list_suffices(apps_world: World) -> None:
    spellings = {spelling for topic in apps_world.topics for spelling in topic.spellings}
    uses = [use for group in tag_uses(apps_world).values() for use in group]
    hijacked = [use for use in uses if not use.relevant and use.tag in spellings]
    assert len(hijacked) / len(uses) > 0.04


@pytest.mark.parametrize("world_name", ["demo_world", "apps_world"])
def test_four_works_in_five_have_satisfied_queries_and_5_to_10_percent_are_wrong(
    world_name: str, apps_log: SearchLog, request: pytest.FixtureRequest
) -> None:
    world: World = request.getfixturevalue(world_name)
    pairs = apps_log.pairs if world_name == "apps_world" else search_log(world).pairs
    assert len({pair.video_id for pair in pairs}) / len(world.works) == pytest.approx(0.8, abs=0.05)
    assert 0.05 <= np.mean([pair.wrong for pair in pairs]) <= 0.1


def test_satisfied_clicks_are_those_of_the_truths_pairs(demo_world: World) -> None:
    log = search_log(demo_world)
    query_of = dict(zip(log.searches["search_id"], log.searches["query"], strict=True))
    satisfied = {
        (video_id, query_of[search_id])
        for search_id, video_id, dwell_ms, returned in zip(
            *(log.clicks[name] for name in ("search_id", "video_id", "dwell_ms", "returned_within_ms")), strict=True
        )
        if dwell_ms >= SATISFIED_DWELL_MS and returned is None
    }
    assert satisfied == {(pair.video_id, pair.query) for pair in log.pairs}


def test_every_click_was_shown_before_and_only_existing_works_are_shown(demo_world: World) -> None:
    log = search_log(demo_world)
    created = {work.video_id: work.created_us for work in demo_world.works}
    searched = dict(zip(log.searches["search_id"], log.searches["searched_at"], strict=True))
    shown = set(zip(log.impressions["search_id"], log.impressions["video_id"], strict=True))
    assert all(created[video_id] <= searched[search_id] for search_id, video_id in shown)
    assert all((search_id, video_id) in shown for search_id, video_id in zip(log.clicks["search_id"], log.clicks["video_id"], strict=True))
    assert all(
        searched[search_id] < clicked < END_US for search_id, clicked in zip(log.clicks["search_id"], log.clicks["clicked_at"], strict=True)
    )


def test_two_percent_of_positions_are_randomised(apps_log: SearchLog) -> None:
    assert len(apps_log.randomised) / len(apps_log.impressions["search_id"]) == pytest.approx(0.02, abs=0.003)


def test_at_least_five_works_have_over_a_thousand_comments(world: World) -> None:
    assert sum(count > 1_000 for count in Counter(comment.video_id for comment in comments(world)).values()) >= 5


def test_comments_hold_every_kind_and_the_authors_are_recognisable(demo_world: World) -> None:
    creator_of = {work.video_id: work.creator_id for work in demo_world.works}
    written = comments(demo_world)
    kinds = Counter(comment.kind for comment in written)
    assert set(kinds) == {"useful", "praise", "emoji", "spam", "duplicate", "author"}
    assert all((comment.user_id == creator_of[comment.video_id]) == (comment.kind == "author") for comment in written)
    assert [comment.commented_us for comment in written] == sorted(comment.commented_us for comment in written)


def test_captions_have_their_shares(apps_world: World) -> None:
    words = [caption(0, work, apps_world.topics[work.topic]) for work in apps_world.works]
    named = [
        any(word in text for language in ("zh", "en") for word in apps_world.topics[work.topic].words[language].in_captions)
        for work, text in zip(apps_world.works, words, strict=True)
    ]
    assert np.mean([not text for text in words]) == pytest.approx(0.3, abs=0.03)
    assert np.mean(named) == pytest.approx(0.5, abs=0.03)


def test_tracks_follow_energy_and_mood_and_not_the_topic(apps_world: World) -> None:
    settings, pieces = apps_world.settings, tracks(apps_world.settings)
    used = [(work, track) for work in apps_world.works if (track := track_of(settings, work, pieces)) is not None]
    assert np.mean([work.mood == track.mood for work, track in used]) > 0.8
    assert np.corrcoef([work.energy for work, _ in used], [track.energy for _, track in used])[0, 1] > 0.7
    assert abs(np.corrcoef([work.topic for work, _ in used], [track.energy for _, track in used])[0, 1]) < 0.06


def test_seen_phrasings_were_typed_and_unseen_never_though_their_words_were_read(demo_world: World) -> None:
    typed = Counter(pair.query for pair in search_log(demo_world).pairs)
    texts = [caption(0, work, demo_world.topics[work.topic]) for work in demo_world.works if not work.is_late]
    texts += [comment.text for comment in comments(demo_world)]
    newborn = dict(demo_world.settings.newborn_days)
    rows = evaluation_phrasings(demo_world.topics)
    assert Counter((row.topic, row.language, row.seen) for row in rows) == {
        (topic, language, seen): 2 if seen else 4 for topic in range(16) for language in ("zh", "en") for seen in (True, False)
    }
    for row in rows:
        if not row.seen:
            assert typed[row.text] == 0
        elif row.topic not in newborn:
            assert typed[row.text] >= 2, row
    for topic in demo_world.topics:
        for words in topic.words.values():
            for word, wanted in ((words.written_only, 5), (words.comment_only, 5), (words.subtopics[0], 1)):
                num_uses = sum(word in text for text in texts) + sum(word in query for query in typed)
                assert num_uses >= wanted or topic.topic in newborn, word
