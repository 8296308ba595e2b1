"""Limits of what clients may make an HTTP/2 server hold and do."""

from pydantic import Field

from reelspace.core.settings import Settings


class Http2Settings(Settings):
    """What one server holds at most, and how long it waits."""

    max_connections: int = Field(4096, ge=1, description="Connections at a time; more are closed at once.")
    max_streams: int = Field(256, ge=1, le=65_536, description="Requests of one connection at a time; more may be sent again.")
    max_body_bytes: int = Field(32 << 20, ge=1024, le=1 << 30, description="Largest request, bytes.")
    max_held_bytes: int = Field(256 << 20, ge=1024, description="Bytes of unanswered requests, all connections together.")
    max_header_bytes: int = Field(16_384, ge=1024, le=1 << 20, description="Largest header list when unpacked, bytes.")
    arrival_s: float = Field(60.0, gt=0, description="Longest wait for the whole of a request, seconds.")
    answer_s: float = Field(65.0, gt=0, description="Longest work on a request, and then longest wait to send the answer, seconds.")
    idle_s: float = Field(3600.0, gt=0, description="Connections without a request for this long are closed, seconds.")
