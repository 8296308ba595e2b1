"""Settings of the gateway process."""

import re
from ipaddress import ip_address
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from reelspace.core.settings import Settings
from reelspace.gateway.http2.settings import Http2Settings
from reelspace.search.access.fanout import FanoutSettings
from reelspace.search.access.replicas import ReplicaSettings
from reelspace.search.scheduling.controller import ControllerSettings
from reelspace.serving.endpoint_settings import EndpointSettings


def _address(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9.-]+:[0-9]{1,5}", value):
        raise ValueError("expected host:port")
    return value


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


Address = Annotated[str, AfterValidator(_address)]


class GatewaySettings(Settings):
    """Where the gateway listens, and what it stands in front of."""

    store: str = Field(min_length=1, description="Directory or s3://bucket/prefix that holds what was promoted.")
    backend: Literal["local", "triton", "none"] = Field(
        "triton", description="Where shards run: in this process, or on Triton; none: no collections, only encoders by the V2 protocol."
    )
    mapped_in: str | None = Field(
        None, min_length=1, description="local: directory for copies of mapped files; None holds vectors and codes in memory."
    )
    triton_grpc: Address | None = Field(None, description="host:port of Triton's gRPC, for shards and the text encoder; None without.")
    triton_http: Address | None = Field(None, description="host:port of Triton's HTTP, for the V2 protocol; None without.")
    triton_replicas: tuple[Address, ...] = Field(
        (), description="host:port of the gRPC of further Tritons, each with every shard and encoder."
    )
    encoders_grpc: tuple[Address, ...] = Field(
        (), description="host:port of the gRPC of Tritons with the promoted encoders; those of the shards if none is given."
    )
    host: str = Field("127.0.0.1", min_length=1, description="Address to listen on.")
    port: int = Field(8000, ge=0, le=65_535, description="Port to listen on; 0 takes a free one.")
    grpc_port: int | None = Field(None, ge=0, le=65_535, description="Port for gRPC; 0 takes a free one; None leaves gRPC out.")
    share_ports: bool = Field(False, description="Let other gateway processes of this user listen on the same ports (SO_REUSEPORT).")
    keys_file: str | None = Field(None, min_length=1, description="JSON file of API keys, read again when it changes; None asks for none.")
    without_keys: bool = Field(False, description="Let everyone in who reaches a host other than this machine's own; else keys are needed.")
    tls_cert: str | None = Field(None, min_length=1, description="PEM file of the certificate and its chain, both faces; None without.")
    tls_key: str | None = Field(None, min_length=1, description="PEM file of the certificate's private key, without password.")
    admin_port: int | None = Field(None, ge=0, le=65_535, description="Port for health and metrics, without TLS; None: on `port`.")
    access_log: bool = Field(False, description="Write a line of JSON on stderr for every answered request; no vectors, no payloads.")
    http2: Http2Settings = Field(default_factory=Http2Settings, description="What clients may make the gRPC server hold and do.")
    v2: EndpointSettings = Field(default_factory=EndpointSettings, description="How long inferences take, and what clients may hold.")
    fanout: FanoutSettings = Field(default_factory=FanoutSettings, description="How queries travel to the shards.")
    controller: ControllerSettings = Field(
        default_factory=ControllerSettings, description="How generations come and go, where this process is the one that sees to it."
    )
    without_controller: bool = Field(False, description="Leave generations to other processes: see `reelspace search controller`.")
    replicas: ReplicaSettings = Field(
        default_factory=ReplicaSettings, description="When another server of a shard is asked, and when one is asked no more."
    )
    ready_timeout_s: float = Field(2.0, gt=0, le=60, description="Longest wait for every model when readiness is asked, seconds.")
    drain_s: float = Field(0.0, ge=0, le=600, description="At the end, be unready for so long before taking nothing more, seconds.")
    shutdown_s: float = Field(10.0, gt=0, le=600, description="Longest wait for running requests at the end, seconds.")

    @property
    def tritons(self) -> tuple[str, ...]:
        """Give host:port of the gRPC of every Triton."""
        return (*([self.triton_grpc] if self.triton_grpc else []), *self.triton_replicas)

    @model_validator(mode="after")
    def _has_triton_whole(self) -> Self:
        if self.backend == "triton" and self.triton_grpc is None:
            raise ValueError("the backend triton needs triton_grpc")
        if self.backend == "none" and self.triton_http is None:
            raise ValueError("the backend none needs triton_http, for the V2 protocol")
        if self.triton_replicas and self.triton_grpc is None:
            raise ValueError("triton_replicas stand beside triton_grpc")
        return self

    @model_validator(mode="after")
    def _is_guarded(self) -> Self:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("expected both of tls_cert and tls_key, or none")
        if self.keys_file is None and not self.without_keys and not _is_loopback(self.host):
            raise ValueError(f"the host {self.host} lets others in: give a keys_file, or set without_keys to let everyone in")
        return self
