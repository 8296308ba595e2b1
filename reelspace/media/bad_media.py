"""Why a media file could not become a sample."""

from enum import StrEnum

from reelspace.core.errors import BadMedia


class Reason(StrEnum):
    """Codes of the quarantine."""

    MISSING_FILE = "missing_file"
    """No readable file is at the uri."""
    EMPTY_FILE = "empty_file"
    """The file has no bytes."""
    CHANGED_SINCE_LISTED = "changed_since_listed"
    """The bytes are not those whose hash the media table holds."""
    UNSUPPORTED = "unsupported"
    """The first bytes are of no accepted format, or there is no decoder for what is inside."""
    NO_STREAMS = "no_streams"
    """The container holds neither pictures nor sound."""
    NOTHING_INSIDE = "nothing_inside"
    """Sound alone, and wholly silent."""
    TRUNCATED = "truncated"
    """The file ends before what its own header announces."""
    CORRUPT = "corrupt"
    """The decoder refuses the bytes."""
    TOO_LARGE = "too_large"
    """A picture claims more pixels than allowed, or a shape no frame can be cut from."""
    DECODE_TIMEOUT = "decode_timeout"
    """Decoding took longer than allowed."""
    OUT_OF_MEMORY = "out_of_memory"
    """Decoding needed more memory than allowed."""
    DECODER_CRASH = "decoder_crash"
    """The decoding process died, or failed in a way nobody foresaw."""


class Undecodable(BadMedia):
    """A media file that cannot be decoded: a code and a sentence."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
