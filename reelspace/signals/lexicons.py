"""Lexicons shipped with the package: what begs for traffic, what a query asks for, what spam says."""

import hashlib
import re
from dataclasses import dataclass
from importlib.resources import files
from typing import Final

from reelspace.core.errors import SettingError

NAMES: Final = ("begging", "begging_patterns", "query_templates", "comment_spam")
_VERSION: Final = re.compile(r"# version: (\d+)")


@dataclass(frozen=True, slots=True)
class Lexicon:
    """The entries of one file, in its order, and the version in its first line."""

    name: str
    version: int
    entries: tuple[str, ...]

    def pattern(self) -> re.Pattern[str]:
        """One expression that finds any entry."""
        return re.compile("|".join(f"(?:{entry})" for entry in self.entries))


@dataclass(frozen=True, slots=True)
class Lexicons:
    """All shipped lexicons."""

    begging: frozenset[str]
    begging_pattern: re.Pattern[str]
    query_templates: frozenset[str]
    comment_spam: re.Pattern[str]
    versions: dict[str, int]


def read_lexicon(name: str, text: str) -> Lexicon:
    """Read a lexicon: a first line `# version: N`, further comments behind `# `, one entry a line.

    Raises:
        SettingError: the version is missing, or an entry occurs twice.
    """
    lines = text.splitlines()
    version = _VERSION.fullmatch(lines[0].strip()) if lines else None
    if version is None:
        raise SettingError(f"lexicon {name}: expected a first line like '# version: 1', got {lines[0] if lines else 'an empty file'!r}")
    entries = tuple(line.strip() for line in lines[1:] if line.strip() and not line.startswith("# "))
    if len(set(entries)) != len(entries):
        raise SettingError(f"lexicon {name}: {next(entry for entry in entries if entries.count(entry) > 1)!r} is given twice")
    return Lexicon(name, int(version[1]), entries)


def shipped_lexicons() -> Lexicons:
    """Read the lexicons of the package."""
    by_name = {name: read_lexicon(name, _text(name)) for name in NAMES}
    return Lexicons(
        begging=frozenset(by_name["begging"].entries),
        begging_pattern=by_name["begging_patterns"].pattern(),
        query_templates=frozenset(by_name["query_templates"].entries),
        comment_spam=by_name["comment_spam"].pattern(),
        versions={name: lexicon.version for name, lexicon in by_name.items()},
    )


def lexicons_digest() -> str:
    """SHA-256 over the shipped lexicons: they are data, so the digest of the code does not see them change."""
    return hashlib.sha256("\0".join(f"{name}\n{_text(name)}" for name in NAMES).encode()).hexdigest()


def _text(name: str) -> str:
    return (files("reelspace.signals") / "lexicons" / f"{name}.txt").read_text(encoding="utf-8")
