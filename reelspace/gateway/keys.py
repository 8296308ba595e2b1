"""API keys: a file with their hashes, and finding the one that a client sent."""

from collections.abc import Sequence
from datetime import UTC, datetime
from hashlib import sha256
from hmac import compare_digest
from pathlib import Path
from secrets import token_urlsafe
from typing import Final, Self

from pydantic import AwareDatetime, Field, model_validator

from reelspace.core.errors import SettingError
from reelspace.core.settings import Settings, read
from reelspace.gateway.operations import Scope

EVERY: Final = "*"
KEY_BYTES: Final = 32
_NAME: Final = r"^[A-Za-z0-9._-]{1,64}$"


class ApiKey(Settings):
    """Who a key is, and what it may do."""

    name: str = Field(pattern=_NAME, description="Whose it is, for logs.")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="SHA-256 of the key, hexadecimal; the key itself is kept nowhere.")
    scopes: tuple[Scope, ...] = Field(min_length=1, description="What it may do: read, write, admin; none of them contains another.")
    collections: tuple[str, ...] = Field(min_length=1, description="Names or aliases of the collections it may see; * for all.")
    expires_at: AwareDatetime | None = Field(None, description="From when it is valid no more, with its time zone; None for never.")
    requests_per_s: float | None = Field(None, gt=0, description="Requests a second of each gateway process; None for no limit.")
    concurrent: int | None = Field(None, ge=1, description="Requests at a time of each gateway process; None for no limit.")

    @property
    def sees_all(self) -> bool:
        """Tell whether it is for all collections."""
        return EVERY in self.collections


class _KeysFile(Settings):
    keys: tuple[ApiKey, ...]

    @model_validator(mode="after")
    def _are_different(self) -> Self:
        for field in ("name", "sha256"):
            values = [getattr(key, field) for key in self.keys]
            twice = next((place for place, value in enumerate(values) if value in values[:place]), None)
            if twice is not None:
                raise ValueError(f"{field} of key {self.keys[twice].name!r} is that of another key")
        return self


class KeyRing:
    """The keys that are valid unless they have expired."""

    def __init__(self, keys: Sequence[ApiKey]) -> None:
        self._keys = tuple((bytes.fromhex(key.sha256), key) for key in keys)

    def find(self, secret: str) -> ApiKey | None:
        """Give the key that a client sent, None if it is none of ours or has expired."""
        return self.of_digest(sha256(secret.encode(errors="replace")).digest())

    def of_digest(self, digest: bytes) -> ApiKey | None:
        """Give the key of a SHA-256, None if it is none of ours or has expired.

        Hashes are compared in constant time, and with all keys, so that the time tells nothing of them.
        """
        found = None
        for known, key in self._keys:
            if compare_digest(known, digest):
                found = key
        return None if found is None or (found.expires_at is not None and found.expires_at <= datetime.now(UTC)) else found


def parse_keys(text: str) -> tuple[ApiKey, ...]:
    """Read a list of keys; SettingError names the place of what is wrong, and repeats no value: it could be a key."""
    try:
        return read(_KeysFile, f'{{"keys": {text}\n}}').keys
    except SettingError as error:
        raise SettingError(str(error).partition(", got ")[0]) from None


def read_keys(path: Path) -> tuple[ApiKey, ...]:
    """Read a file of keys.

    Raises:
        SettingError: it cannot be read, or is no list of keys.
    """
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingError(f"keys_file {path}: cannot be read: {error}") from error
    try:
        return parse_keys(text)
    except SettingError as error:
        raise SettingError(f"keys_file {path}: {error}") from error


def new_key(name: str, scopes: Sequence[str], collections: Sequence[str], expires_at: datetime | None = None) -> tuple[str, ApiKey]:
    """Make a key: the secret, to be told once, and what the file says of it; SettingError as `read`."""
    secret = token_urlsafe(KEY_BYTES)
    facts = {"name": name, "sha256": sha256(secret.encode()).hexdigest(), "scopes": scopes, "collections": collections}
    return secret, read(ApiKey, facts | ({"expires_at": expires_at.isoformat()} if expires_at is not None else {}))
