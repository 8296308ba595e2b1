"""Options of the commands that run one Triton server."""

from pathlib import Path
from typing import Annotated

import typer

Host = Annotated[str, typer.Option(help="Address to listen on: all of this machine's, or its own.")]
HttpPort = Annotated[int, typer.Option(min=1, max=65_535, help="Triton's port for HTTP.")]
GrpcPort = Annotated[int, typer.Option(min=1, max=65_535, help="Triton's port for gRPC, which gateways ask.")]
MetricsPort = Annotated[int, typer.Option(min=1, max=65_535, help="Triton's port for metrics.")]
ProbePort = Annotated[int, typer.Option(min=0, max=65_535, help="Port for probes.")]
LoadS = Annotated[float, typer.Option(min=1, help="Seconds that a model has to load.")]
DrainS = Annotated[float, typer.Option(min=0, help="Seconds of being unready before the end.")]
Backends = Annotated[Path | None, typer.Option(envvar="REELSPACE_BACKENDS", help="Directory of our backends of Triton, if elsewhere.")]
