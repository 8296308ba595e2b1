"""The clients of a load, in a process of their own, with next to no work per request: they send bytes that were written before."""

import asyncio
import time
from base64 import b64decode
from collections.abc import Mapping, Sequence
from http import HTTPStatus

import numpy as np
import uvloop

from benchmarks.serving_parts.worker import Figures, answer_lines
from tests.search.open_loop import GrpcFace, HttpFace, Seen, Sender

OK, REFUSED = HTTPStatus.OK, HTTPStatus.TOO_MANY_REQUESTS
PATIENCE_S = 30.0
LOOK_S = 0.1
TIMES_OFFERED = 10


class Loads:
    """Ways to ask, by name, and a method for each line."""

    def __init__(self, runner: asyncio.Runner) -> None:
        self._runner = runner
        self._senders: dict[str, Sender] = {}

    def over_http(self, name: str, url: str, path: str, bodies: Sequence[str], headers: Mapping[str, str]) -> Figures:
        """Name a way over HTTP."""
        self._senders[name] = Sender(HttpFace(url, path, [b64decode(body) for body in bodies], **headers))
        return {}

    def over_grpc(self, name: str, address: str, method: str, messages: Sequence[str]) -> Figures:
        """Name a way over gRPC."""
        self._senders[name] = self._runner.run(_grpc_sender(address, method, [b64decode(message) for message in messages]))
        return {}

    def busy(self, name: str, clients: int, duration_s: float) -> Figures:
        """Let so many clients ask, each its next request when the one before is answered."""
        seen = self._runner.run(self._senders[name].busy(clients, duration_s))
        seconds = seen.times_of(OK)
        p50_s, p99_s = np.percentile(seconds, (50, 99)) if seconds else (0.0, 0.0)
        return {
            "num": len(seconds),
            "per_s": seen.goodput,
            "p50_ms": 1e3 * float(p50_s),
            "p99_ms": 1e3 * float(p99_s),
            "num_other": len(seen.answers) - len(seconds),
        }

    def overload(self, name: str, clients: int, duration_s: float, seed: int) -> Figures:
        """Take what few clients get, offer ten times that, and wait until one client is answered as before."""
        return self._runner.run(_overload(self._senders[name], clients, duration_s, seed))

    def hang_up(self) -> Figures:
        """Close every connection."""
        for sender in self._senders.values():
            self._runner.run(sender.close())
        return {}


async def _grpc_sender(address: str, method: str, messages: Sequence[bytes]) -> Sender:
    # A channel belongs to the event loop that it is made in.
    return Sender(GrpcFace(address, method, messages))


async def _overload(sender: Sender, clients: int, duration_s: float, seed: int) -> Figures:
    full = (await sender.busy(clients, duration_s)).goodput
    alone_s = (await sender.busy(1, duration_s / 2)).percentile(OK, 50)
    seen = await sender.offer(TIMES_OFFERED * full, duration_s, seed)
    drained_s = max(0.0, seen.seconds - duration_s)
    recovery_s = drained_s + await _recovery_s(sender, alone_s)
    refused = seen.times_of(REFUSED)
    found: Figures = {
        "full_per_s": full,
        "per_s": _goodput_while_offered(seen, duration_s),
        "num_refused": len(refused),
        "num_other": len(seen.answers) - len(refused) - len(seen.times_of(OK)),
        "untold": sum(one.status == REFUSED and one.retry_after is None for one in seen.answers),
        "recovery_s": recovery_s,
    }
    if refused:
        p50_s, p99_s = np.percentile(refused, (50, 99))
        found |= {"refused_p50_ms": 1e3 * float(p50_s), "refused_p99_ms": 1e3 * float(p99_s)}
    return found


def _goodput_while_offered(seen: Seen, duration_s: float) -> float:
    """Count what was answered while requests came: what waits at the end is answered later, without any load."""
    return sum(one.status == OK and one.at_s + one.seconds <= duration_s for one in seen.answers) / duration_s


async def _recovery_s(sender: Sender, alone_s: float) -> float:
    """Give the seconds until a client alone is answered again, none refused, within twice the time that it took before."""
    begun_s = time.monotonic()
    while time.monotonic() - begun_s < PATIENCE_S:
        looked_s = time.monotonic()
        seen = await sender.busy(1, max(LOOK_S, 3 * alone_s))
        if {one.status for one in seen.answers} == {OK} and seen.percentile(OK, 50) <= 2 * alone_s:
            return looked_s - begun_s
    return PATIENCE_S


def main() -> None:
    """Answer lines."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        loads = Loads(runner)
        answer_lines({name: getattr(loads, name) for name in ("over_http", "over_grpc", "busy", "overload", "hang_up")})


if __name__ == "__main__":
    main()
