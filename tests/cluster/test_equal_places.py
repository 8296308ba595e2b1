"""`train_and_publish` on the same tables gives the same as processes, in containers and on Argo."""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load

from reelspace.core.artifacts import Artifact, open_artifact
from reelspace.core.local_store import LocalStore
from reelspace.core.s3_store import S3Place, S3Store
from reelspace.core.step_records import JournalEntry, read_journal
from reelspace.core.store import Store
from reelspace.demo.generate import generate
from reelspace.demo.presets import CUTOFF, world_preset
from reelspace.runs.record import find_record
from reelspace.steps.presets import journey_preset
from tests.containers.bed import Bed, environment, lone_bed
from tests.pipelines.checkout import copy_checkout

from .argo import Argo
from .argo_place import argo_place
from .object_store import ObjectStore
from .real_node import RealNode

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]

PLACES = ("process", "podman", "argo")
# DESIGN.md 4: of the same id everywhere, the second ones given one teacher and one student.
PREPARED = ("import_tables", "preprocess_signals", "preprocess_media")
GIVEN_MODELS = ("embed", "export", "build_index")
MODELS = ("pretrain", "distill")
# A training of the same bytes differs in the order of its sums, where libraries or threads do. Its figures are losses and precisions.
TOLERANCE = 1e-3
NUM_WORKS = 60
LIMIT_S = 900.0


@dataclass(frozen=True, slots=True)
class Ran:
    """What a run did, and the store that holds it."""

    store: Store
    journal: Mapping[str, JournalEntry]

    def ids(self, steps: Sequence[str]) -> dict[str, dict[str, str]]:
        return {step: dict(self.journal[step].outputs) for step in steps}

    def output(self, step: str, name: str = "") -> Artifact:
        outputs = self.journal[step].outputs
        return open_artifact(self.store, outputs[name] if name else next(iter(outputs.values())))


@dataclass(frozen=True, slots=True)
class Place:
    """Where pipelines of a copy of the checkout run."""

    name: str
    folder: Path
    checkout: Path
    world: Path
    stores: str
    given: tuple[str, ...]
    environment: Mapping[str, str]

    def store(self, name: str) -> Store:
        url = f"{self.stores}/{name}"
        return S3Store(S3Place.from_environment(url, self.environment)) if url.startswith("s3://") else LocalStore(Path(url))

    def run(self, name: str) -> Ran:
        """Run the pipeline with a store of that name."""
        settings = self.folder / "settings.json"
        settings.write_text(json.dumps(journey_preset("smoke", cutoff=CUTOFF.isoformat())))
        words = [sys.executable, "-m", "reelspace.cli", "pipeline", "run", "train_and_publish", f"--where={self.name}", *self.given]
        words += [f"--store={self.stores}/{name}", f"--work={self.folder / name}", f"--tables={self.world}", f"--truth={self.world}"]
        done = subprocess.run(
            [*words, f"--settings={settings}"],
            cwd=self.checkout,
            env={**self.environment, "PYTHONPATH": str(self.checkout)},
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
        assert done.returncode == 0, f"{self.name}: {done.stdout}{done.stderr}"
        store = self.store(name)
        return Ran(store, read_journal(store, find_record(store, "last").run_id))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("places")


@pytest.fixture(scope="module")
def podman(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    with lone_bed(tmp_path_factory.mktemp("podman")) as prepared:
        yield prepared


@pytest.fixture(scope="module")
def places(podman: Bed, shared_real_argo: Argo, shared_node: RealNode, pod_store: ObjectStore, folder: Path) -> Iterator[dict[str, Place]]:
    """Every place, with the same sources and tables: a checkout in which nobody works, and one generated world."""
    checkout, world = copy_checkout(folder / "checkout", {}), folder / "world"
    generate(world_preset("demo", num_works=NUM_WORKS), world)
    for name in PLACES:
        (folder / name).mkdir()
    with argo_place(shared_real_argo, shared_node, pod_store, folder / "argo", checkout, (world,)) as argo:
        settings = {"podman": podman.place(folder / "podman"), "argo": argo.file}
        stores = {"process": str(folder / "stores"), "podman": f"s3://{podman.store.make_bucket()}", "argo": argo.store_url}
        variables = {"argo": argo.environment}
        yield {
            name: Place(
                name,
                folder / name,
                checkout,
                world,
                stores[name],
                (f"--place={settings[name]}",) if name in settings else (),
                variables.get(name, environment(podman.store)),
            )
            for name in PLACES
        }


def give_models(source: Ran, target: Store) -> None:
    """Put the teacher and the student of a run into another store, as the results of their steps."""
    prefixes = [f"artifacts/{artifact_id}/" for step in MODELS for artifact_id in source.journal[step].outputs.values()]
    prefixes += [f"runs/{source.journal[step].key}/outputs.json" for step in MODELS]
    for key in (key for prefix in prefixes for key in source.store.list(prefix)):
        target.put(key, source.store.get(key))


def figures(value: Any, path: str = "") -> dict[str, float | str | None]:
    """Give the numbers and words of a JSON value by their paths, without ids, which differ with the models, and without speeds."""
    if isinstance(value, Mapping):
        return {key: one for name, part in value.items() for key, one in figures(part, f"{path}.{name}").items()}
    if isinstance(value, list):
        return {key: one for number, part in enumerate(value) for key, one in figures(part, f"{path}.{number}").items()}
    is_left_out = path.endswith("_per_s") or (isinstance(value, str) and len(value) == 64)
    return {} if is_left_out else {path: value}


def assert_alike(found: Artifact, expected: Artifact, file: str) -> None:
    """Compare two artifacts: the names of their files, the names and shapes of their tensors, and a file in figures."""
    assert found.names() == expected.names()
    for path in (path for path in found.names() if path.endswith(".safetensors")):
        assert shapes(found.read(path)) == shapes(expected.read(path))
    told, wanted = (figures(json.loads(one.read(file))) for one in (found, expected))
    assert set(told) == set(wanted)
    near = {path: pytest.approx(one, rel=TOLERANCE, abs=TOLERANCE) if isinstance(one, float) else one for path, one in wanted.items()}
    assert {path: (told[path], wanted[path]) for path in wanted if told[path] != near[path]} == {}, file


def shapes(tensors: bytes) -> dict[str, tuple[int, ...]]:
    return {name: tensor.shape for name, tensor in load(tensors).items()}


def test_train_and_publish_gives_the_same_as_processes_in_podman_and_on_argo(places: dict[str, Place]) -> None:
    first = places["process"].run("own")
    for name in PLACES[1:]:
        own = places[name].run("own")
        assert own.ids(PREPARED) == first.ids(PREPARED), name
        for step in MODELS:
            assert_alike(own.output(step), first.output(step), "summary.json")
        assert_alike(own.output("evaluate"), first.output("evaluate"), "evaluation.json")

        give_models(first, places[name].store("given"))
        given = places[name].run("given")
        assert {step: given.journal[step].reused for step in (*PREPARED, *MODELS, *GIVEN_MODELS)} == {
            step: step in MODELS for step in (*PREPARED, *MODELS, *GIVEN_MODELS)
        }
        assert given.ids((*PREPARED, *MODELS, *GIVEN_MODELS)) == first.ids((*PREPARED, *MODELS, *GIVEN_MODELS)), name
        assert_alike(given.output("evaluate"), first.output("evaluate"), "evaluation.json")
        assert given.output("promote").read("spaces/current.json") == first.output("promote").read("spaces/current.json")
