"""Comment rules: each says why a comment does not speak for its work."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

_NOT_WORDS: Final = re.compile(r"[^\w\s]+|_+")
_STRETCHED: Final = re.compile(r"([^\W\d])(?=\1\1)")
_SPACES: Final = re.compile(r"\s+")
_LETTERS: Final = re.compile(r"[^\W_]+")
_HAN: Final = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff]+")


@dataclass(frozen=True, slots=True)
class Remark:
    """One comment as the rules see it: normal form, letters said, works it is said under, whether the work's author says the same."""

    normal: str
    letters: int
    num_works: int
    is_authors: bool


@dataclass(frozen=True, slots=True)
class Limits:
    """What the rules compare with."""

    min_letters: int
    max_works: float
    spam: re.Pattern[str]


@dataclass(frozen=True, slots=True)
class CommentRule:
    """A stage of the funnel, named by what is left, and what is dropped by it."""

    stage: str
    drops: Callable[[Remark, Limits], bool]


def said_form(normal: str) -> str:
    """What a normal text says, however loud: without punctuation and emoji, stretched letters shortened; may be empty."""
    return _SPACES.sub(" ", _STRETCHED.sub("", _NOT_WORDS.sub(" ", normal))).strip()


def num_letters(text: str) -> int:
    """Letters and digits; a Chinese character says as much as two letters."""
    letters = sum(map(len, _LETTERS.findall(text)))
    return letters if text.isascii() else letters + sum(map(len, _HAN.findall(text)))


def repeats_author(remark: Remark, limits: Limits) -> bool:
    """The author says the same: in a comment, in the caption or on the cover."""
    return remark.is_authors


def is_emoji_only(remark: Remark, limits: Limits) -> bool:
    """No letter and no digit."""
    return _LETTERS.search(remark.normal) is None


def is_too_short(remark: Remark, limits: Limits) -> bool:
    """Too few letters to say something."""
    return remark.letters < limits.min_letters


def is_spam(remark: Remark, limits: Limits) -> bool:
    """An entry of the spam lexicon occurs in it."""
    return limits.spam.search(remark.normal) is not None


def is_said_under_anything(remark: Remark, limits: Limits) -> bool:
    """Said under so many works that it tells nothing of one."""
    return remark.num_works > limits.max_works


RULES: Final = (
    CommentRule("not the author's own words", repeats_author),
    CommentRule("not emoji only", is_emoji_only),
    CommentRule("long enough", is_too_short),
    CommentRule("not spam", is_spam),
    CommentRule("not said under anything", is_said_under_anything),
)
