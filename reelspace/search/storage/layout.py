"""Where a collection lies in the store, and what its small JSON files say.

collections/<c>/collection.json                              Collection
collections/<c>/current.json                                 CurrentGenerations, replaced by put_if_match only
collections/<c>/claims/<20-digit n>.json                     which index artifact owns generation number n
collections/<c>/restored.json                                which snapshot it was made of, if it was (snapshot.py)
collections/<c>/payload_schema.json                          PayloadSchema, replaced by put_if_match only
collections/<c>/shards/<s>/log/{<20-digit n>.arrow,floor.json}   writes beyond the generation (log.py, entries.py, floor.py)
collections/<c>/shards/<s>/generations/<g>/manifest.json     ShardManifest, written last; beside it the files it names
collections/<c>/{reshard.json,moved_from.json,opening/}      where it moves, and what it was made of (reshard_state.py, moves.py)
collections/names.json                                       names and aliases that clients use (names.py)
collections/moves.json                                       collections that move into others (moves.py)
repository/shard-<c>-<s>/{config.pbtxt, 1/followed.json}     what Triton's shard backend reads (followed.py)
spaces/current.json                                          SpacePointer, the one pointer that promote flips
"""

import hashlib
import re
from typing import Annotated, Final, Literal, TypeVar

import numpy as np
import xxhash
from numpy.typing import NDArray
from pydantic import Field

from reelspace.core.artifacts import canonical_json
from reelspace.core.errors import CorruptArtifact, SettingError
from reelspace.core.settings import Settings, read
from reelspace.core.store import Store
from reelspace.search.storage.rows import Fields, VectorField

SPACE_POINTER: Final = "spaces/current.json"
SPACE_CLAIMS: Final = "spaces/claims"
PAYLOAD_SCHEMA: Final = "payload_schema.json"
NAME_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
SPACE_DIGITS: Final = 8
Metric = Literal["cosine", "dot", "euclid"]
IndexKind = Literal["flat", "ivf_sq8", "ivf_pq", "ivf_pqfs", "hnsw"]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
SpaceId = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
S = TypeVar("S", bound=Settings)


class IndexTarget(Settings):
    """What the index of a vector name must reach; None leaves it to who builds."""

    kind: IndexKind | Literal["auto"] | None = Field(None, description="Kind of index; auto measures the kinds and takes the fastest.")
    recall: float | None = Field(None, gt=0, le=1, description="Share of the 10 nearest that must be found.")
    max_code_bytes: int | None = Field(None, ge=1, description="auto: bytes per vector that codes and graph may take in memory.")


class VectorSettings(Settings):
    """The vectors of one name."""

    dimension: int = Field(ge=1, le=65_536, description="Length of a vector.")
    metric: Metric = Field("cosine", description="Score: cosine of the angle, inner product (dot), or Euclidean distance (euclid).")
    index: IndexTarget = Field(default_factory=IndexTarget, description="What its index must reach.")


class Collection(Settings):
    """What never changes about a collection."""

    format_version: Literal[2] = 2
    name: str = Field(pattern=NAME_PATTERN, description="Name without the space.")
    space_id: SpaceId = Field(description="Which vectors may be compared with its vectors; random where no encoder of ours made them.")
    vectors: dict[str, VectorSettings] = Field(min_length=1, max_length=64, description="By name; the name of an only vector may be empty.")
    num_shards: int = Field(ge=1, le=4096, description="Parts its rows are spread over by the hash of their ids.")

    @property
    def full_name(self) -> str:
        """Give the name under which it is stored and served: <name>@<first digits of the space id>."""
        return f"{self.name}@{self.space_id[:SPACE_DIGITS]}"

    @property
    def fields(self) -> Fields:
        """Give its vectors as the log checks them."""
        return {name: VectorField(one.dimension, one.metric) for name, one in self.vectors.items()}


class PayloadSchema(Settings):
    """Payload keys whose values every shard keeps in columns, so that filters on them need no reading of JSON; kind by key."""

    keys: dict[str, Literal["keyword", "integer", "float", "bool", "datetime", "uuid"]] = Field(default_factory=dict)


class FileFacts(Settings):
    """Hash and length of one file of a generation."""

    sha256: Sha256
    size_bytes: int = Field(ge=0)


class TriedIndex(Settings):
    """One kind of index as it was measured on sampled rows."""

    kind: IndexKind
    code_bytes: float = Field(ge=0, description="Bytes per vector of codes, graph and centroids.")
    recall_at_10: float = Field(ge=0, le=1)
    query_us: float = Field(ge=0, description="Microseconds of one thread per query at that recall.")


class IndexFacts(Settings):
    """How the index of one vector name is searched, and the proof that it finds what it should."""

    kind: IndexKind = Field(description="flat compares with every row; the others with codes or neighbours that are near.")
    nlist: int | None = Field(None, ge=1, description="Number of lists; None where there are none.")
    effort: int | None = Field(None, ge=1, description="Lists visited per query (IVF) or candidates kept (HNSW); None for flat.")
    rerank_factor: float = Field(ge=1, le=100, description="Candidates per hit that are scored again with the stored vectors.")
    recall_at_10: float = Field(ge=0, le=1, description="Share of the 10 nearest found, measured at build on sampled rows.")
    recall_target: float = Field(ge=0, le=1, description="What the effort was chosen for.")
    num_recall_queries: int = Field(ge=0, description="Rows sampled to measure the recall.")
    tried: tuple[TriedIndex, ...] = Field((), description="auto: what the choice was made of.")


class VectorFacts(Settings):
    """The vectors of one name in one generation of a shard."""

    dimension: int = Field(ge=1)
    metric: Metric
    num_vectors: int = Field(ge=0, description="Rows that have one.")
    index: IndexFacts


class ShardManifest(Settings):
    """One sealed generation of one shard."""

    format_version: Literal[2] = 2
    shard: int = Field(ge=0)
    num_shards: int = Field(ge=1)
    num_rows: int = Field(ge=0)
    contains_log: int = Field(0, ge=0, description="Log numbers up to this one are in the rows.")
    space_id: SpaceId
    vectors: dict[str, VectorFacts]
    files: dict[str, FileFacts] = Field(description="By name; see compute/generation.py.")


class ShardState(Settings):
    """Which generation of a shard serves, and how much of the log it contains."""

    generation: int = Field(ge=1)
    contains_log: int = Field(ge=0)
    manifest_sha256: Sha256


class CurrentGenerations(Settings):
    """The pointer of one collection."""

    version: int = Field(ge=1, description="Counts the flips.")
    shards: dict[str, ShardState]
    updated_at: str
    beside: dict[str, ShardState] = Field(
        default_factory=dict, description="What shards have loaded beside, by shard: about to be current, or what was so before."
    )
    previous: dict[str, ShardState] = Field(default_factory=dict, description="What was current before the last flip, to go back to.")
    epoch: int = Field(0, ge=0, description="Which controller, counted since the first, wrote this last; an earlier one may not.")


class ServedGeneration(Settings):
    """One generation of one shard, with the hash of its manifest."""

    collection: str
    shard: int = Field(ge=0)
    generation: int = Field(ge=1)
    manifest_sha256: Sha256


class SpacePointer(Settings):
    """What serves now. Encoders and collection share one space, so they change together."""

    space_id: SpaceId
    encoders: dict[str, int] = Field(description="Version by model name.")
    collection: str = Field(description="Full name of the collection.")
    alias: str = Field(pattern=NAME_PATTERN, description="Name under which clients reach the collection.")
    generation: int = Field(ge=1, description="Generation of the collection that was promoted.")
    previous: dict[str, object] | None = Field(description="The pointer before this one, without its own `previous`.")

    @property
    def before(self) -> "SpacePointer | None":
        """Give the pointer before this one: its collection is served by its full name, for clients that pin its space."""
        return None if self.previous is None else SpacePointer.model_validate({**self.previous, "previous": None})


def collection_key(collection: str, name: str = "collection.json") -> str:
    """Give the key of a file of a collection."""
    return f"collections/{collection}/{name}"


def remove_collection(store: Store, full_name: str) -> None:
    """Remove all objects of a collection that no name means any more."""
    for prefix in (collection_key(full_name, ""), f"repository/{_model_prefix(full_name)}"):
        for key in list(store.list(prefix)):
            store.delete(key)


def generation_key(collection: str, shard: int, generation: int, name: str) -> str:
    """Give the key of a file of one generation of one shard."""
    return f"collections/{collection}/shards/{shard}/generations/{generation}/{name}"


def shard_model(collection: str, shard: int) -> str:
    """Give the name of the Triton model that serves a shard."""
    return f"{_model_prefix(collection)}{shard}"


def _model_prefix(collection: str) -> str:
    # Triton's S3 client signs keys with an @ otherwise than servers do; what follows it is of a fixed length, so names stay apart.
    return f"shard-{collection.replace('@', '.')}-"


def shard_of_ids(ids_N: NDArray[np.int64], num_shards: int) -> NDArray[np.int64]:
    """Give each id's shard: XXH64 of its 8 bytes, little-endian, seed 0, modulo the number of shards."""
    data = memoryview(np.ascontiguousarray(ids_N, dtype="<i8").tobytes())
    digests = (xxhash.xxh64_intdigest(data[start : start + 8]) % num_shards for start in range(0, len(data), 8))
    return np.fromiter(digests, dtype=np.int64, count=len(ids_N))


def json_bytes(value: Settings) -> bytes:
    """Give the one byte form of a layout file."""
    return canonical_json(value.model_dump(mode="json"))


def sha256(data: bytes) -> str:
    """Give the SHA-256 as 64 hex digits."""
    return hashlib.sha256(data).hexdigest()


def parse(model: type[S], data: bytes, where: str) -> S:
    """Read a layout file.

    Raises:
        CorruptArtifact: it is not what this version writes; names where it lies and the key.
    """
    try:
        return read(model, data.decode())
    except (SettingError, UnicodeDecodeError) as error:
        raise CorruptArtifact(f"{where} is not readable: {error}") from error


def read_file(store: Store, model: type[S], key: str) -> S:
    """Read a layout file of the store; ArtifactMissing if it is absent."""
    return parse(model, store.get(key), f"{key} in {store.url}")


def read_collection(store: Store, full_name: str) -> Collection:
    """Read a collection's file; ArtifactMissing if it is absent, CorruptArtifact if it is damaged or another collection's."""
    key = collection_key(full_name)
    found = read_file(store, Collection, key)
    if found.full_name != full_name:
        raise CorruptArtifact(f"{key} in {store.url} is corrupt: it says it is of {found.full_name}")
    return found


def read_current(store: Store, collection: str, num_shards: int) -> CurrentGenerations:
    """Read a collection's pointer; ArtifactMissing if it is absent, CorruptArtifact if it is damaged or not of as many shards."""
    key = collection_key(collection, "current.json")
    found = read_file(store, CurrentGenerations, key)
    if set(found.shards) != set(map(str, range(num_shards))):
        says = f"{key} names shards {', '.join(found.shards)}, {collection_key(collection)} says there are {num_shards}"
        raise CorruptArtifact(f"one of two files in {store.url} is corrupt: {says}")
    return found


def checked_name(name: str) -> str:
    """Return a collection's full name or alias, or raise ValueError: it becomes part of keys."""
    base, at, space = name.partition("@")
    if not re.fullmatch(NAME_PATTERN, base) or (at and not re.fullmatch(rf"[0-9a-f]{{{SPACE_DIGITS}}}", space)):
        raise ValueError(f"collection name {name[:80]!r}: expected letters, digits, '.', '_' or '-', then nothing or @<space>")
    return name
