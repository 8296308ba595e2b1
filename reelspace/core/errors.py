"""The one tree of errors; a message says what was expected, what came, where, and what to do.

ReelspaceError                 exit
├── UserError                   2    the input or a setting is wrong: trying again changes nothing
│   ├── SettingError                 a key is unknown, missing, mistyped or out of range
│   ├── TableError                   an input table breaks its schema
│   ├── ArtifactMissing              the store has no such object or artifact
│   ├── CorruptArtifact              bytes do not match their manifest
│   ├── OutputOccupied               a directory is not empty, or another process works in it
│   ├── GateRefused                  a measured figure is below its bar
│   ├── PlaceRefused                 where a step was to run refuses what it was asked
│   └── BadMedia                     media that cannot be decoded
├── TemporaryError             75    the surroundings failed: try again
│   ├── PreconditionFailed           a conditional write lost
│   ├── StoreUnavailable             the object store did not answer
│   ├── DiskFull                     no space left
│   └── ServerUnavailable            a server of ours did not answer
└── InternalError              70    our bug
"""

import errno
from collections.abc import Iterator
from typing import ClassVar

_DISK_FULL_NUMBERS = frozenset({errno.ENOSPC, errno.EDQUOT})
_DISK_FULL_TEXTS = ("no space left on device", "disk quota exceeded")


class ReelspaceError(Exception):
    """Every error we raise on purpose.

    `permanent` tells a step whether the same key must fail the same way again, so that a retry may end at once.
    """

    exit_code: ClassVar[int] = 70
    permanent: ClassVar[bool] = False


class UserError(ReelspaceError):
    """The input or a setting is wrong."""

    exit_code: ClassVar[int] = 2
    permanent: ClassVar[bool] = True


class SettingError(UserError):
    """A setting is unknown, missing, mistyped or out of range."""


class TableError(UserError):
    """An input table breaks its schema."""


class ArtifactMissing(UserError):
    """The store holds no object or artifact of that name."""

    permanent: ClassVar[bool] = False


class CorruptArtifact(UserError):
    """Bytes do not match the manifest that names them."""

    permanent: ClassVar[bool] = False


class OutputOccupied(UserError):
    """A directory is in use by another process, or holds what would be overwritten."""

    permanent: ClassVar[bool] = False


class GateRefused(UserError):
    """A measured figure is below its bar."""


class PlaceRefused(UserError):
    """Where a step was to run refuses what it was asked; with the place put right, the same key may succeed."""

    permanent: ClassVar[bool] = False


class BadMedia(UserError):
    """Media that cannot be decoded."""


class TemporaryError(ReelspaceError):
    """The surroundings failed; the same call may succeed later."""

    exit_code: ClassVar[int] = 75


class PreconditionFailed(TemporaryError):
    """A conditional write lost against another writer."""


class StoreUnavailable(TemporaryError):
    """The object store did not answer, or answered that it cannot now."""


class DiskFull(TemporaryError):
    """No space is left where bytes must go."""


class ServerUnavailable(TemporaryError):
    """A server that belongs to us did not answer."""


class InternalError(ReelspaceError):
    """A bug of ours."""

    exit_code: ClassVar[int] = 70


def as_reelspace_error(error: BaseException) -> ReelspaceError:
    """Place any error in the tree: a full disk, however wrapped, is DiskFull, a read-only one temporary; what is not ours InternalError."""
    if isinstance(error, ReelspaceError):
        return error
    for link in _chain(error):
        if isinstance(link, ReelspaceError):
            return link
        if _is_disk_full(link):
            return DiskFull(f"the disk is full: {_one_line(link)}; free space and run again")
        if isinstance(link, OSError) and link.errno == errno.EROFS:
            return TemporaryError(f"what must be written is read-only: {_one_line(link)}; make it writable and run again")
    return InternalError(f"unexpected {type(error).__name__}: {_one_line(error)}")


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__


def _is_disk_full(error: BaseException) -> bool:
    if isinstance(error, OSError) and error.errno in _DISK_FULL_NUMBERS:
        return True
    # Arrow, polars, safetensors and torch wrap the system's error in classes of their own, keeping only its words.
    return any(text in str(error).lower() for text in _DISK_FULL_TEXTS)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
