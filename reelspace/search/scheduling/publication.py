"""Generations that wait to be current: who built them asks for that, and the controller has them loaded, checks them, and flips.

collections/publications.json            Publications: one per collection at a time
collections/<c>/outcome.json             Outcome: what became of the last one
"""

import time
from typing import Final

from pydantic import Field

from reelspace.core.errors import PreconditionFailed, ServerUnavailable, UserError
from reelspace.core.settings import Settings
from reelspace.core.store import Store
from reelspace.search.scheduling.generations import PublishedGeneration, check_log_is_whole
from reelspace.search.scheduling.pointer import states_of
from reelspace.search.storage.layout import ShardState, collection_key
from reelspace.search.storage.replaced_file import read_or_default, replace_file

PUBLICATIONS_KEY: Final = "collections/publications.json"
OUTCOME: Final = "outcome.json"
LOOK_S: Final = 0.1


class Publication(Settings):
    """Generations of some shards of a collection that are to be current, all at once."""

    number: int = Field(ge=1, description="Their number.")
    shards: dict[str, ShardState] = Field(min_length=1)
    anew: bool = Field(False, description="Whether they may hold less of the log than the current ones: they have rows of their own.")


class Publications(Settings):
    """What waits, by the collection's full name."""

    waiting: dict[str, Publication] = Field(default_factory=dict)


class Outcome(Settings):
    """What became of a publication."""

    number: int = Field(0, ge=0, description="Number of its generations; 0 before the first.")
    is_current: bool = Field(False, description="Whether they became current.")
    reason: str = Field("", description="Why not.")


def publication_of(store: Store, published: PublishedGeneration) -> Publication:
    """Give what is asked for a generation of all shards that has rows of its own; the writes in the log go on top of it.

    Raises:
        UserError: of the log, which the generation has nothing of, objects are dropped already.
    """
    check_log_is_whole(store, published)
    contains_log = dict.fromkeys(range(len(published.shards)), 0)
    return Publication(number=published.number, shards=states_of(published.shards, contains_log), anew=True)


def publish(store: Store, full_name: str, publication: Publication) -> None:
    """Ask for generations, whose files are all in the store, to become current; asking again changes nothing.

    Raises:
        PreconditionFailed: others of the collection wait for that already.
    """

    def with_this(found: Publications) -> Publications:
        other = found.waiting.get(full_name, publication)
        if other != publication:
            what = f"generation {other.number} of {full_name} is about to be current: {publication.number} must wait for what becomes of it"
            raise PreconditionFailed(what)
        return Publications(waiting=found.waiting | {full_name: publication})

    replace_file(store, Publications, PUBLICATIONS_KEY, with_this)


def waiting(store: Store) -> dict[str, Publication]:
    """Give what waits, by full name."""
    return read_or_default(store, Publications, PUBLICATIONS_KEY).waiting


def settle(store: Store, full_name: str, outcome: Outcome) -> None:
    """Say what became of a publication, and let the next one come."""
    replace_file(store, Outcome, collection_key(full_name, OUTCOME), lambda _before: outcome)

    def without(found: Publications) -> Publications:
        return Publications(waiting={name: one for name, one in found.waiting.items() if name != full_name or one.number != outcome.number})

    replace_file(store, Publications, PUBLICATIONS_KEY, without)


def last_outcome(store: Store, full_name: str) -> Outcome:
    """Tell what became of a collection's last publication."""
    return read_or_default(store, Outcome, collection_key(full_name, OUTCOME))


def wait_until_current(store: Store, full_name: str, number: int, timeout_s: float) -> None:
    """Return when a publication is current.

    Raises:
        UserError: it was refused; the message says why.
        ServerUnavailable: nothing became of it within timeout_s: no controller runs, or servers do not load it.
    """
    deadline_s = time.monotonic() + timeout_s
    while (outcome := last_outcome(store, full_name)).number != number:
        if time.monotonic() >= deadline_s:
            raise ServerUnavailable(f"generation {number} of {full_name} is not current after {timeout_s:g} s: does a controller run?")
        time.sleep(LOOK_S)
    if not outcome.is_current:
        raise UserError(f"generation {number} of {full_name} was refused: {outcome.reason}")
