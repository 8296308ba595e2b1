"""The language of a short text: by its script first, Latin letters then by function words.

A comment has too few letters for statistics of letters; script and function words say less, but are seldom wrong.
"""

import re
import unicodedata
from typing import Final, Literal, get_args

Language = Literal["zh", "ja", "ko", "en", "other_latin", "cyrillic", "arabic", "other", "none"]
LANGUAGES: Final[tuple[Language, ...]] = get_args(Language)

_SCRIPTS: Final[tuple[tuple[Language, re.Pattern[str]], ...]] = (
    ("ja", re.compile(r"[\u3041-\u3096\u30a1-\u30fa\uff66-\uff9d]")),
    ("ko", re.compile(r"[\u1100-\u11ff\u3131-\u318e\uac00-\ud7a3]")),
    ("zh", re.compile(r"[\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003134f]")),
    ("cyrillic", re.compile(r"[\u0400-\u052f]")),
    ("arabic", re.compile(r"[\u0600-\u06ff\u0750-\u077f\ufb50-\ufdff\ufe70-\ufefe]")),
    ("en", re.compile(r"[A-Za-z\u00aa\u00ba\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f\u1e00-\u1eff]")),
)
_ALPHABETS: Final[tuple[Language, ...]] = ("en", "cyrillic", "arabic")
_LETTERS_A_CHARACTER: Final = 3  # a Chinese, Japanese or Korean character weighs as much as so many letters
_LETTER: Final = re.compile(r"[^\W\d_]")
_WORDS: Final = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)?")
_ENGLISH_WORDS: Final = (
    "the a an and or but of to in on at for with from by is are was were be been am i you he she it we they my your his her its our "
    "this that these those what where when who why how which not don't doesn't can can't will would could should have has had do does "
    "did get got so too very just love like great good nice more need want some any there here about out up if than then i'm it's"
)
_OTHER_WORDS: Final = (
    # Spanish, Portuguese, French, German, Italian, Indonesian, Vietnamese and Turkish; words that English shares are left out
    "el la los las un una unos de del que y en por para con su es muy pero como mas más esta este está qué gracias donde dónde "
    "o os um uma do da dos das em não nao com isso você voce muito obrigado onde também eu ele "
    "le les des du et est pas pour avec sur dans ce cette je tu il nous vous très tres où c'est j'ai merci mais au aux une sont "
    "der das und ist ich nicht ein eine mit auf für fur von zu dem den sehr wie wo aber auch wir ihr danke "
    "il lo gli di che e è non per sono molto questo questa dove anche grazie della nel "
    "yang dan di ini itu untuk dengan tidak ada saya kamu aku bagus banget keren dari ke nya "
    "và là của có không cho này được rất đẹp quá tôi bạn "
    "bir ve bu çok için ile da ne nasıl var güzel değil ben sen teşekkürler"
)
ENGLISH_FUNCTION_WORDS: Final = frozenset(_ENGLISH_WORDS.split())
_OTHERS: Final = frozenset(_OTHER_WORDS.split()) - ENGLISH_FUNCTION_WORDS


def language_of(text: str) -> Language:
    """Give the language of a text, or its script where that names no single one; `none` without letters.

    Latin letters are English unless other languages' function words or letters with marks outweigh English function words.
    """
    if text.isascii():
        return _latin(text) if _has_letter(text) else "none"
    composed = unicodedata.normalize("NFC", text)
    weights = {name: len(pattern.findall(composed)) for name, pattern in _SCRIPTS}
    cjk = weights["zh"] + weights["ja"] + weights["ko"]
    strongest = max(_ALPHABETS, key=weights.__getitem__)
    if cjk and _LETTERS_A_CHARACTER * cjk >= weights[strongest]:
        return _east_asian(weights)
    if weights[strongest]:
        return _latin(composed) if strongest == "en" else strongest
    return "other" if _has_letter(composed) else "none"


def _east_asian(weights: dict[Language, int]) -> Language:
    # Japanese writes grammar in kana: a share of it tells, one borrowed character (の) among Chinese ones does not.
    if weights["ja"] * 5 >= weights["zh"] + weights["ja"] and weights["ja"] >= weights["ko"] and weights["ja"]:
        return "ja"
    return "ko" if weights["ko"] > weights["zh"] else "zh"


def _latin(text: str) -> Language:
    words = set(_WORDS.findall(text.casefold().replace("’", "'")))
    english, others = len(words & ENGLISH_FUNCTION_WORDS), len(words & _OTHERS)
    marked = 0 if text.isascii() else sum(not word.isascii() for word in words)
    return "other_latin" if others + marked > english else "en"


def _has_letter(text: str) -> bool:
    return _LETTER.search(text) is not None
