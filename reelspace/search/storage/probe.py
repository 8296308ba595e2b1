"""Tries once whether a store keeps what the log is built on, whatever stands behind it."""

import secrets
from collections.abc import Callable
from typing import Final

from reelspace.core.errors import PreconditionFailed, SettingError
from reelspace.core.store import Store

_PLACE: Final = "probes"


def probe_store(store: Store) -> None:
    """Write, replace, list and remove one small object under conditions, as the log does.

    Raises:
        SettingError: the store ignores a condition, does not show what it took, or its filesystem has no hard links; names the store.
    """
    key = f"{_PLACE}/{secrets.token_hex(8)}"
    try:
        etag = _supported(store, lambda: store.put_if_absent(key, b"1"))
        refused = {
            "a write of what exists (put_if_absent)": lambda: store.put_if_absent(key, b"2"),
            "a replacement of something else (put_if_match)": lambda: store.put_if_match(key, b"2", "0" * len(etag)),
            "a replacement of what is not there (put_if_match)": lambda: store.put_if_match(f"{key}-absent", b"2", etag),
        }
        for what, write in refused.items():
            if not _is_refused(write):
                raise _unfit(store, f"accepts {what}")
        _check_shown(store, key, b"1")
        store.put_if_match(key, b"3", etag)
        _check_shown(store, key, b"3")
    finally:
        store.delete(key)
        store.delete(f"{key}-absent")


def _supported(store: Store, write: Callable[[], str]) -> str:
    try:
        return write()
    except PermissionError as error:  # what link(2) says on a filesystem without hard links
        raise _unfit(store, f"cannot create a file once: {error.strerror}") from error


def _is_refused(write: Callable[[], str]) -> bool:
    try:
        write()
    except PreconditionFailed:
        return True
    return False


def _check_shown(store: Store, key: str, data: bytes) -> None:
    if store.get(key) != data:
        raise _unfit(store, "does not give back what it took last")
    if list(store.list(key)) != [key]:
        raise _unfit(store, "does not list what it took")


def _unfit(store: Store, what: str) -> SettingError:
    return SettingError(f"store {store.url} {what}: a log there would lose writes; choose a store that honours conditions")
