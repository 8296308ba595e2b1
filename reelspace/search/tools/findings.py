"""What a check of a store looked at, and what it found damaged."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from reelspace.core.errors import ReelspaceError


@dataclass(frozen=True, slots=True)
class Damage:
    """What is wrong, and where: a key of the store, or a shard."""

    place: str
    problem: str


@dataclass(slots=True)
class ShardCheck:
    """What was looked at of one shard; `num_rows` and `recall` (at 10, by vector name) only where nothing is damaged."""

    collection: str
    shard: int
    num_files: int = 0
    num_objects: int = 0
    size_bytes: int = 0
    num_rows: int | None = None
    recall: dict[str, float] = field(default_factory=dict)
    damages: list[Damage] = field(default_factory=list)

    def note(self, place: str, problem: str) -> None:
        """Take a problem down."""
        self.damages.append(Damage(place, problem))

    @contextmanager
    def noting(self, place: str) -> Iterator[None]:
        """Take an error of the block down, and go on after it."""
        with noting(self.damages, place):
            yield


@contextmanager
def noting(damages: list[Damage], place: str) -> Iterator[None]:
    """Take an error of the block down, and go on after it."""
    try:
        yield
    except (ReelspaceError, OSError) as error:
        damages.append(Damage(place, " ".join(str(error).split())))
