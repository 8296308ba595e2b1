import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from reelspace.core.artifacts import Artifact, open_artifact, write_artifact
from reelspace.core.errors import GateRefused, PreconditionFailed, UserError
from reelspace.core.store import LocalStore, Store
from reelspace.search.compute.generation import open_generation
from reelspace.search.scheduling.claims import claim
from reelspace.search.scheduling.promote import Promotion, check_gate, promote
from reelspace.search.storage.layout import SPACE_POINTER, ServedGeneration, SpacePointer, json_bytes, read_current, read_file, shard_model

from .builders import SPACE, make_collection, make_index, make_table

COLLECTION = f"videos@{SPACE[:8]}"
WRITES = ("put", "put_if_absent", "put_if_match", "put_file", "delete")


def make_encoders(store: Store, directory: Path, content: str, *, space: str = SPACE, parents: tuple[str, ...] = ()) -> Artifact:
    """Write a repository artifact; promotion copies its files without looking into them."""
    for model in ("text_encoder", "video_encoder"):
        (directory / model / "1").mkdir(parents=True)
        (directory / model / "config.pbtxt").write_text(f'name: "{model}"\n')
        (directory / model / "1" / "version.json").write_text(json.dumps({"space_id": space, "model": model}))
        (directory / model / "1" / "model.onnx").write_text(content)
    return write_artifact(store, "repository", directory, parents=parents, code="", settings={})


def promotion(store: Store, root: Path, name: str, num_rows: int) -> Promotion:
    index = make_index(store, root / name / "index", make_table(num_rows, 8))
    return Promotion(index, make_encoders(store, root / name / "encoders", name), "videos")


def pointer_of(store: Store) -> SpacePointer:
    return read_file(store, SpacePointer, SPACE_POINTER)


def check_what_serves(store: LocalStore, num_rows: int, content: str) -> None:
    """Follow the pointers as Triton and a gateway do: everything that they name must be whole and belong together."""
    pointer = pointer_of(store)
    check_collection(store, pointer.generation, num_rows)
    check_encoders(store, pointer, content)


def check_collection(store: LocalStore, generation: int, num_rows: int) -> None:
    shards = []
    for shard in range(2):
        assert named_versions(store, f"repository/{shard_model(COLLECTION, shard)}") == {1}
        state = read_current(store, COLLECTION, 2).shards[str(shard)]
        assert state.generation == generation
        served = ServedGeneration(collection=COLLECTION, shard=shard, generation=state.generation, manifest_sha256=state.manifest_sha256)
        shards.append(open_generation(store, served))
    assert sum(shard.num_rows for shard in shards) == num_rows


def check_encoders(store: LocalStore, pointer: SpacePointer, content: str) -> None:
    for encoder, version in pointer.encoders.items():
        assert named_versions(store, f"repository/{encoder}") >= {version}
        assert store.get(f"repository/{encoder}/{version}/model.onnx").decode() == content
        assert json.loads(store.get(f"repository/{encoder}/{version}/version.json"))["space_id"] == pointer.space_id


def named_versions(store: Store, model: str) -> set[int]:
    """Read the versions that a configuration names; each must be whole, for Triton loads them all."""
    config = store.get(f"{model}/config.pbtxt").decode()
    versions = {int(one) for one in config.partition("versions: [")[2].partition("]")[0].split(",")}
    for version in versions:
        assert store.exists(f"{model}/{version}/followed.json") or store.exists(f"{model}/{version}/version.json")
    return versions


def contents(store: LocalStore) -> dict[str, bytes]:
    return {
        key: store.get(key) for key in store.list("") if not key.startswith("artifacts/") and not key.endswith(f"{COLLECTION}/current.json")
    }


def test_promotion_makes_index_and_encoders_serve(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "store")
    pointer = promote(store, promotion(store, tmp_path, "one", 50), tmp_path / "scratch")
    assert pointer == pointer_of(store)
    assert pointer.encoders == {"text_encoder": 1, "video_encoder": 1}
    assert (pointer.collection, pointer.alias, pointer.generation, pointer.previous) == (COLLECTION, "videos", 1, None)
    check_what_serves(store, 50, "one")


def test_promoting_again_changes_no_byte(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "store")
    wanted = promotion(store, tmp_path, "one", 50)
    first = promote(store, wanted, tmp_path / "a")
    before = {key: store.get(key) for key in store.list("")}
    assert promote(store, wanted, tmp_path / "b") == first
    assert {key: store.get(key) for key in store.list("")} == before


def test_next_promotion_keeps_what_served_loaded_and_an_older_one_can_come_back(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "store")
    one, two = promotion(store, tmp_path, "one", 50), promotion(store, tmp_path, "two", 70)
    promote(store, one, tmp_path / "a")
    pointer = promote(store, two, tmp_path / "b")
    assert pointer.generation == 2
    assert pointer.encoders == {"text_encoder": 2, "video_encoder": 2}
    assert pointer.previous is not None
    assert pointer.previous["generation"] == 1
    assert read_current(store, COLLECTION, 2).previous["0"].generation == 1
    assert named_versions(store, "repository/text_encoder") == {1, 2}
    check_what_serves(store, 70, "two")
    back = promote(store, one, tmp_path / "c")
    assert (back.generation, back.encoders["text_encoder"]) == (1, 1)
    check_what_serves(store, 50, "one")


class KilledStore(LocalStore):
    """Kills its process right before one of its writes."""

    writes_left = 0

    def __getattribute__(self, name: str) -> object:
        if name in WRITES:
            self.writes_left -= 1
            if self.writes_left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return super().__getattribute__(name)


def in_killed_process(root: Path, num_writes: int, body: Callable[[LocalStore], object]) -> bool:
    """Run the body in a process that is killed before write number `num_writes`; tells whether it was."""
    pid = os.fork()
    if pid == 0:
        store = KilledStore(root)
        store.writes_left = num_writes
        body(store)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


def test_killed_before_any_of_its_writes_a_promotion_leaves_the_old_one_serving_and_resumes(tmp_path: Path) -> None:
    start = LocalStore(tmp_path / "start")
    one, two = promotion(start, tmp_path, "one", 50), promotion(start, tmp_path, "two", 70)
    promote(start, one, tmp_path / "a")
    finished = LocalStore(shutil.copytree(start.root, tmp_path / "finished"))
    promote(finished, reopened(finished, two), tmp_path / "b")
    num_writes = 0
    while True:
        root = shutil.copytree(start.root, tmp_path / f"killed-{num_writes}")
        scratch = tmp_path / f"scratch-{num_writes}"
        if not in_killed_process(root, num_writes, lambda store: promote(store, reopened(store, two), scratch)):  # noqa: B023
            break
        store = LocalStore(root)
        check_encoders(store, pointer_of(store), "one")
        # The new rows are of the space that the old encoders embed into, so they may be there first; then they are there whole.
        generation = read_current(store, COLLECTION, 2).shards["0"].generation
        check_collection(store, generation, {1: 50, 2: 70}[generation])
        promote(store, reopened(store, two), tmp_path / f"again-{num_writes}")
        check_what_serves(store, 70, "two")
        assert contents(store) == contents(finished)
        num_writes += 1
    assert num_writes > 15


def reopened(store: LocalStore, wanted: Promotion) -> Promotion:
    """The same promotion, read from another copy of the store."""
    assert wanted.encoders is not None
    return Promotion(open_artifact(store, wanted.index.id), open_artifact(store, wanted.encoders.id), wanted.alias)


def test_a_killed_promotion_that_is_never_resumed_does_not_disturb_the_next(tmp_path: Path) -> None:
    start = LocalStore(tmp_path / "start")
    one, two, three = (promotion(start, tmp_path, name, rows) for name, rows in (("one", 50), ("two", 70), ("three", 90)))
    promote(start, one, tmp_path / "a")
    for num_writes in range(1, 20, 3):
        store = LocalStore(shutil.copytree(start.root, tmp_path / f"killed-{num_writes}"))
        scratch = tmp_path / f"scratch-{num_writes}"
        in_killed_process(store.root, num_writes, lambda killed: promote(killed, reopened(killed, two), scratch))  # noqa: B023
        promote(store, reopened(store, three), tmp_path / f"again-{num_writes}")
        check_what_serves(store, 90, "three")


def test_the_slower_of_two_promotions_is_told_and_serves_nothing(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "store")
    one, two = promotion(store, tmp_path, "one", 50), promotion(store, tmp_path, "two", 70)

    class Overtaken(LocalStore):
        """Lets another promotion through right before the last flip."""

        def put_if_absent(self, key: str, data: bytes) -> str:
            if key == SPACE_POINTER:
                promote(LocalStore(self.root), two, tmp_path / "b")
            return super().put_if_absent(key, data)

    with pytest.raises(PreconditionFailed):
        promote(Overtaken(store.root), one, tmp_path / "a")
    assert pointer_of(store).generation == 2
    check_what_serves(store, 70, "two")


def test_index_and_encoders_of_different_spaces_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "store")
    index = make_index(store, tmp_path / "index", make_table(50, 8))
    encoders = make_encoders(store, tmp_path / "encoders", "x", space="ffeeddccbbaa9988")
    with pytest.raises(UserError, match="ffeeddccbbaa9988"):
        promote(store, Promotion(index, encoders, "videos"), tmp_path / "scratch")
    assert all(key.startswith("artifacts/") for key in store.list(""))


def test_collection_of_another_make_is_refused_naming_what_differs(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "store")
    promote(store, promotion(store, tmp_path, "one", 50), tmp_path / "a")
    index = make_index(store, tmp_path / "index", make_table(50, 8), make_collection(8, num_shards=3))
    with pytest.raises(UserError, match=r"num_shards is 2 there, 3 in the index.*build_index\.collection"):
        promote(store, Promotion(index, None, "videos"), tmp_path / "b")
    check_what_serves(store, 50, "one")


def make_evaluation(store: Store, directory: Path, parents: list[str], gate: object) -> Artifact:
    directory.mkdir()
    (directory / "gate.json").write_text(json.dumps(gate))
    return write_artifact(store, "evaluation", directory, parents=parents, code="", settings={})


def test_gate_that_was_not_passed_refuses_naming_every_failing_row(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "store")
    rows = [
        {"figure": "teacher.good", "threshold": 0.5, "value": 0.7, "passed": True},
        {"figure": "teacher.bad", "threshold": 0.8, "value": 0.61234, "passed": False},
        {"figure": "student.lost", "threshold": 0.1, "value": None, "passed": False},
    ]
    evaluation = make_evaluation(store, tmp_path / "evaluation", [], {"passed": False, "rows": rows})
    with pytest.raises(GateRefused) as refused:
        check_gate(evaluation, promotion(store, tmp_path, "one", 50))
    message = str(refused.value)
    assert "teacher.bad is 0.6123, at least 0.8 is asked; student.lost is not measured, at least 0.1 is asked" in message
    assert "teacher.good" not in message


def test_what_was_not_evaluated_is_refused(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "store")
    vectors, strange = "a" * 64, "b" * 64
    index = make_index(store, tmp_path / "index", make_table(50, 8), parents=(vectors,))
    evaluation = make_evaluation(store, tmp_path / "evaluation", [vectors], {"passed": True, "rows": []})
    check_gate(evaluation, Promotion(index, None, "videos"))
    encoders = make_encoders(store, tmp_path / "encoders", "x", parents=(strange,))
    with pytest.raises(GateRefused, match=r"repository .* was made of bbbbbbbbbbbb, which this evaluation did not measure"):
        check_gate(evaluation, Promotion(index, encoders, "videos"))


def test_numbers_are_given_out_once_and_an_owner_finds_its_own_again(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    assert [claim(store, "spaces/claims", owner) for owner in "abab"] == [1, 2, 1, 2]
    assert claim(store, "collections/x/claims", "b") == 1


def test_encoders_of_an_update_serve_the_collection_that_serves_and_its_new_rows(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "store")
    promote(store, promotion(store, tmp_path, "one", 50), tmp_path / "a")
    (tmp_path / "upserted").mkdir()
    (tmp_path / "upserted" / "collection.json").write_bytes(store.get(f"collections/{COLLECTION}/collection.json"))
    upserted = write_artifact(store, "upserted", tmp_path / "upserted", parents=(), code="", settings={})
    update = Promotion(upserted, make_encoders(store, tmp_path / "two", "two"), "videos")
    pointer = promote(store, update, tmp_path / "b")
    assert (pointer.generation, pointer.encoders["text_encoder"]) == (1, 2)
    assert pointer.previous is not None
    check_what_serves(store, 50, "two")
    assert promote(store, update, tmp_path / "c") == pointer


def test_an_update_of_another_collection_than_the_serving_one_is_refused(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "store")
    (tmp_path / "upserted").mkdir()
    (tmp_path / "upserted" / "collection.json").write_bytes(json_bytes(make_collection(8)))
    upserted = write_artifact(store, "upserted", tmp_path / "upserted", parents=(), code="", settings={})
    with pytest.raises(UserError, match="nothing serves"):
        promote(store, Promotion(upserted, make_encoders(store, tmp_path / "one", "one"), "videos"), tmp_path / "a")
