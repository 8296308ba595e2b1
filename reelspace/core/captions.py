"""Captions: the words an author wrote and the hashtags among them.

A tag opens with `#` or its full-width form and ends at white space, at a sentence mark or at the next `#`.
`#x#` is a closed tag, `#a#b` are two adjacent tags, `##` closes one and opens the next. The fragment of a web
address, an HTML entity, the keycap emoji and a bare small number ("the #1 reason") are no tags.
"""

import re
import unicodedata
from dataclasses import dataclass
from typing import Final

_HASH: Final = "#＃"
_ENDS_TAG: Final = re.escape('@＠，。！？；：、…,!?;:"“”‘’()（）[]【】《》〈〉<>「」『』{}|\\/~～*^=—�')
_NAME: Final = rf"(?:[^\s{_HASH}{_ENDS_TAG}.\u20e3\ufe0f]\ufe0f?|\.(?=[0-9A-Za-z]))+"
_RUN: Final = re.compile(rf"(?:[{_HASH}]+{_NAME})+[{_HASH}]*")
_TWO_HASHES: Final = re.compile(rf"([{_HASH}]{{2,}})")
_ONE_HASH: Final = re.compile(rf"[{_HASH}]")
_LONE_HASHES: Final = re.compile(rf"(?<!\S)[{_HASH}]+(?!\S)|(?<=[{_ENDS_TAG}.])[{_HASH}]+(?!\S)")
_SENTENCE_GOES_ON: Final = re.compile(rf"[{_ENDS_TAG}.][^\s{_HASH}]")
_NOT_TAGS: Final = re.compile(
    r"(?:https?://|www\.)[!-~]*[!-\"$-~]|(?<![\w.-])[a-z0-9-]+(?:\.[a-z0-9-]+)+/[!-~]*[!-\"$-~]|&#x?[0-9a-f]+;",
    re.IGNORECASE,
)
_SMALL_NUMBER: Final = re.compile(r"\d{1,2}")
_RIGHT_TO_LEFT: Final = re.compile("\u202e([^\u202c\u202e]*)\u202c")
_TRAILING_MARKS: Final = ".-'·&_"
_SPACES: Final = re.compile(r"\s+")
_SPACE_BEFORE_MARK: Final = re.compile(r"\s+(?=[，。！？；：、…,.!?;:])")
_KEPT_FORMAT_MARKS: Final = "\u200d"  # joins the parts of one emoji


@dataclass(frozen=True, slots=True)
class Caption:
    """An author's words without hashtags, and the distinct hashtags as written, without `#`, in order of appearance."""

    text: str
    tags: tuple[str, ...]


def visible_text(text: str) -> str:
    """Give the characters a reader sees, in reading order, on one line.

    Zero-width marks, control characters and lone surrogates go; text hidden from filters by a right-to-left override is turned back.
    """
    if text.isascii() and text.isprintable():
        return text
    text = _RIGHT_TO_LEFT.sub(lambda found: found[1][::-1], text)
    return "".join(_visible(character) for character in text)


def _visible(character: str) -> str:
    if character.isprintable() or character in _KEPT_FORMAT_MARKS:
        return character
    return " " if unicodedata.category(character) in ("Cc", "Zs", "Zl", "Zp") else ""


def parse_caption(text: str) -> Caption:
    """Split a caption into its words and its hashtags.

    A closed tag keeps the words that follow it (`for #music# lovers`). Where `#a#b` could be both, `b` is a tag unless
    the sentence goes on behind it (`#a#b, and then`) or the hashes of the run pair up to its end (`#a#b#c#`).
    """
    text = visible_text(text)
    if not any(mark in text for mark in _HASH):
        return Caption(_SPACES.sub(" ", text).strip(), ())
    kept: list[str] = []
    tags: list[str] = []
    start = 0
    for address in _NOT_TAGS.finditer(text):
        _read_part(text[start : address.start()], kept, tags)
        kept.append(address[0])
        start = address.end()
    _read_part(text[start:], kept, tags)
    words = _SPACES.sub(" ", _LONE_HASHES.sub(" ", "".join(kept)))
    return Caption(_SPACE_BEFORE_MARK.sub("", words).strip(), tuple(dict.fromkeys(tags)))


def _read_part(text: str, kept: list[str], tags: list[str]) -> None:
    start = 0
    for run in _RUN.finditer(text):
        kept.append(text[start : run.start()])
        goes_on = _SENTENCE_GOES_ON.match(text, run.end()) is not None
        kept.append(_read_run(run[0], tags, goes_on))
        start = run.end()
    kept.append(text[start:])


def _read_run(run: str, tags: list[str], sentence_goes_on: bool) -> str:
    """Add the tags of one run of hashes and names to `tags`; give the words left between them."""
    pieces = _TWO_HASHES.split(run)
    words = []
    for position in range(0, len(pieces), 2):
        segment = pieces[position]
        is_last = position == len(pieces) - 1
        names = [name for name in _ONE_HASH.split(segment) if name]
        closed = not is_last or segment[-1:] in tuple(_HASH)
        if closed and len(names) % 2 == 1:
            found, words_between = names[0::2], names[1::2]
        elif not closed and len(names) > 1 and sentence_goes_on:
            found, words_between = names[:-1], names[-1:]
        else:
            found, words_between = names, []
        words.extend(words_between)
        for name in found:
            _read_name(name, tags, words)
    return f" {' '.join(words)} "


def _read_name(name: str, tags: list[str], words: list[str]) -> None:
    tag = name.rstrip(_TRAILING_MARKS)
    if _SMALL_NUMBER.fullmatch(tag):
        words.append(f"#{name}")
    elif any(character.isalnum() or unicodedata.category(character) == "So" for character in tag):
        tags.append(tag)
    else:
        words.append(name)
