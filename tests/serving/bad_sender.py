"""Sends bad requests of every kind at random over both faces: `python -m tests.serving.bad_sender URL GRPC NUMBER PER_S SEED`.

A process of its own, so that what it works on does not show in the times of whoever sends good ones. Prints `ready`, and one JSON object
at its end.
"""

import json
import random
import sys
import time

from .bad_requests import Bad, table
from .served import connected

HEAVY_PER_LIGHT = 0.002


def main(url: str, grpc_address: str, number: int, per_s: float, seed: int) -> None:
    draw, made = random.Random(seed), table()
    kinds: list[Bad] = [one for one in made.http + made.grpc if not one.needs_slow]
    weights = [HEAVY_PER_LIGHT if one.is_heavy else 1.0 for one in kinds]
    wrong: list[str] = []
    with connected(url, grpc_address) as served:
        print("ready", flush=True)
        begun_s = time.monotonic()
        for place, bad in enumerate(draw.choices(kinds, weights, k=number)):
            time.sleep(max(0.0, begun_s + place / per_s - time.monotonic()))
            status, message = bad.send(served)
            if status != bad.status or not message.startswith(bad.field):
                wrong.append(f"{bad.number} {bad.name}: {status} {message[:200]}")
    print(json.dumps({"sent": number, "wrong": wrong[:20], "num_wrong": len(wrong)}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), int(sys.argv[5]))
