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
        self._ordinary: frozenset[str] = frozenset()
        self._loaded: Any = None
        self._cut: dict[str, tuple[str, ...]] = {}

    def words(self, text: str) -> tuple[str, ...]:
        """The words of a normal text, in order, with repetitions."""
        known = self._cut.get(text)
        if known is None:
            known = self._cut[text] = tuple(word for part in _PARTS.findall(text) for word in self._cut_part(part))
        return known

    def is_ordinary(self, known_word: str) -> bool:
        """Whether the dictionary has the known word, or makes it up of longer words: then it is hardly a slip of the pen."""
        self._chinese()
        return known_word in self._ordinary

    def _cut_part(self, part: str) -> Iterable[str]:
        return list(self._chinese().cut(part, HMM=False)) if _HAN.match(part) else (part,)

    def _chinese(self) -> Any:
        if self._loaded is None:
            loaded = _chinese_tokenizer()
            self._ordinary = frozenset(word for word in self._known_words if _is_made_of_words(word, loaded))
            for word in self._known_words:
                loaded.add_word(word, _KNOWN_WORD_FREQUENCY)
            # Only when it knows all words: another thread may be asking.
            self._loaded = loaded
        return self._loaded


def _is_made_of_words(text: str, tokenizer: Any) -> bool:
    return all(len(word) > 1 for part in _PARTS.findall(text) if _HAN.match(part) for word in tokenizer.cut(part, HMM=False))


def _chinese_tokenizer() -> Any:
    # jieba is an optional dependency of `signals`, and its dictionary takes a second to read.
    import jieba

    tokenizer = jieba.Tokenizer()
    # Filled by hand: initialize() would log, and keep and trust a cache file in the shared temporary directory.
    tokenizer.FREQ, tokenizer.total = tokenizer.gen_pfdict(tokenizer.get_dict_file())
    tokenizer.initialized = True
    return tokenizer
