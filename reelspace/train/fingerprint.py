"""What the weights of a training depend on, by name, so that a resume can say what is not as it was."""

import hashlib
from collections.abc import Mapping

from reelspace.core.artifacts import canonical_json

Fingerprint = dict[str, str]
"""Settings as JSON by their dotted path, data as SHA-256 under `data.<name>`."""
_MAX_NAMED = 3
_DIGEST_LETTERS = 64


def fingerprint(settings: Mapping[str, object], data: Mapping[str, bytes]) -> Fingerprint:
    """Take the fingerprint of settings, which may be nested, and of data."""
    return _leaves(settings) | {f"data.{name}": hashlib.sha256(part).hexdigest() for name, part in data.items()}


def digest(found: Fingerprint) -> str:
    """Give one SHA-256 for a whole fingerprint, 64 hex digits."""
    return hashlib.sha256(canonical_json(found)).hexdigest()


def differences(theirs: Fingerprint, ours: Fingerprint) -> str:
    """Name where two fingerprints differ, in a few words; nothing if they are equal."""
    names = [name for name in sorted({*theirs, *ours}) if theirs.get(name) != ours.get(name)]
    told = [_difference(name, theirs.get(name), ours.get(name)) for name in names[:_MAX_NAMED]]
    rest = len(names) - len(told)
    return ", ".join(told) + (f" and {rest} more" if rest > 0 else "")


def _leaves(values: Mapping[str, object], prefix: str = "") -> Fingerprint:
    leaves: Fingerprint = {}
    for name, value in values.items():
        leaves |= _leaves(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: canonical_json(value).decode()}
    return leaves


def _difference(name: str, theirs: str | None, ours: str | None) -> str:
    if any(value is not None and len(value) >= _DIGEST_LETTERS for value in (theirs, ours)):
        return f"{name} differ"
    return f"{name} was {theirs or 'not known'}, is {ours or 'not known'}"
