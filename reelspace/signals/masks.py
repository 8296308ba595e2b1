"""Masks: what tells a person apart (addresses, handles, account and phone numbers) gives way to `***` in every text that is written out.

What is looked at has every letter and digit in one width; what is kept is the text as written. Hidden are
- addresses of pages whole (`https://***`), without a scheme what follows the host (`weibo.com/***`), and of e-mail (`***@***`);
- handles (`@***`), on Kuaishou with the account behind the name in brackets;
- the account that follows `微信`, `vx`, `qq`, `加v` and the like;
- seven and more digits, also with spaces, dashes and dots between, circled, as keycaps or as Chinese numerals one by one. Dates and
  years in a row stay, and so do prices.
"""

import re
import unicodedata
from collections import Counter
from functools import lru_cache
from typing import Final

MASK: Final = "***"
KINDS: Final = ("url", "email", "handle", "account", "number")

_NUMERALS: Final = "〇零○一二三四五六七八九幺壹贰叁肆伍陆柒捌玖"
_DIGIT: Final = rf"[\d{_NUMERALS}]\ufe0f?\u20e3?"
_BETWEEN: Final = "[ .·_~\\-‐‑–—\u2600-\u27bf\U0001f300-\U0001faff]{0,3}"
_DAY: Final = r"(?:19|20)\d\d(?P<dot>[-./ ])(?:0?[1-9]|1[0-2])(?P=dot)(?:0?[1-9]|[12]\d|3[01])"
_A_DAY: Final = r"(?:19|20)\d\d[-./ ](?:0?[1-9]|1[0-2])[-./ ](?:0?[1-9]|[12]\d|3[01])(?!\d)"
_PRICE: Final = r"[¥$€£] ?\d{1,10}(?!\d)|\d{1,10}(?= ?(?:元|块|万|亿|円))"
_YEARS: Final = r"(?:(?:19|20)\d\d[ \-–—~]+)+(?:19|20)\d\d"
_COUNTING: Final = "一二三四五六七八九"
_LATIN_APPS: Final = r"(?<![a-z0-9])(?:vx|wx|wechat|weixin|whatsapp|telegram|qq|\+[vq](?![a-z]))"
_ADD_ME: Final = r"(?:加|➕)(?:我|个)?(?:[vq]|微|薇|扣)"
_APPS: Final = rf"(?:微信|威信|薇信|微❤️?|卫星号|v信|扣扣|企鹅号|[账帐]号|快手号|抖音号|{_LATIN_APPS}|{_ADD_ME})"
_TO_ACCOUNT: Final = r"(?:账号|帐号|号码|号|群|id|是|为|我)?[ :;,=|/-]{0,3}(?:账号|帐号|号|群|id)?[ :;,=|/-]{0,3}"
# Words that stand behind the name of an app in ordinary texts.
_ORDINARY: Final = r"iphone|android|windows|harmony\w*|program\w*|official|moments?|channels?|video\w*|music\w*|wechat|weixin"
_ACCOUNT: Final = rf"(?:(?!(?:{_ORDINARY})(?![\w-]))[a-z][a-z0-9_-]{{5,19}}|(?:[0-9]{_BETWEEN}){{4,}}[0-9])"
_PATTERN: Final = re.compile(
    r"(?P<scheme>(?:https?|ftp)://)[!-~]+"
    r"|(?P<email>(?<![a-z0-9._%+-])[a-z0-9._%+-]{1,64}@(?:[a-z0-9-]{1,63}\.)+[a-z]{2,})"
    r"|(?P<host>(?<![a-z0-9.-])(?:[a-z0-9-]{1,63}\.)+[a-z]{2,}/)[a-z0-9_~?=&%@+-][!-~]*"
    r"|(?P<handle>@(?:#?[^@#\n]{1,40}?(?:\(o[0-9a-z_-]+\))+|[^\s@#,，。!?;:、]+)|\(o3[0-9a-z]{5,}\))"
    rf"|(?P<app>{_APPS}{_TO_ACCOUNT}){_ACCOUNT}"
    rf"|(?P<kept>(?<!\d)(?:(?:{_DAY}|{_YEARS})(?!\d)|{_PRICE}))"
    # a numeral that ends a word (`双十一2020`) is no part of the number behind it
    rf"|(?P<number>(?:(?=\d)(?:{_DIGIT}{_BETWEEN}(?!{_A_DAY})){{6,}}{_DIGIT}|(?:[{_NUMERALS}]{_BETWEEN}){{6,}}[{_NUMERALS}]))",
    re.IGNORECASE,
)
# A quick look that passes most texts: without one of these nothing can be found.
_SUSPECT: Final = re.compile(rf"[@/]|(?:{_DIGIT}{_BETWEEN}){{4}}|{_APPS}", re.IGNORECASE)
_MARKS: Final = re.compile(
    rf"(?P<email>\*{{3}}@\*{{3}})|(?P<handle>@\*{{3}})|(?P<url>/\*{{3}})|(?P<account>{_APPS}{_TO_ACCOUNT}\*{{3}})|(?P<number>\*{{3}})",
    re.IGNORECASE,
)


def masked(text: str) -> str:
    """Give the text with everything of KINDS hidden; a masked text stays as it is."""
    folded = _folded(text)
    if not _SUSPECT.search(folded):
        return text
    parts, start = [], 0
    for found in _PATTERN.finditer(folded):
        first, mark = _mark(found, text)
        parts += [text[start:first], mark]
        start = found.end()
    return "".join([*parts, text[start:]])


def marks_in(text: str) -> Counter[str]:
    """Count the masks in a text by kind; an author's own `***` counts as a number."""
    if MASK not in text:
        return Counter()
    return Counter(str(found.lastgroup) for found in _MARKS.finditer(_folded(text)))


def _mark(found: re.Match[str], text: str) -> tuple[int, str]:
    """Where the hidden part starts, and what takes its place."""
    kept = next((name for name in ("scheme", "host", "app") if found[name] is not None), None)
    if kept:
        return found.end(kept), MASK
    if found["kept"] is not None or (found["number"] is not None and found["number"] in _COUNTING):
        return found.start(), text[found.start() : found.end()]
    if found["email"] is not None:
        return found.start(), f"{MASK}@{MASK}"
    return found.start(), f"@{MASK}" if found["handle"] is not None else MASK


def _folded(text: str) -> str:
    """Every character in its plain width, so that places stay the same."""
    if text.isascii() or unicodedata.is_normalized("NFKC", text):
        return text
    return "".join(map(_plain, text))


@lru_cache(maxsize=1 << 16)
def _plain(character: str) -> str:
    plain = unicodedata.normalize("NFKC", character)
    return plain if len(plain) == 1 else character
