"""Which versions of a model Tritons have now, and which a Triton that starts would load.

A model may ask a graph, which is a model of its own, in the version of the same number: so the graph has whatever version any model that
asks it may be asked in.
"""

from collections.abc import Callable, Collection, Mapping, Sequence

from reelspace.core.store import Store
from reelspace.serving.rollout.model_control import ModelControl
from reelspace.serving.rollout.state import ENDED, find_rollout
from reelspace.serving.rollout.version_folders import VersionFolders


class LoadedVersions:
    """The versions of one model, and of its graph."""

    def __init__(self, store: Store, tritons: Sequence[ModelControl], model: str, promoted: Callable[[], Mapping[str, int]]) -> None:
        """Name the model.

        Args:
            promoted: gives the version of each promoted model.
        """
        self._store = store
        self._tritons = tritons
        self._model = model
        self._promoted = promoted
        self._folders = VersionFolders(store, model)

    def name(self, versions: Collection[int]) -> None:
        """Have the files name these versions."""
        for folders, wanted in self._parts(versions):
            folders.name(wanted)

    def load(self, versions: Collection[int]) -> None:
        """Have every Triton load these versions; those that it has are not started anew.

        Raises:
            TritonRefused: one cannot be loaded.
            ServerUnavailable: a Triton does not answer.
        """
        parts = self._parts(versions)
        for triton in self._tritons:
            # A graph comes before who asks it, and goes after.
            for folders, wanted in parts:
                triton.load(folders.model, folders.config_of(wanted))

    def leave(self, versions: Collection[int]) -> None:
        """Have every Triton unload all other versions; see `load`."""
        parts = self._parts(versions)
        for triton in self._tritons:
            for folders, wanted in reversed(parts):
                triton.load(folders.model, folders.config_of(wanted))

    def _parts(self, versions: Collection[int]) -> list[tuple[VersionFolders, set[int]]]:
        """Give the graph, if there is one, and the model, each with its versions."""
        graph = self._folders.graph()
        own = (self._folders, set(versions))
        return [own] if graph is None else [(VersionFolders(self._store, graph), set(versions) | self._asked_by_others(graph)), own]

    def _asked_by_others(self, graph: str) -> set[int]:
        asked: set[int] = set()
        for model, version in self._promoted().items():
            if model in (self._model, graph) or VersionFolders(self._store, model).graph() != graph:
                continue
            found = find_rollout(self._store, model)
            asked |= (
                {version} if found is None or found.rollout.stage in ENDED else {version, found.rollout.stable, found.rollout.candidate}
            )
        return asked
