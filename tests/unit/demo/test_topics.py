"""The catalogue: topics are told apart by several cues together, and their words belong to them alone."""

from itertools import combinations

from reelspace.demo.phrasings import LANGUAGES
from reelspace.demo.topics import topics


def test_topics_that_share_a_shape_differ_in_hue_texture_or_motion() -> None:
    for one, other in combinations(topics(24), 2):
        if one.shape == other.shape:
            assert one.hue_degrees != other.hue_degrees
            assert (one.texture, one.motion) != (other.texture, other.motion)


def test_no_single_cue_names_the_topic() -> None:
    catalogue = topics(16)
    for cue in ("shape", "hue_degrees", "texture", "motion", "timbre"):
        values = [getattr(topic, cue) for topic in catalogue]
        assert min(values.count(value) for value in values) >= 2, cue


def test_words_and_spellings_belong_to_one_topic_each() -> None:
    owners: dict[str, set[int]] = {}
    for topic in topics(24):
        for language in LANGUAGES:
            words = topic.words[language]
            for word in {*words.in_captions, *words.in_queries, *words.in_comments, *words.subtopics}:
                owners.setdefault(word, set()).add(topic.topic)
    assert [word for word, found in owners.items() if len(found) > 1] == []
    spellings = [spelling for topic in topics(24) for spelling in topic.spellings]
    assert len(spellings) == len(set(spellings))


def test_topics_have_three_to_eight_spellings_without_spaces() -> None:
    for topic in topics(24):
        assert 3 <= len(topic.spellings) <= 8


def test_caption_words_and_query_words_overlap_only_partly() -> None:
    for topic in topics(24):
        for words in topic.words.values():
            captions, queries = set(words.in_captions), set(words.in_queries)
            assert captions & queries
            assert captions - queries
            assert queries - captions
