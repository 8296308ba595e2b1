"""What the console shows, before it becomes HTML."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from reelspace.gateway.console.replica_states import ReplicaView
from reelspace.search.compute.queries import ShardFacts


@dataclass(frozen=True, slots=True)
class ShardView:
    """One shard.

    Attributes:
        facts: what it told last.
        num_behind: log objects written through this gateway that it has not applied.
        recalls: what searches found, one sample every 10 s, oldest first; None where that was not known.
    """

    facts: ShardFacts
    num_behind: int = 0
    recalls: tuple[float | None, ...] = ()


@dataclass(frozen=True, slots=True)
class CollectionView:
    """One collection.

    Attributes:
        shards: in order; None where nothing has asked for the collection in this process yet, so that it is not open.
        vectors: names with what they are, as `4 numbers, cosine`.
        models: those that put words into its space.
    """

    name: str
    aliases: tuple[str, ...] = ()
    shards: tuple[ShardView, ...] | None = None
    vectors: Mapping[str, str] = field(default_factory=dict)
    models: tuple[str, ...] = ()

    @property
    def num_rows(self) -> int:
        """Give the rows of all shards."""
        return sum(one.facts.num_rows for one in self.shards or ())

    @property
    def num_unsealed(self) -> int:
        """Give the changes that lie beside the generations."""
        return sum(one.facts.num_unsealed for one in self.shards or ())

    @property
    def num_behind(self) -> int:
        """Give the log objects written through this gateway that shards have not applied."""
        return sum(one.num_behind for one in self.shards or ())

    @property
    def recall(self) -> float | None:
        """Give what the searches of the worst shard found, None where none is known."""
        return min((one.facts.recall for one in self.shards or () if one.facts.recall is not None), default=None)

    @property
    def has_low_recall(self) -> bool:
        """Tell whether the searches of a shard find clearly less than they should."""
        return any(one.facts.has_low_recall for one in self.shards or ())


@dataclass(frozen=True, slots=True)
class StatusView:
    """The state of one gateway process, and of what it stands in front of.

    Attributes:
        collections: those that are listed, of `num_collections`.
        selected: the collection that is shown whole, None where there is none.
        problem: why it could not be opened.
        refusals: requests that were refused since the start, by reason.
    """

    collections: tuple[CollectionView, ...]
    num_collections: int
    selected: CollectionView | None
    problem: str | None
    replicas: tuple[ReplicaView, ...]
    num_waiting: int
    refusals: Mapping[str, int]
    pid: int
    up_s: float
