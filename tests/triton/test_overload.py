"""More inferences than a model can answer: it answers as many as before, the rest is refused at once, and soon all is as it was."""

import asyncio
import json
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median

import numpy as np
import pytest

from ..search.open_loop import Face, GrpcFace, HttpFace, Seen, Sender
from ..serving.served import SERVICE, Served, X, x_message
from .behind import Behind

SLOW = 777.0
"""What takes the model of the tests 20 ms: as an encoder of pictures does."""
NUM_ROUNDS, WINDOW_S = 5, 3.0
CHEAP_PER_S = 40.0
PATIENCE_S = 5.0


@dataclass(frozen=True)
class Asked:
    """A face that asks for what takes the model long, and one that asks for what costs the gateway next to nothing."""

    slow: Face
    cheap: Face


def over_http(gateway: Served) -> Asked:
    body = json.dumps({"inputs": [{**X, "data": [SLOW, 1]}]}).encode()
    return Asked(HttpFace(gateway.url, "/v2/models/doubling/infer", [body]), HttpFace(gateway.url, "/v2/models/absent/infer", [body]))


def over_grpc(gateway: Served) -> Asked:
    message = x_message(struct.pack("<2f", SLOW, 1)).SerializeToString()
    return Asked(
        GrpcFace(gateway.grpc_address, f"{SERVICE}ModelInfer", [message]), GrpcFace(gateway.grpc_address, f"{SERVICE}ServerLive", [b""])
    )


@dataclass
class Looks:
    """The model alone with few, and offered ten times of what it answers then, one after the other in rounds."""

    full: list[float] = field(default_factory=list)
    offered: list[Seen] = field(default_factory=list)
    cheap: list[Seen] = field(default_factory=list)
    recoveries_s: list[float] = field(default_factory=list)

    async def look(self, slow: Sender, cheap: Sender, seed: int) -> None:
        self.full.append((await slow.busy(4, WINDOW_S)).goodput)
        offered = 10 * median(self.full)
        seen, beside = await asyncio.gather(slow.offer(offered, WINDOW_S, seed), cheap.offer(CHEAP_PER_S, WINDOW_S, seed))
        self.offered.append(seen)
        self.cheap.append(beside)
        begun_s = time.monotonic()
        while time.monotonic() - begun_s < PATIENCE_S:
            now = await slow.busy(1, 0.2)
            if {one.status for one in now.answers} == {200} and now.percentile(200, 50) < 0.2:
                break
        self.recoveries_s.append(time.monotonic() - begun_s)

    def refused_to_cheap(self) -> float:
        """Give how many times as long a refusal takes as the cheapest answer at the same time: other work on the machine strikes both."""
        ratios = []
        for seen, beside in zip(self.offered, self.cheap, strict=True):
            cheap_s = [one.seconds for one in beside.answers]
            ratios.append(float(np.percentile(seen.times_of(429), 90) / np.percentile(cheap_s, 90)))
        return median(ratios)


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("over", [over_http, over_grpc])
def test_ten_times_what_a_model_can_answer_is_refused_at_once_and_costs_it_little_else(
    behind: Behind, over: Callable[[Served], Asked]
) -> None:
    looks = Looks()

    async def look() -> None:
        asked = over(behind.gateway)
        slow, cheap = Sender(asked.slow), Sender(asked.cheap)
        await slow.busy(4, 1.0)
        for seed in range(NUM_ROUNDS):
            await looks.look(slow, cheap, seed)
        await slow.close()
        await cheap.close()

    asyncio.run(look())
    answers = [answer for seen in looks.offered for answer in seen.answers]
    assert {answer.status for answer in answers} == {200, 429}
    assert {answer.retry_after for answer in answers if answer.status == 429} == {"1"}
    goodput, times = median(seen.goodput for seen in looks.offered) / median(looks.full), looks.refused_to_cheap()
    p99_ms = [round(seen.percentile(429, 99) * 1e3, 1) for seen in looks.offered]
    print(f"{median(looks.full):.0f}/s; at 10 x {goodput:.2f} of that; refused after {times:.2f} x the cheapest answer, p99 {p99_ms} ms")
    assert goodput >= 0.8
    assert times <= 1.5
    assert max(looks.recoveries_s) < PATIENCE_S
