"""The files of a rollout in the store.

rollouts/<model>.json             Rollout: how far the newest one is; replaced by put_if_match only
rollouts/<model>/seen/<id>.json   Seen: what one gateway saw of it, about once a second
"""

import time
from dataclasses import dataclass
from typing import Final, Literal, TypeVar

from pydantic import Field

from reelspace.core.artifacts import canonical_json
from reelspace.core.errors import ArtifactMissing, CorruptArtifact, SettingError
from reelspace.core.settings import Settings, read
from reelspace.core.store import Store
from reelspace.serving.rollout.evidence import Evidence
from reelspace.serving.rollout.gates import Gates

Stage = Literal["loading", "comparing", "canary", "flipping", "flipped", "retired", "rolling_back", "rolled_back"]
ENDED: Final[tuple[Stage, ...]] = ("retired", "rolled_back")
WITH_REQUESTS: Final[tuple[Stage, ...]] = ("comparing", "canary")
"""Stages in which gateways ask the candidate."""
MAX_CANARY: Final = 0.1
S = TypeVar("S", bound=Settings)


class Rollout(Settings):
    """One version taking the place of another.

    loading, comparing (the stable version answers; the candidate is asked too), canary (the candidate answers a share), flipping (the
    pointer moves), flipped (everybody asks the candidate), retired (the stable version is unloaded). From each of the first three it may go
    to rolling_back, and from there to rolled_back. The two that end a rollout are `retired` and `rolled_back`.
    """

    model: str = Field(description="Name of the model.")
    number: int = Field(ge=1, description="Counts the rollouts of this model.")
    stable: int = Field(ge=1, description="Version that serves when it begins.")
    candidate: int = Field(ge=1, description="Version that is to serve.")
    share: float = Field(MAX_CANARY, gt=0, le=MAX_CANARY, description="Largest share of requests that the candidate gets before the flip.")
    is_known: bool = Field(False, description="The candidate served before: it is loaded and flipped to without live requests.")
    stage: Stage = Field("loading", description="How far it is.")
    reason: str = Field("", description="Why it was rolled back.")
    gates: Gates = Field(default_factory=Gates, description="What the candidate must keep to.")
    started_at_us: int = Field(0, ge=0, description="Microseconds since 1970, UTC.")
    stage_at_us: int = Field(0, ge=0, description="When the stage began, microseconds since 1970, UTC.")
    owner: str = Field("", description="The promoter at work; empty: none.")
    beat: int = Field(0, ge=0, description="Counts its signs of life.")

    @property
    def stage_age_s(self) -> float:
        """Give the age of the stage; clocks of two promoters may differ, so it only paces."""
        return max(0.0, now_us() / 1e6 - self.stage_at_us / 1e6)

    def at(self, stage: Stage, reason: str = "") -> "Rollout":
        """Give the rollout in another stage."""
        return self.model_copy(update={"stage": stage, "reason": reason or self.reason, "stage_at_us": now_us()})


class Seen(Settings):
    """What one gateway saw of one stage, and where it sends requests."""

    gateway: str = Field(description="Id of the gateway process.")
    beat: int = Field(ge=0, description="Counts its signs of life.")
    number: int = Field(ge=1, description="Number of the rollout.")
    stage: Stage = Field(description="Stage that the evidence is of.")
    version: int = Field(ge=0, description="Version that answers requests which name none; 0: Triton's newest.")
    tripped: str = Field("", description="Why this gateway asks the candidate no more; empty: it does.")
    evidence: Evidence = Field(default_factory=Evidence)


@dataclass(frozen=True, slots=True)
class Found:
    """A rollout as it lies in the store, with the tag that the next write must match."""

    rollout: Rollout
    etag: str


def find_rollout(store: Store, model: str) -> Found | None:
    """Read a model's newest rollout, None if there was never one.

    Raises:
        CorruptArtifact: the file is not what this version writes.
    """
    key = _rollout_key(model)
    try:
        data, etag = store.get_with_etag(key)
    except ArtifactMissing:
        return None
    return Found(_parsed(Rollout, data, f"{key} in {store.url}"), etag)


def write_rollout(store: Store, rollout: Rollout, before: Found | None) -> Found:
    """Write how far a rollout is; PreconditionFailed if somebody else wrote after `before` was read."""
    key, data = _rollout_key(rollout.model), _bytes(rollout)
    return Found(rollout, store.put_if_absent(key, data) if before is None else store.put_if_match(key, data, before.etag))


def write_seen(store: Store, model: str, seen: Seen) -> None:
    """Write what a gateway saw; nobody else writes its file."""
    store.put(f"{_seen_prefix(model)}{seen.gateway}.json", _bytes(seen))


def read_seen(store: Store, model: str) -> list[Seen]:
    """Read what gateways saw, of whatever rollout."""
    found = []
    for key in store.list(_seen_prefix(model)):
        try:
            found.append(_parsed(Seen, store.get(key), f"{key} in {store.url}"))
        except ArtifactMissing:
            continue  # removed between the list and the read
    return found


def remove_seen(store: Store, model: str) -> None:
    """Remove what gateways saw of earlier rollouts."""
    for key in list(store.list(_seen_prefix(model))):
        store.delete(key)


def now_us() -> int:
    """Give the time, microseconds since 1970, UTC."""
    return time.time_ns() // 1000


def _rollout_key(model: str) -> str:
    return f"rollouts/{model}.json"


def _seen_prefix(model: str) -> str:
    return f"rollouts/{model}/seen/"


def _bytes(value: Settings) -> bytes:
    return canonical_json(value.model_dump(mode="json"))


def _parsed(model: type[S], data: bytes, where: str) -> S:
    try:
        return read(model, data.decode())
    except (SettingError, UnicodeDecodeError) as error:
        raise CorruptArtifact(f"{where} is not readable: {error}") from error
