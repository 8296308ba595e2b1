"""From what is asked on a command line to settings: large numbers, sizes of memory, files."""

import json
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Final

from reelspace.core.errors import UserError
from reelspace.core.settings import read
from reelspace.search.planning.measured import KINDS, Kind
from reelspace.search.planning.settings import SearchPlanSettings

_MOST_DIGITS: Final = 18
_SIZE: Final = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(GB|GiB|TB|TiB)\s*")
_GB: Final = {"GB": 1.0, "GiB": 2**30 / 1e9, "TB": 1000.0, "TiB": 2**40 / 1e9}


def whole(option: str, text: str) -> int:
    """Read a whole number, such as 100000000, 100_000_000 or 1e8.

    Raises:
        UserError: it is none; names the option.
    """
    try:
        number = Decimal(text)
        if number.is_finite() and number.adjusted() <= _MOST_DIGITS and number == number.to_integral_value():
            return int(number)
    except InvalidOperation:
        pass
    raise UserError(f"{option}: expected a whole number such as 1e9, got {text!r}")


def gb(option: str, text: str) -> float:
    """Read a size of memory, such as 24GB or 128GiB, in GB of 10^9 bytes.

    Raises:
        UserError: it is no size; names the option.
    """
    found = _SIZE.fullmatch(text)
    if found is None:
        raise UserError(f"{option}: expected a size such as 24GB or 128GiB, got {text!r}")
    return float(found[1]) * _GB[found[2]]


def kinds(option: str, texts: Sequence[str]) -> list[Kind]:
    """Read index types; UserError for an unknown one names the option and the known ones."""
    unknown = [text for text in texts if text not in KINDS]
    if unknown:
        raise UserError(f"{option}: expected one of {', '.join(KINDS)}, got {unknown[0]!r}")
    return [kind for kind in KINDS if kind in texts]


def read_settings(file: Path | None, options: Mapping[str, object], overrides: Sequence[str]) -> SearchPlanSettings:
    """Read a plan's settings: a file's, then the options that are not None, then overrides.

    Args:
        options: by the dotted path of a setting.

    Raises:
        UserError: a setting is wrong or missing, or the file cannot be read.
    """
    given = [f"{path}={value if isinstance(value, str) else json.dumps(value)}" for path, value in options.items() if value is not None]
    return read(SearchPlanSettings, "{}" if file is None else _text_of(file), [*given, *overrides])


def _text_of(file: Path) -> str:
    try:
        return file.read_text()
    except OSError as error:
        raise UserError(f"--settings: expected a readable JSON file, got {file}: {error.strerror}") from error
