"""Numbers that are given out once: promotions and generations count up, and a killed owner finds its own number again."""

import json

from reelspace.core.artifacts import canonical_json
from reelspace.core.errors import CorruptArtifact, PreconditionFailed
from reelspace.core.store import Store

NUM_TRIES = 100


def claim(store: Store, prefix: str, owner: str) -> int:
    """Give the owner's number below the prefix, 1 or more: the one it already has, else the next free one.

    Raises:
        PreconditionFailed: other claimers were faster every time.
        CorruptArtifact: a claim is damaged; names it.
    """
    for _ in range(NUM_TRIES):
        numbers = {owner_of(store, key): int(key.rpartition("/")[2].removesuffix(".json")) for key in store.list(prefix + "/")}
        if owner in numbers:
            return numbers[owner]
        number = max(numbers.values(), default=0) + 1
        try:
            store.put_if_absent(f"{prefix}/{number:020d}.json", canonical_json({"owner": owner}))
        except PreconditionFailed:
            continue
        return number
    raise PreconditionFailed(f"no number below {prefix} in {store.url} could be claimed in {NUM_TRIES} tries; try again")


def owner_of(store: Store, key: str) -> str:
    """Give the owner of the number that was claimed under a key.

    Raises:
        ArtifactMissing: nobody claimed it.
        CorruptArtifact: the claim is damaged.
    """
    try:
        return str(json.loads(store.get(key))["owner"])
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptArtifact(f"{key} in {store.url} is not readable: {error!r}") from error
