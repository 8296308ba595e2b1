"""Times in payloads and filters: RFC 3339 and the looser forms that the Qdrant dialect reads."""

import re
from datetime import date
from typing import Final

_FORM: Final = re.compile(
    r"\s*(?P<year>[0-9]{4})-(?P<month>[0-9]{1,2})-(?P<day>[0-9]{1,2})"
    r"(?:(?:[Tt]|\s+)(?P<hour>[0-9]{1,2}):(?P<minute>[0-9]{1,2})"
    r"(?::(?P<second>[0-9]{1,2})(?:\.(?P<fraction>[0-9]+))?"
    r"(?P<zone>\s*[Zz]|\s+UTC|\s*[+-][0-9]{2}(?::?[0-9]{2})?)?)?)?"
)
_EPOCH_DAY: Final = date(1970, 1, 1).toordinal()
_SECONDS_PER_DAY: Final = 86_400


def parse_time(text: str) -> int | None:
    """Read a time as microseconds since 1970 in UTC; None where the text is no time.

    A time without a zone is UTC, a day alone its first instant; finer fractions are cut to microseconds.
    """
    match = _FORM.fullmatch(text)
    if match is None:
        return None
    hour, minute, second = (int(match[name] or 0) for name in ("hour", "minute", "second"))
    offset_s = _offset_s(match["zone"])
    if hour > 23 or minute > 59 or second > 59 or offset_s is None:
        return None
    try:
        day = date(int(match["year"]), int(match["month"]), int(match["day"])).toordinal() - _EPOCH_DAY
    except ValueError:
        return None
    seconds = day * _SECONDS_PER_DAY + hour * 3600 + minute * 60 + second - offset_s
    return seconds * 1_000_000 + int((match["fraction"] or "")[:6].ljust(6, "0"))


def _offset_s(zone: str | None) -> int | None:
    zone = (zone or "Z").strip()
    if zone in ("Z", "z", "UTC"):
        return 0
    hours, minutes = int(zone[1:3]), int(zone[-2:]) if len(zone) > 3 else 0
    if hours > 23 or minutes > 59:
        return None
    size_s = hours * 3600 + minutes * 60
    return -size_s if zone[0] == "-" else size_s
