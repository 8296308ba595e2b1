"""Settings of the gateway process."""

import re
from typing import Annotated

from pydantic import AfterValidator, Field

from reelspace.core.settings import Settings
from reelspace.search.access.fanout import FanoutSettings


def _address(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9.-]+:[0-9]{1,5}", value):
        raise ValueError("expected host:port")
    return value


Address = Annotated[str, AfterValidator(_address)]


class GatewaySettings(Settings):
    """Where the gateway listens, and what it stands in front of."""

    store: str = Field(min_length=1, description="Directory or s3://bucket/prefix that holds what was promoted.")
    triton_grpc: Address = Field(description="host:port of Triton's gRPC, for shards and the text encoder.")
    triton_http: Address = Field(description="host:port of Triton's HTTP, for the V2 protocol.")
    host: str = Field("127.0.0.1", min_length=1, description="Address to listen on.")
    port: int = Field(8000, ge=0, le=65_535, description="Port to listen on; 0 takes a free one.")
    fanout: FanoutSettings = Field(default_factory=FanoutSettings, description="How queries travel to the shards.")
    ready_timeout_s: float = Field(2.0, gt=0, le=60, description="Longest wait for every model when readiness is asked, seconds.")
    shutdown_s: float = Field(10.0, gt=0, le=600, description="Longest wait for running requests at the end, seconds.")
