"""Spellings and synonyms."""

from collections.abc import Mapping

import numpy as np

from reelspace.signals.contexts import unit
from reelspace.signals.settings import SpellingSettings
from reelspace.signals.spellings import Merge, TagUsage, find_merges

# tag -> (topic, works, searchers say it, dictionary word); two topics, each a direction
TAGS: Mapping[str, tuple[int, int, bool, bool]] = {
    "camera": (0, 12, True, False),
    "camrea": (0, 3, False, False),
    "相机": (0, 9, True, True),
    "像机": (0, 2, False, False),
    "照相": (0, 2, False, True),
    "cake": (1, 10, True, False),
    "cage": (0, 3, True, False),
    "lake": (0, 3, False, False),
    "sale2024": (1, 6, False, False),
    "sale2025": (1, 6, False, False),
}


def _usage() -> TagUsage:
    names = list(TAGS)
    topics = np.array([TAGS[name][0] for name in names])
    directions = unit(np.array([[1.0, 0.02], [0.02, 1.0]]))[topics]
    num_works = np.array([TAGS[name][1] for name in names])
    topic_works = (frozenset(range(50)), frozenset(range(50, 100)))
    return TagUsage(
        tags=names,
        num_works_T=num_works,
        profiles_TK=directions * num_works[:, None],
        carried_by=[frozenset(list(topic_works[TAGS[name][0]])[: TAGS[name][1]]) for name in names],
        said_by=[topic_works[TAGS[name][0]] if TAGS[name][2] else frozenset() for name in names],
        is_ordinary_T=np.array([TAGS[name][3] for name in names]),
    )


def _merges(**settings: float) -> dict[str, tuple[str, str]]:
    return {merge.tag: (merge.into, merge.kind) for merge in find_merges(_usage(), SpellingSettings(**settings))}  # type: ignore[arg-type]


def test_slips_join_what_was_meant_and_only_in_the_same_contexts() -> None:
    merges = _merges()
    assert merges["camrea"] == ("camera", "spelling")
    assert merges["像机"] == ("camera", "spelling")  # through 相机, itself a synonym of camera
    assert "lake" not in merges or merges["lake"][0] != "cake"


def test_words_that_people_say_or_dictionaries_have_are_no_slips() -> None:
    merges = _merges()
    assert "照相" not in merges
    assert "cage" not in merges


def test_tags_with_other_numbers_stay_apart() -> None:
    assert not {"sale2024", "sale2025"} & set(_merges(min_synonym_overlap=1.0))


def test_synonyms_share_contexts_and_are_said_around_each_other() -> None:
    assert _merges()["相机"] == ("camera", "synonym") or _merges()["camera"] == ("相机", "synonym")
    assert "相机" not in _merges(min_synonym_works=10)
    assert "camera" not in _merges(min_synonym_works=10)


def test_the_target_of_a_merge_is_never_merged() -> None:
    merges = _merges()
    assert not {into for into, _ in merges.values()} & set(merges)


def test_each_merge_tells_its_evidence() -> None:
    merge = next(found for found in find_merges(_usage(), SpellingSettings()) if found.tag == "camrea")
    assert merge == Merge("camrea", "camera", "spelling", 1.0, 1.0)
