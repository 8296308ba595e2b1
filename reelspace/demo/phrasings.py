"""What people type: the queries of the search log, and evaluation queries in seen and unseen phrasings.

Unseen phrasings are never typed in the log, but every word in them occurs in captions, comments or other queries of the topic:
an unknown template around a known query word, a word that captions and comments use but searches never do, a sub-topic in a new order.
"""

from dataclasses import dataclass

import numpy as np

from reelspace.demo.topics import Topic, Words
from reelspace.demo.words import pick

LANGUAGES = ("zh", "en")
SEEN_PER_LANGUAGE = 2
UNSEEN_PER_LANGUAGE = 4
WRONG_QUERY_SHARE = 0.07
_FAVOURITE_SHARE = 0.4
_SUBTOPIC_SHARE = 0.3
_TEMPLATES = {
    "zh": ("{w}", "{w}推荐", "{w}教程", "{w}视频", "{w}怎么选", "好看的{w}", "{w}评测"),
    "en": ("{w}", "best {w}", "{w} tutorial", "{w} video", "how to choose {w}", "{w} review", "cool {w}"),
}
_SUBTOPIC_TEMPLATES = {"zh": ("{s}{w}", "{w}{s}"), "en": ("{s} {w}", "{w} {s}")}
_GENERIC = {
    "zh": ("搞笑视频", "热门视频", "今天看什么", "好听的歌"),
    "en": ("funny videos", "trending today", "what to watch", "nice songs"),
}


@dataclass(frozen=True, slots=True)
class EvaluationPhrasing:
    """One evaluation query of a topic."""

    text: str
    language: str
    topic: int
    seen: bool


def query(draw: np.random.Generator, topic: Topic, subtopic: int, language: str) -> str:
    """What somebody types who looks for works of a topic."""
    words = topic.words[language]
    if draw.random() < _FAVOURITE_SHARE:
        return pick(draw, _favourites(words, language))
    word = pick(draw, words.in_queries)
    if draw.random() < _SUBTOPIC_SHARE:
        return pick(draw, _SUBTOPIC_TEMPLATES[language]).format(s=words.subtopics[subtopic], w=word)
    return pick(draw, _TEMPLATES[language]).format(w=word)


def generic_query(draw: np.random.Generator, language: str) -> str:
    """What somebody types who looks for nothing in particular."""
    return pick(draw, _GENERIC[language])


def evaluation_phrasings(catalogue: tuple[Topic, ...]) -> list[EvaluationPhrasing]:
    """Two seen and four unseen phrasings per topic and language."""
    return [
        EvaluationPhrasing(text, language, topic.topic, seen)
        for topic in catalogue
        for language in LANGUAGES
        for seen, texts in ((True, _favourites(topic.words[language], language)), (False, _unseen(topic.words[language], language)))
        for text in texts
    ]


def _favourites(words: Words, language: str) -> tuple[str, ...]:
    """The two commonest ways to ask."""
    return (words.main, f"{words.query}推荐" if language == "zh" else f"best {words.query}")


def _unseen(words: Words, language: str) -> tuple[str, ...]:
    if language == "zh":
        return (
            f"想看{words.shared}合集",
            f"{words.written_only}{words.main}",
            f"适合新手的{words.comment_only}",
            f"{words.subtopics[0]}的{words.query}有哪些",
        )
    return (
        f"show me some {words.shared}",
        f"{words.written_only} {words.main}",
        f"{words.comment_only} for beginners",
        f"{words.subtopics[0]} with {words.query}",
    )
