"""Keys of a store: relative, slash-separated, safe as paths below a directory."""

from reelspace.core.errors import InternalError

PRIVATE = ".reelspace"  # first part of the names a store keeps for itself: locks, temporary files, probes
_MAX_KEY_BYTES = 1024
_MAX_PART_BYTES = 255


def checked_key(key: str) -> str:
    """Return the key, or refuse one that could leave the store's root or mean two things.

    Raises:
        InternalError: the key is empty, absolute, has an empty, `.` or `..` part, a control character or a backslash,
            is longer than S3 (1024 bytes) or a file system (255 bytes a part) allows, or is private to the store.
    """
    problem = key_problem(key)
    if problem:
        raise InternalError(f"store key {key[:200]!r} is refused: {problem}")
    return key


def checked_prefix(prefix: str) -> str:
    """Return the prefix (it may be empty, or end in a slash or amid a part), or refuse it as `checked_key` does."""
    if prefix:
        checked_key(prefix.removesuffix("/"))
    return prefix


def key_problem(key: str) -> str | None:
    """Tell why a key is refused, or None."""
    parts = key.split("/")
    if key.startswith("/"):
        return "it is absolute"
    if any(part in ("", ".", "..") for part in parts):
        return "it has an empty, '.' or '..' part"
    if any(ord(letter) < 32 or ord(letter) == 127 or letter == "\\" for letter in key):
        return "it has a control character or a backslash"
    if not _is_utf8(key):
        return "it cannot be written as UTF-8"
    if len(key.encode()) > _MAX_KEY_BYTES or any(len(part.encode()) > _MAX_PART_BYTES for part in parts):
        return f"it is longer than {_MAX_KEY_BYTES} bytes, or a part of it than {_MAX_PART_BYTES}"
    if parts[0] == PRIVATE:
        return f"names below {PRIVATE}/ belong to the store"
    return None


def _is_utf8(key: str) -> bool:
    try:
        key.encode()
    except UnicodeEncodeError:
        return False
    return True
