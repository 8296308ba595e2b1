"""Lexicons: what begs for traffic, what a query asks for, what spam says. The package ships them; settings add entries of a user's own."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Final, get_args

from reelspace.core.errors import SettingError
from reelspace.signals.settings import AddedLexicon, AddedName

NAMES: Final = ("begging", "begging_patterns", "promotions", "query_templates", "comment_spam", "aspects")
_VERSION: Final = re.compile(r"# version: (\d+)")


@dataclass(frozen=True, slots=True)
class Lexicon:
    """The entries of one file, in its order, and the version in its first line."""

    name: str
    version: int
    entries: tuple[str, ...]

    def pattern(self) -> re.Pattern[str]:
        """One expression that finds any entry."""
        for entry in self.entries:
            try:
                re.compile(entry)
            except re.error as error:
                raise SettingError(f"lexicon {self.name}: expected regular expressions, {entry!r} is none: {error}") from error
        return re.compile("|".join(f"(?:{entry})" for entry in self.entries))


@dataclass(frozen=True, slots=True)
class Lexicons:
    """All lexicons, ready to use; `versions` names the shipped and the added ones."""

    begging: frozenset[str]
    begging_pattern: re.Pattern[str]
    promotion_pattern: re.Pattern[str]
    query_templates: frozenset[str]
    comment_spam: re.Pattern[str]
    versions: dict[str, int]

    def begs(self, tag: str) -> bool:
        """Whether a hashtag in normal form is there for reach, by any lexicon."""
        return tag in self.begging or bool(self.begging_pattern.search(tag)) or bool(self.promotion_pattern.search(tag))


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


def read_added(named: str) -> AddedLexicon:
    """Read a file of a user's own, given as `lexicon=path`; it has the form of the shipped ones.

    Raises:
        SettingError: no such file or lexicon, or the file has another form.
    """
    name, equals, path = named.partition("=")
    if not equals or name not in get_args(AddedName):
        raise SettingError(f"--lexicon {named}: expected lexicon=file with a lexicon of {', '.join(get_args(AddedName))}")
    try:
        lexicon = read_lexicon(name, Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise SettingError(f"--lexicon {named}: expected a text file in UTF-8: {error}") from error
    return AddedLexicon.model_validate({"name": name, "version": lexicon.version, "entries": lexicon.entries})


def load_lexicons(added: Sequence[AddedLexicon] = ()) -> Lexicons:
    """Read the lexicons of the package and join the added entries to them.

    Raises:
        SettingError: an added entry is no regular expression where one is expected.
    """
    by_name = {name: read_lexicon(name, _text(name)) for name in NAMES}
    versions = {name: lexicon.version for name, lexicon in by_name.items()}
    for extra in added:
        known = by_name[extra.name]
        by_name[extra.name] = replace(known, entries=tuple(dict.fromkeys((*known.entries, *extra.entries))))
        versions[f"{extra.name} (added)"] = extra.version
    return Lexicons(
        begging=frozenset(by_name["begging"].entries),
        begging_pattern=by_name["begging_patterns"].pattern(),
        promotion_pattern=by_name["promotions"].pattern(),
        query_templates=frozenset(by_name["query_templates"].entries),
        comment_spam=by_name["comment_spam"].pattern(),
        versions=versions,
    )


def lexicons_digest() -> str:
    """SHA-256 over the shipped lexicons: labels name it as a parent, so that which lexicons made them can be told from code."""
    return hashlib.sha256("\0".join(f"{name}\n{_text(name)}" for name in NAMES).encode()).hexdigest()


def _text(name: str) -> str:
    return (files("reelspace.signals") / "lexicons" / f"{name}.txt").read_text(encoding="utf-8")
