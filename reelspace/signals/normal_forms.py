"""Normal forms: one spelling for texts that differ only in width, case, script or spacing."""

import re
import unicodedata
from collections.abc import Iterable
from typing import Final

from reelspace.core.captions import visible_text
from reelspace.signals.masks import MASK, masked

_SPACES: Final = re.compile(r"\s+")
_BETWEEN_CJK: Final = re.compile(r"(?<=[\u3400-\u9fff])\s+(?=[\u3400-\u9fff])")
_NOT_WORDS: Final = re.compile(r"[^\w\s\ue000]+|_+")
_TAG_JOINTS: Final = re.compile(r"[\W_]+")
_HAN: Final = re.compile(r"[\u3400-\u9fff]")
_STAND_IN: Final = "\ue000"  # for a mask while punctuation goes; no visible text has it


class NormalForms:
    """Gives normal forms; holds the table that turns traditional characters into simplified ones."""

    def __init__(self) -> None:
        # opencc is an optional dependency of `signals`: the lock's minimal client does not carry it.
        from opencc import OpenCC

        self._to_simplified = OpenCC("t2s")

    def text(self, text: str) -> str:
        """Width, case, script and spacing made one; punctuation stays."""
        folded = unicodedata.normalize("NFKC", visible_text(text)).casefold()
        if _HAN.search(folded):
            folded = str(self._to_simplified.convert(folded))
        return _SPACES.sub(" ", _BETWEEN_CJK.sub("", folded)).strip()

    def query(self, text: str) -> str:
        """The words of a query: like `text`, without punctuation and with persons masked."""
        hidden = masked(self.text(text)).replace(MASK, _STAND_IN)
        words = _SPACES.sub(" ", _NOT_WORDS.sub(" ", hidden)).strip()
        # without punctuation a number may have come together
        return masked(_BETWEEN_CJK.sub("", words)).replace(_STAND_IN, MASK)

    def tag(self, raw: str) -> str:
        """The normal form of a hashtag: letters and digits only, persons left out; a tag of emoji or a mask alone stays as it is."""
        text = masked(self.text(raw))
        # digits that joints kept apart are looked at again
        return _TAG_JOINTS.sub("", masked(_TAG_JOINTS.sub("", text))) or text.replace(" ", "").replace("\ufe0f", "")

    def tags(self, raws: Iterable[str]) -> dict[str, str]:
        """The normal form of every distinct hashtag."""
        return {raw: self.tag(raw) for raw in dict.fromkeys(raws)}


def public_text(text: str) -> str:
    """A text as it may be written out: visible characters, persons masked."""
    return masked(visible_text(text))


def has_han(text: str) -> bool:
    """Whether the text has a Chinese character."""
    return _HAN.search(text) is not None
