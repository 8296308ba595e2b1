"""Kinds 23 to 25 of what is got wrong around an endpoint: versions that cannot be loaded. The old one answers on, through the gateway."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from shutil import copytree, rmtree
from typing import Any

import httpx
import onnx
import pytest

from reelspace.serving.triton import TritonProcess
from reelspace.serving.upstream import fetch_signatures
from reelspace.serving.version import Version

from .conftest import Exported
from .gateway import running_gateway

MODEL = "text_encoder"
TEXT = {"inputs": [{"name": "TEXT", "shape": [1, 1], "datatype": "BYTES", "data": ["ramen"]}]}


@dataclass(frozen=True)
class Repository:
    """A served copy of the exported text encoder, version 1, and how to ask for more."""

    folder: Path
    triton: TritonProcess
    gateway_url: str

    def load(self) -> httpx.Response:
        """Ask Triton to look at the model again, as operators do."""
        return httpx.post(f"{self.triton.http_url}/v2/repository/models/{MODEL}/load", json={}, timeout=60)

    def answer(self) -> dict[str, Any]:
        response = httpx.post(f"{self.gateway_url}/v2/models/{MODEL}/infer", json=TEXT)
        assert response.status_code == 200, response.text
        found: dict[str, Any] = response.json()
        return found


@pytest.fixture(scope="module")
def repository(exported: Exported, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Repository]:
    root = tmp_path_factory.mktemp("bad-repository")
    folder = root / "models" / MODEL
    copytree(exported.models / MODEL, folder)
    with (
        TritonProcess.start([root / "models"], [MODEL], log_path=root / "log") as triton,
        running_gateway(triton.http_url, fetch_signatures(triton.http_url, [MODEL])) as url,
    ):
        yield Repository(folder, triton, url)


def garbage_in_configuration(folder: Path) -> None:
    (folder / "config.pbtxt").write_text("name: {{ what }}")


def another_models_configuration(folder: Path) -> None:
    path = folder / "config.pbtxt"
    path.write_text(path.read_text().replace(f'name: "{MODEL}"', 'name: "other"'))


def no_version_is_left(folder: Path) -> None:
    rmtree(folder / "1")


def graph_of(change: Callable[[Path], object]) -> Callable[[Path], None]:
    """Add a version 2 whose graph is changed, with facts that say so: as it would be written by mistake, or by an enemy."""

    def made(folder: Path) -> None:
        copytree(folder / "1", folder / "2")
        change(folder / "2" / "model.onnx")
        Version.read(folder / "2").write(folder / "2")

    return made


def damaged(name: str, change: Callable[[Path], object]) -> Callable[[Path], None]:
    """Add a version 2, a file of which is damaged after it was written."""

    def made(folder: Path) -> None:
        copytree(folder / "1", folder / "2")
        change(folder / "2" / name)

    return made


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def cut_in_half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def weights_from_outside(path: Path) -> None:
    """Let a weight lie in a file above the model's folder, as who wants to read other people's files would."""
    model = onnx.load(path)
    weight = max(model.graph.initializer, key=lambda one: len(one.raw_data))
    (path.parent.parent.parent / "secret.bin").write_bytes(weight.raw_data)
    for key, value in (("location", "../../secret.bin"), ("offset", "0"), ("length", str(len(weight.raw_data)))):
        weight.external_data.add(key=key, value=value)
    weight.ClearField("raw_data")
    weight.data_location = onnx.TensorProto.EXTERNAL
    path.write_bytes(model.SerializeToString())


@dataclass(frozen=True)
class Bad:
    """What is done to the model's folder, and what Triton says of it."""

    change: Callable[[Path], None]
    says: str


BAD = {
    "23 garbage as configuration": Bad(garbage_in_configuration, "failed to poll"),
    "23 the configuration of another model": Bad(another_models_configuration, "failed to poll"),
    "23 no version": Bad(no_version_is_left, "at least one version must be available"),
    "24 an empty graph": Bad(graph_of(lambda path: path.write_bytes(b"")), "No graph was found"),
    "24 half a graph": Bad(graph_of(cut_in_half), "parsing failed"),
    "24 a graph that is HTML": Bad(graph_of(lambda path: path.write_text("<html></html>")), "parsing failed"),
    "24 no graph": Bad(graph_of(lambda path: path.unlink()), "File doesn't exist"),
    "25 weights outside of the model's folder": Bad(graph_of(weights_from_outside), "path escapes model directory"),
    **{
        f"{name}, {what}": Bad(damaged(name, change), f"2/{name}{says}")
        for name in ("model.onnx", "tokenizer.json", "version.json")
        for what, change, says in (("a flipped bit", flip_a_bit, ": "), ("half", cut_in_half, ": "), ("gone", Path.unlink, ""))
    },
}
# Every load starts a process of the model: the rest is for the long run.
QUICK = {"23 garbage as configuration", "24 an empty graph", "25 weights outside of the model's folder", "model.onnx, a flipped bit"}


@pytest.mark.parametrize("name", [pytest.param(name, marks=[] if name in QUICK else pytest.mark.long) for name in BAD])
def test_a_version_that_cannot_be_loaded_is_refused_and_the_old_one_answers_on(repository: Repository, tmp_path: Path, name: str) -> None:
    before = repository.answer()
    copytree(repository.folder, tmp_path / "kept")
    BAD[name].change(repository.folder)
    try:
        refused = repository.load()
        assert refused.status_code >= 400, "Triton must say that it cannot load this"
        assert BAD[name].says in json.loads(refused.content)["error"]
        assert repository.answer() == before
        assert httpx.get(f"{repository.gateway_url}/v2/models/{MODEL}/ready").status_code == 200
    finally:
        rmtree(repository.folder)
        copytree(tmp_path / "kept", repository.folder)


@pytest.mark.long
def test_a_good_second_version_is_loaded_by_the_same_call(repository: Repository) -> None:
    """So what is refused above is refused for what is wrong with it."""
    before = repository.answer()
    copytree(repository.folder / "1", repository.folder / "2")
    try:
        assert repository.load().status_code == 200
        assert repository.answer() == before | {"model_version": "2"}
    finally:
        rmtree(repository.folder / "2")
        assert repository.load().status_code == 200
    assert repository.answer() == before


@pytest.mark.long
def test_a_version_written_with_a_zero_before_it_is_no_other_version(repository: Repository) -> None:
    before = repository.answer()
    copytree(repository.folder / "1", repository.folder / "02")
    try:
        repository.load()
        assert repository.answer() == before
        assert httpx.get(f"{repository.gateway_url}/v2/models/{MODEL}").json()["versions"] == ["1"]
    finally:
        rmtree(repository.folder / "02")
