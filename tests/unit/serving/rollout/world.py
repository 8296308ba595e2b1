"""A store with two versions of a model, a Triton that is a table, and gateways that see what a test says."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from reelspace.core.errors import ServerUnavailable
from reelspace.core.local_store import LocalStore
from reelspace.search.scheduling.promoted_encoders import PromotedEncoders
from reelspace.search.storage.layout import SPACE_POINTER, SpacePointer, json_bytes
from reelspace.serving.rollout.compute_times import BatchTimes
from reelspace.serving.rollout.evidence import Evidence
from reelspace.serving.rollout.gates import Gates
from reelspace.serving.rollout.model_control import TritonRefused
from reelspace.serving.rollout.promote import Order
from reelspace.serving.rollout.promoter import Pace, World
from reelspace.serving.rollout.state import Rollout, Seen, find_rollout, write_seen
from reelspace.serving.signatures import EncoderSizes, config_pbtxt, text_signature

MODEL, SPACE = "text_encoder", "0123456789abcdef"
PACE = Pace(tick_s=0.001, alive_s=0.02)
GATES = Gates(min_compared=10, min_stage_s=0, settle_s=0, stage_s=30)
ORDER = Order(MODEL, 4, 0.1, GATES)
SIGNATURE = text_signature(MODEL, EncoderSizes(dimension=2))
GOOD = Evidence(requests=1000, asked=100, answered=100, compared=100, agreement=99, candidate_s=1, stable_s=1)


class Killed(BaseException):
    """What a test ends a promoter with, as nothing of ours catches it."""


@dataclass
class TableTriton:
    """Loads what a configuration names; the versions in `broken` do not load, those in `bad` do not answer as they should."""

    store: LocalStore
    loaded: set[int] = field(default_factory=lambda: {3})
    broken: set[int] = field(default_factory=set)
    bad: set[int] = field(default_factory=set)
    is_away: bool = False
    slowdown: float = 1.0
    load_s: float = 0.0
    loads: list[list[int]] = field(default_factory=list)
    num_looks: int = 0
    always_full: bool = False
    num_full: int = 0

    def load(self, model: str, config: Mapping[str, Any]) -> None:
        if self.is_away:
            raise ServerUnavailable("Triton cannot be reached")
        wanted = [int(one) for one in config["version_policy"]["specific"]["versions"]]
        time.sleep(self.load_s)
        self.loads.append(wanted)
        if self.broken & set(wanted):
            raise TritonRefused("failed to load: parsing failed")
        self.loaded = set(wanted)

    def probe(self, model: str, version: int, *, is_full: bool = False) -> None:
        assert version in self.loaded
        self.num_full += is_full
        if version in self.bad:
            raise TritonRefused("model text_encoder gave numbers that are not finite as EMBEDDING")

    def times(self, model: str, version: int) -> BatchTimes:
        self.num_looks += 1
        if self.always_full and version in self.loaded:
            return self._times_under_load(version)
        return {1: (5 * self.num_looks, 0.05 * self.num_looks * (self.slowdown if version == 4 else 1.0))} if version in self.loaded else {}

    def _times_under_load(self, version: int) -> BatchTimes:
        """The stable version has only batches of 16, the candidate only ones of a row; a full one takes ten times as long as one row."""
        full = self.num_full // 2
        slowdown = self.slowdown if version == 4 else 1.0
        size, seconds = (1, 0.05) if version == 4 else (16, 0.2)
        looked = self.num_looks * 5
        return {size: (looked, looked * seconds * slowdown), 32: (full, full * 0.5 * slowdown)}


def named(store: LocalStore) -> list[int]:
    """Give the versions that the configuration in the store names."""
    text = store.get(f"repository/{MODEL}/config.pbtxt").decode()
    return [int(one) for one in text.partition("versions: [")[2].partition("]")[0].split(",")]


@dataclass
class Rolled:
    """All of it."""

    store: LocalStore
    triton: TableTriton
    world: World
    evidence: Evidence = GOOD
    tripped: str = ""
    heard: list[tuple[str, str]] = field(default_factory=list)
    at: Callable[[Rollout, str], None] = lambda _rollout, _why: None

    def tell(self, rollout: Rollout, why: str) -> None:
        """Hear of a look, let a gateway see the rollout as it lies in the store, and do what the test wants at this moment."""
        self.heard.append((rollout.stage, why))
        found = find_rollout(self.store, rollout.model)
        assert found is not None
        lying = found.rollout
        seen = Seen(
            gateway="g",
            beat=len(self.heard),
            number=lying.number,
            stage=lying.stage,
            version=self.serving(),
            tripped=self.tripped if lying.stage in ("comparing", "canary") else "",
            evidence=self.evidence,
        )
        write_seen(self.store, rollout.model, seen)
        self.at(rollout, why)

    def serving(self) -> int:
        return self.world.promoted.versions()[MODEL]

    def stages(self) -> list[str]:
        """Give the stages in the order in which they were told, each once in a row."""
        told = [stage for stage, _ in self.heard]
        return [stage for index, stage in enumerate(told) if index == 0 or told[index - 1] != stage]

    def is_at_rest(self, version: int) -> bool:
        """Tell whether one version alone serves, is loaded, and is what a Triton that starts would load."""
        return (self.serving(), self.triton.loaded, named(self.store)) == (version, {version}, [version])

    def promote_elsewhere(self, version: int) -> None:
        """Move the pointer as a pipeline does."""
        pointer = orjson.loads(self.store.get(SPACE_POINTER))
        self.store.put(SPACE_POINTER, orjson.dumps(pointer | {"encoders": {MODEL: version}}))


def rolled(folder: Path) -> Rolled:
    store = LocalStore(folder / "store")
    for version in (3, 4):
        store.put(f"repository/{MODEL}/{version}/version.json", orjson.dumps({"space_id": SPACE}))
    store.put(f"repository/{MODEL}/5/version.json", orjson.dumps({"space_id": "f" * 16}))
    store.put(
        f"repository/{MODEL}/config.pbtxt", f"{config_pbtxt(SIGNATURE)}version_policy {{ specific {{ versions: [ 3 ] }} }}\n".encode()
    )
    pointer = SpacePointer(space_id=SPACE, encoders={MODEL: 3}, collection="videos@01234567", alias="videos", generation=1, previous=None)
    store.put(SPACE_POINTER, json_bytes(pointer))
    triton = TableTriton(store)
    return Rolled(store, triton, World(store, [triton], PromotedEncoders(store)))
