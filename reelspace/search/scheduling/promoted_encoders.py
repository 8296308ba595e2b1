"""One encoder's version in the one pointer of what is promoted, while its space and the collection stay."""

from collections.abc import Callable, Sequence

from reelspace.core.errors import ArtifactMissing, PreconditionFailed, UserError
from reelspace.core.store import Store
from reelspace.search.storage.layout import SPACE_POINTER, SpacePointer, json_bytes, parse


class PromotedEncoders:
    """Reads and moves versions in spaces/current.json."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def versions(self) -> dict[str, int]:
        """Give the version of each promoted encoder; none where nothing was promoted."""
        try:
            return dict(self._read()[0].encoders)
        except ArtifactMissing:
            return {}

    def space_id(self) -> str:
        """Give the promoted space; ArtifactMissing where nothing was promoted."""
        return self._read()[0].space_id

    def flip(self, models: Sequence[str], before: int, wanted: int, is_current: Callable[[], bool]) -> None:
        """Let a version of the same space take the place of another; done already, it changes nothing.

        Args:
            models: one that is promoted, and others that go with it where they are promoted in the same version.
            is_current: tells whether the flip is still wanted; asked after the pointer is read, so that nobody who slept moves it.

        Raises:
            UserError: the pointer names a third version: another promotion was first.
            PreconditionFailed: the pointer moved meanwhile, or the flip is not wanted any more; look again.
        """
        model, *others = models
        pointer, etag = self._read()
        found = pointer.encoders.get(model)
        if found == wanted:
            return
        if found != before:
            raise UserError(
                f"{SPACE_POINTER} names version {found} of {model}, {before} was expected: something else was promoted meanwhile"
            )
        if not is_current():
            raise PreconditionFailed(f"the flip of {model} to version {wanted} is not wanted any more")
        previous = pointer.model_dump(mode="json", exclude={"previous"})
        moved = dict.fromkeys([model, *(other for other in others if pointer.encoders.get(other) == before)], wanted)
        changed = pointer.model_copy(update={"encoders": {**pointer.encoders, **moved}, "previous": previous})
        self._store.put_if_match(SPACE_POINTER, json_bytes(changed), etag)

    def _read(self) -> tuple[SpacePointer, str]:
        data, etag = self._store.get_with_etag(SPACE_POINTER)
        return parse(SpacePointer, data, f"{SPACE_POINTER} in {self._store.url}"), etag
