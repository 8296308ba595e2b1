"""A model with many versions on a real Triton, a gateway process in front, and clients that never stop asking."""

import json
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from reelspace.core.local_store import LocalStore
from reelspace.search.scheduling.create import create_collection
from reelspace.search.scheduling.promoted_encoders import PromotedEncoders
from reelspace.search.storage.layout import SPACE_POINTER, Collection, SpacePointer, VectorSettings, json_bytes
from reelspace.serving.rollout.gates import Gates
from reelspace.serving.rollout.model_control import GrpcControl
from reelspace.serving.rollout.promote import Order, Tell, promote
from reelspace.serving.rollout.promoter import Pace, World
from reelspace.serving.rollout.state import Rollout
from reelspace.serving.signatures import config_pbtxt
from reelspace.serving.triton import TritonProcess

from ..serving.models import VERSIONED
from ..serving.served import Served, serving
from .doubling import BACKENDS

MODEL, NUM_CLIENTS = "versioned", 8
PACE = Pace(tick_s=0.1, alive_s=1.5)
QUICK = Gates(min_compared=10, min_stage_s=0.2, settle_s=0.3, stage_s=60.0)
COLLECTION = Collection(name="videos", space_id="00112233aabbccdd", vectors={"": VectorSettings(dimension=2)}, num_shards=1)


@dataclass(frozen=True)
class Heard:
    """What one request of a client was told: the error, or the version that the answer names and those that its rows name; and when."""

    error: str
    version: int
    rows: frozenset[int]
    at_s: float


@dataclass
class Rolling:
    store: LocalStore
    triton: TritonProcess
    gateway: Served
    world: World
    num_versions: int = 1

    def add(self, **behaviour: object) -> int:
        """Put another version into the repository; gives its number."""
        self.num_versions += 1
        write_version(self.store, self.num_versions, json.dumps(behaviour))
        return self.num_versions

    def add_corrupt(self) -> int:
        """Put a version into the repository whose file is cut short."""
        version = self.add()
        self.store.put(f"repository/{MODEL}/{version}/behaviour.json", b'{"turn": ')
        return version

    def break_down(self, version: int) -> None:
        """Let the fault of a version that waits with it show from now on."""
        self.store.put(f"repository/{MODEL}/{version}/faulty", b"")

    def serving(self) -> int:
        return self.world.promoted.versions()[MODEL]

    def promote(self, version: int, gates: Gates = QUICK, tell: Tell = lambda _rollout, _why: None) -> Rollout:
        return promote(self.world, Order(MODEL, version, 0.1, gates), PACE, tell)

    def loaded(self) -> set[int]:
        """Give the versions that Triton has."""
        index = httpx.post(f"{self.triton.http_url}/v2/repository/index").json()
        return {int(one["version"]) for one in index if one["name"] == MODEL and one.get("state") == "READY"}


@contextmanager
def rolling(folder: Path) -> Iterator[Rolling]:
    """Start Triton with version 1 and a gateway that looks for rollouts five times a second."""
    store = LocalStore(folder / "store")
    write_version(store, 1, "{}")
    config = config_pbtxt(VERSIONED, backend=MODEL) + "version_policy { specific { versions: [ 1 ] } }\n"
    store.put(f"repository/{MODEL}/config.pbtxt", config.encode())
    create_collection(store, COLLECTION)
    facts = {"collection": COLLECTION.full_name, "alias": "videos", "generation": 1, "previous": None}
    store.put(SPACE_POINTER, json_bytes(SpacePointer(space_id=COLLECTION.space_id, encoders={MODEL: 1}, **facts)))
    v2 = {"rollout_poll_s": 0.2}
    with (
        TritonProcess.start([store.root / "repository"], [MODEL], backends=BACKENDS, log_path=folder / "triton.log") as triton,
        serving(folder, triton.http_url.removeprefix("http://"), {MODEL: 1}, v2=v2, access_log=False) as gateway,
        GrpcControl(triton.grpc_address) as control,
    ):
        yield Rolling(store, triton, gateway, World(store, [control], PromotedEncoders(store)))


def write_version(store: LocalStore, version: int, behaviour: str) -> None:
    store.put(f"repository/{MODEL}/{version}/version.json", json.dumps({"space_id": COLLECTION.space_id}).encode())
    store.put(f"repository/{MODEL}/{version}/behaviour.json", behaviour.encode())


@dataclass
class Clients:
    """What was heard, in the order of the answers."""

    heard: list[Heard] = field(default_factory=list)

    def since(self, start_s: float) -> Sequence[Heard]:
        """Give what was heard after a moment."""
        return [one for one in self.heard if one.at_s >= start_s]

    def check(self) -> None:
        """Expect every request to be answered, whole by the version that the answer names."""
        assert len(self.heard) > NUM_CLIENTS
        assert Counter(one.error for one in self.heard) == {"": len(self.heard)}
        assert [one for one in self.heard if one.rows != {one.version}] == []

    def share(self, version: int, start_s: float) -> float:
        """Give the share of a version's answers among all since a moment."""
        found = self.since(start_s)
        return sum(one.version == version for one in found) / max(1, len(found))

    def check_never_above(self, version: int, start_s: float, share: float) -> None:
        """Expect a version's answers to be at most a share of all at every moment, but for requests that were under way at the start."""
        num = 0
        for total, one in enumerate(self.since(start_s), start=1):
            num += one.version == version
            assert num <= share * total + NUM_CLIENTS, f"{num} of {total}"


@contextmanager
def asking(gateway: Served) -> Iterator[Clients]:
    """Ask in a closed loop with eight clients, each of three rows, until the block ends."""
    clients, ended = Clients(), threading.Event()

    def ask(seed: int) -> None:
        draw = random.Random(seed)
        with httpx.Client(base_url=gateway.url, timeout=30, trust_env=False) as client:
            while not ended.is_set():
                data = [draw.uniform(-1, 1) for _ in range(6)]
                body = {"inputs": [{"name": "X", "shape": [3, 2], "datatype": "FP32", "data": data}]}
                response = client.post(f"/v2/models/{MODEL}/infer", json=body)
                clients.heard.append(heard_of(response))

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(NUM_CLIENTS)]
    for thread in threads:
        thread.start()
    try:
        yield clients
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def heard_of(response: httpx.Response) -> Heard:
    if response.status_code != 200:
        return Heard(f"{response.status_code} {response.text}", 0, frozenset(), time.monotonic())
    answer = response.json()
    rows = next(one["data"] for one in answer["outputs"] if one["name"] == "VERSION")
    return Heard("", int(answer["model_version"]), frozenset(rows), time.monotonic())
