"""Words: Chinese text segmented by dictionary, other text at white space and punctuation."""

import re
from collections.abc import Iterable
from typing import Any, Final

_PARTS: Final = re.compile(r"[\u3400-\u9fff]+|[^\W\u3400-\u9fff]+(?:'[a-z]+)?")
_HAN: Final = re.compile(r"[\u3400-\u9fff]")
_KNOWN_WORD_FREQUENCY: Final = 1_000_000  # above every entry of the shipped dictionary's topical words: tags stay whole


class Segmenter:
    """Cuts normal texts into words; texts are cut once and remembered.

    Args:
        known_words: texts that stay whole, such as hashtags; only Chinese ones of 2 to 8 characters matter.
    """

    def __init__(self, known_words: Iterable[str] = ()) -> None:
        self._known_words = sorted({word for word in known_words if 2 <= len(word) <= 8 and _HAN.search(word)})
        self._chinese: Any = None
        self._cut: dict[str, tuple[str, ...]] = {}

    def words(self, text: str) -> tuple[str, ...]:
        """The words of a normal text, in order, with repetitions."""
        known = self._cut.get(text)
        if known is None:
            known = self._cut[text] = tuple(word for part in _PARTS.findall(text) for word in self._cut_part(part))
        return known

    def _cut_part(self, part: str) -> Iterable[str]:
        if not _HAN.match(part):
            return (part,)
        if self._chinese is None:
            self._chinese = _chinese_tokenizer(self._known_words)
        return list(self._chinese.cut(part, HMM=False))


def _chinese_tokenizer(known_words: list[str]) -> Any:
    # jieba is an optional dependency of `signals`, and its dictionary takes a second to read.
    import jieba

    tokenizer = jieba.Tokenizer()
    # Filled by hand: initialize() would log, and keep and trust a cache file in the shared temporary directory.
    tokenizer.FREQ, tokenizer.total = tokenizer.gen_pfdict(tokenizer.get_dict_file())
    tokenizer.initialized = True
    for word in known_words:
        tokenizer.add_word(word, _KNOWN_WORD_FREQUENCY)
    return tokenizer
