"""A model that asks a graph in its own version finds it there, whoever else asks other versions of it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from reelspace.core.local_store import LocalStore
from reelspace.search.scheduling.promoted_encoders import PromotedEncoders
from reelspace.search.storage.layout import SPACE_POINTER, SpacePointer, json_bytes
from reelspace.serving.rollout.loaded_versions import LoadedVersions
from reelspace.serving.rollout.state import Rollout, Stage, write_rollout
from reelspace.serving.rollout.version_folders import VersionFolders
from reelspace.serving.signatures import (
    EncoderSizes,
    front_pbtxt,
    graph_pbtxt,
    graph_signature,
    text_signature,
    video_signature,
)

from .world import SPACE

VIDEO, MEDIA, GRAPH = "video_encoder", "media_encoder", "video_encoder_graph"


class Recorder:
    """A Triton that writes down what it is to load."""

    def __init__(self) -> None:
        self.loads: list[tuple[str, list[int]]] = []

    def load(self, model: str, config: Mapping[str, Any]) -> None:
        assert config["name"] == model
        self.loads.append((model, [int(one) for one in config["version_policy"]["specific"]["versions"]]))

    def probe(self, model: str, version: int) -> None: ...

    def times(self, model: str, version: int) -> dict[int, tuple[int, float]]:
        return {}


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    """Two models before one graph, and one without."""
    store, sizes = LocalStore(tmp_path), EncoderSizes(2, 1, 4, 4, 8)
    configs = {
        VIDEO: front_pbtxt(video_signature(VIDEO, sizes), GRAPH),
        MEDIA: front_pbtxt(text_signature(MEDIA, sizes), GRAPH),
        GRAPH: graph_pbtxt(graph_signature(GRAPH, sizes, 4, video=True)),
        "text_encoder": front_pbtxt(text_signature("text_encoder", sizes), "text_encoder_graph"),
    }
    for model, text in configs.items():
        store.put(f"repository/{model}/config.pbtxt", text.encode())
    versions = {VIDEO: 3, GRAPH: 3, MEDIA: 2, "text_encoder": 9}
    facts = {"collection": "videos@01234567", "alias": "videos", "generation": 1, "previous": None}
    store.put(SPACE_POINTER, json_bytes(SpacePointer(space_id=SPACE, encoders=versions, **facts)))
    return store


def versions_of(store: LocalStore, model: str, triton: Recorder) -> LoadedVersions:
    return LoadedVersions(store, [triton], model, PromotedEncoders(store).versions)


def roll_out(store: LocalStore, stage: Stage) -> None:
    write_rollout(store, Rollout(model=MEDIA, number=1, stable=2, candidate=4, stage=stage), None)


def test_the_graph_comes_first_and_goes_last_and_has_what_other_models_ask(store: LocalStore) -> None:
    triton = Recorder()
    versions = versions_of(store, VIDEO, triton)
    versions.load([3, 5])
    versions.leave([5])
    assert triton.loads == [(GRAPH, [2, 3, 5]), (VIDEO, [3, 5]), (VIDEO, [5]), (GRAPH, [2, 5])]


@pytest.mark.parametrize(("stage", "expected"), [("canary", [2, 3, 4, 5]), ("rolled_back", [2, 3, 5])])
def test_a_version_that_another_model_is_being_rolled_out_with_stays(store: LocalStore, stage: Stage, expected: list[int]) -> None:
    roll_out(store, stage)
    triton = Recorder()
    versions_of(store, VIDEO, triton).load([3, 5])
    assert triton.loads[0] == (GRAPH, expected)


def test_files_name_what_a_triton_that_starts_needs(store: LocalStore) -> None:
    versions_of(store, VIDEO, Recorder()).name([5])
    texts = {model: store.get(f"repository/{model}/config.pbtxt").decode() for model in (VIDEO, GRAPH, MEDIA)}
    assert "versions: [ 5 ]" in texts[VIDEO]
    assert "versions: [ 2, 5 ]" in texts[GRAPH]
    assert "version_policy" not in texts[MEDIA]


def test_the_pointer_of_a_graph_moves_with_its_model(store: LocalStore) -> None:
    promoted = PromotedEncoders(store)
    promoted.flip([VIDEO, GRAPH], 3, 5, lambda: True)
    promoted.flip([MEDIA, "media_encoder_graph"], 2, 4, lambda: True)
    assert promoted.versions() == {VIDEO: 5, GRAPH: 5, MEDIA: 4, "text_encoder": 9}


def test_a_policy_over_several_lines_is_refused_and_not_cut(store: LocalStore) -> None:
    key = f"repository/{VIDEO}/config.pbtxt"
    store.put(key, store.get(key) + b"version_policy {\n  specific { versions: [ 3 ] }\n}\n")
    with pytest.raises(Exception, match="expected version_policy on a line of its own"):
        VersionFolders(store, VIDEO).name([3])
