"""Promotes encoders and index together, when the gate was passed.

The order makes a kill at any moment harmless: version directories and generations are written whole and named by nothing, then
Triton's configurations name them beside what serves, then the collection's pointer flips, and at last spaces/current.json, the
one pointer that clients follow. Promoting again goes on where the killed promotion stopped.
"""

from dataclasses import dataclass
from pathlib import Path

import orjson

from reelspace.core.artifacts import Artifact
from reelspace.core.errors import GateRefused, UserError
from reelspace.core.store import Store
from reelspace.search.scheduling.generations import PublishedGeneration, point_collection, publish_generation
from reelspace.search.scheduling.repository import encoder_space, publish_encoders, publish_followed
from reelspace.search.storage.layout import SPACE_POINTER, Collection, SpacePointer, json_bytes, parse

UPSERTED = "upserted"


@dataclass(frozen=True, slots=True)
class Promotion:
    """What is promoted: an index, and the encoders of its space (None when nothing embeds queries).

    In place of an index, `upserted`: rows that went into the collection that serves, which stays as it is.
    """

    index: Artifact
    encoders: Artifact | None
    alias: str


def check_gate(evaluation: Artifact, promotion: Promotion) -> None:
    """Refuse what the evaluation did not pass, or was not made of.

    Raises:
        GateRefused: the message gives every failing row, or which artifact was not evaluated.
    """
    check_passed(evaluation)
    # Rows that the evaluation let in name it as a parent.
    evaluated = {*evaluation.manifest.parents, evaluation.id}
    for artifact in (promotion.index, promotion.encoders):
        strange = [] if artifact is None else [parent for parent in artifact.manifest.parents if parent not in evaluated]
        if artifact is not None and strange:
            made_of = ", ".join(parent[:12] for parent in strange)
            raise GateRefused(f"{artifact.manifest.kind} {artifact.id[:12]} was made of {made_of}, which this evaluation did not measure")


def check_passed(evaluation: Artifact) -> None:
    """Refuse an evaluation below the gate.

    Raises:
        GateRefused: the message gives every failing row.
    """
    gate = orjson.loads(evaluation.read("gate.json"))
    if not gate["passed"]:
        rows = [
            f"{row['figure']} is {_shown(row['value'])}, at least {row['threshold']} is asked" for row in gate["rows"] if not row["passed"]
        ]
        raise GateRefused(f"evaluation {evaluation.id[:12]} did not pass the gate: {'; '.join(rows)}; nothing was promoted")


def promote(store: Store, promotion: Promotion, scratch: Path) -> SpacePointer:
    """Make encoders and index the ones that serve; promoting what serves already changes nothing.

    Raises:
        UserError: index and encoders are of different spaces, or the collection exists and is of another make.
        PreconditionFailed: another promotion flipped a pointer meanwhile; nothing of this one serves, try again.
    """
    _check_space(promotion)
    pointer, etag = _pointer(store)
    if promotion.index.manifest.kind == UPSERTED:
        return _promote_encoders(store, promotion, pointer, etag)
    published = publish_generation(store, promotion.index, scratch)
    encoders = publish_encoders(store, promotion.encoders, pointer.encoders if pointer else {}) if promotion.encoders else {}
    publish_followed(store, published.collection)
    point_collection(store, published)
    return _flip(store, _wanted(published, encoders, promotion.alias, pointer), pointer, etag)


def _promote_encoders(store: Store, promotion: Promotion, pointer: SpacePointer | None, etag: str | None) -> SpacePointer:
    """Let new encoders serve the collection that serves already."""
    collection = _collection(promotion)
    if pointer is None or pointer.collection != collection.full_name or promotion.encoders is None:
        serving = pointer.collection if pointer else "nothing"
        raise UserError(f"rows went into {collection.full_name}, {serving} serves: promote the encoders of the collection that serves")
    encoders = publish_encoders(store, promotion.encoders, pointer.encoders)
    previous = pointer.model_dump(mode="json", exclude={"previous"})
    wanted = pointer.model_copy(update={"encoders": encoders, "alias": promotion.alias, "previous": previous})
    return _flip(store, wanted, pointer, etag)


def _collection(promotion: Promotion) -> Collection:
    index = promotion.index
    return parse(Collection, index.read("collection.json"), f"collection.json of {index.manifest.kind} {index.id}")


def _check_space(promotion: Promotion) -> None:
    index, collection = promotion.index, _collection(promotion)
    space = collection.space_id if promotion.encoders is None else encoder_space(promotion.encoders)
    if space != collection.space_id:
        raise UserError(
            f"{index.manifest.kind} {index.id[:12]} holds vectors of space {collection.space_id}, the encoders embed into {space}; "
            "export and embed with the same teacher"
        )


def _pointer(store: Store) -> tuple[SpacePointer | None, str | None]:
    if not store.exists(SPACE_POINTER):
        return None, None
    data, etag = store.get_with_etag(SPACE_POINTER)
    return parse(SpacePointer, data, f"{SPACE_POINTER} in {store.url}"), etag


def _wanted(published: PublishedGeneration, encoders: dict[str, int], alias: str, pointer: SpacePointer | None) -> SpacePointer:
    return SpacePointer(
        space_id=published.collection.space_id,
        encoders=encoders,
        collection=published.collection.full_name,
        alias=alias,
        generation=published.number,
        previous=pointer.model_dump(mode="json", exclude={"previous"}) if pointer else None,
    )


def _flip(store: Store, wanted: SpacePointer, pointer: SpacePointer | None, etag: str | None) -> SpacePointer:
    if pointer is None or etag is None:
        store.put_if_absent(SPACE_POINTER, json_bytes(wanted))
    elif pointer.model_copy(update={"previous": None}) == wanted.model_copy(update={"previous": None}):
        return pointer
    else:
        store.put_if_match(SPACE_POINTER, json_bytes(wanted), etag)
    return wanted


def _shown(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.4f}"
