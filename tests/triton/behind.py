"""A real Triton with the doubling model behind a gateway process with both faces."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from reelspace.serving.triton import TritonProcess

from ..serving.served import Served, serving
from .doubling import BACKENDS, descendants, write_doubling


@dataclass(frozen=True)
class Behind:
    triton: TritonProcess
    gateway: Served

    def pids(self) -> list[int]:
        """Give every process that must not be started anew: the gateway, Triton, its models."""
        return [self.gateway.process.pid, *sorted(descendants(self.triton.pid))]


@contextmanager
def behind_gateway(folder: Path) -> Iterator[Behind]:
    """Start both; of `text_encoder` there is the signature only, so the server as a whole is never ready."""
    repository, versions = write_doubling(folder / "repository"), {"doubling": 1, "text_encoder": 3}
    with (
        TritonProcess.start([repository], ["doubling"], backends=BACKENDS, log_path=folder / "log") as triton,
        serving(folder, triton.http_url.removeprefix("http://"), versions, v2={"arrival_s": 1.0}) as gateway,
    ):
        yield Behind(triton, gateway)
