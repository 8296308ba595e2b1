"""Limits of the V2 endpoint."""

from pydantic import Field

from reelspace.core.settings import Settings


class EndpointSettings(Settings):
    """How long inferences may take, and what clients may make the endpoint hold."""

    timeout_s: float = Field(10.0, gt=0, le=600, description="Longest wait for Triton, per request, seconds; clients may wait for less.")
    arrival_s: float = Field(30.0, gt=0, le=600, description="Longest wait for the whole body of a request over HTTP, seconds.")
    max_running: int = Field(64, ge=1, description="Requests of one model that Triton has at a time; more are refused.")
    max_held_bytes: int = Field(256 << 20, ge=1024, description="Bodies of unanswered requests over HTTP, all together, bytes.")
    rollout_poll_s: float = Field(1.0, gt=0, le=60, description="Time between looks for versions that are rolled out, seconds.")
