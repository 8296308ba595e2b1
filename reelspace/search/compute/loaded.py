"""A generation that a shard has loaded, or could not load."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from reelspace.core.errors import ArtifactMissing, CorruptArtifact, UserError
from reelspace.core.store import Store
from reelspace.search.compute.generation import MANIFEST
from reelspace.search.compute.place import NoRoom
from reelspace.search.compute.recall_watch import Recall
from reelspace.search.compute.scrub import Scrub
from reelspace.search.compute.shard import Shard
from reelspace.search.storage.layout import Collection, ServedGeneration, ShardManifest, generation_key, read_current, read_file

PATIENCE_S: Final = 60.0
"""A generation that could not be loaded is tried again after this time, unless somebody asks for it."""


@dataclass(slots=True, eq=False)
class Loaded:
    """A generation that answers.

    Attributes:
        scrub: what it held when it was loaded.
        recall: what searches for some of its own rows found when it was loaded beside another.
        damage: names what was found damaged of it; it answers no more then.
        unnamed_s: the moment since which no pointer names it and nobody asks for it.
    """

    served: ServedGeneration
    shard: Shard
    scrub: Scrub
    recall: Recall | None = None
    damage: str | None = None
    unnamed_s: float | None = None

    def asked(self) -> "Loaded":
        """Give it to who asks for it; CorruptArtifact if it is damaged."""
        if self.unnamed_s is not None:
            self.unnamed_s = time.monotonic()
        if self.damage is not None:
            raise CorruptArtifact(self.damage)
        return self


@dataclass(frozen=True, slots=True)
class Refused:
    """Why a generation could not be loaded, whether that stays so, and when it is tried again."""

    reason: str
    is_final: bool
    not_before_s: float

    @classmethod
    def of(cls, error: Exception) -> "Refused":
        """Take an error for the reason."""
        is_final = isinstance(error, UserError) and not isinstance(error, ArtifactMissing)
        return cls(" ".join(str(error).split()), is_final, time.monotonic() + PATIENCE_S)

    @property
    def is_due(self) -> bool:
        """Tell whether it is to be tried again."""
        return time.monotonic() >= self.not_before_s


def named_generations(store: Store, collection: Collection, shard: int) -> list[ServedGeneration]:
    """Give the generations of a shard that the pointer names, the current one first; raises what reading the pointer raises."""
    name, key = collection.full_name, str(shard)
    pointer = read_current(store, name, collection.num_shards)
    states = [pointer.shards[key], *([pointer.beside[key]] if key in pointer.beside else [])]
    return [
        ServedGeneration(collection=name, shard=shard, generation=one.generation, manifest_sha256=one.manifest_sha256) for one in states
    ]


def check_room(store: Store, served: ServedGeneration, loaded: Sequence[Loaded], max_bytes: int | None) -> None:
    """Refuse to load a generation for which there is no room.

    Raises:
        NoRoom: says what it takes, what is loaded, and what is allowed.
    """
    if max_bytes is None:
        return
    key = generation_key(served.collection, served.shard, served.generation, MANIFEST)
    wanted = sum(facts.size_bytes for facts in read_file(store, ShardManifest, key).files.values())
    held = sum(one.shard.size_bytes for one in loaded)
    if held + wanted > max_bytes:
        allowed = f"{max_bytes:,} bytes are allowed"
        raise NoRoom(f"generation {served.generation} takes {wanted:,} bytes beside {held:,} that serve: {allowed}")
