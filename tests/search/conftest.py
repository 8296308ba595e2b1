"""A promoted collection of 3,000 rows in two shards with an untrained text encoder, on a real Triton behind a real gateway."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import onnx
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from reelspace.core.artifacts import Artifact, open_artifact, read_manifest_file, write_artifact, write_manifest_file
from reelspace.core.processes import child, stop
from reelspace.core.store import Store, open_store
from reelspace.model.tokenizer import Tokenizer
from reelspace.search.compute.build import IndexSettings, Table, write_index
from reelspace.search.measure import Gallery
from reelspace.search.scheduling.promote import Promotion
from reelspace.search.scheduling.promote import promote as promote_index
from reelspace.search.storage.layout import Collection, SpacePointer, VectorSettings, shard_model
from reelspace.serving.signatures import EncoderSizes, config_pbtxt, text_signature
from reelspace.serving.triton import TritonProcess
from reelspace.serving.version import Version
from reelspace.steps import build_index, promote

SPACE_ID = "0123456789abcdef"
NUM_ROWS = 3000
NUM_TWINS = 40
DIMENSION = 128
FIRST = datetime(2025, 1, 1, tzinfo=UTC)


def make_gallery(num_rows: int = NUM_ROWS, dimension: int = DIMENSION, seed: int = 7) -> Gallery:
    """Draw rows in shuffled order of ids, the last 40 of them exact copies of the first."""
    draw = np.random.default_rng(seed)
    vectors_ND = draw.standard_normal((num_rows, dimension))
    vectors_ND[-NUM_TWINS:] = vectors_ND[:NUM_TWINS]
    vectors_ND /= np.linalg.norm(vectors_ND, axis=1, keepdims=True)
    ids_N = draw.permutation(np.arange(1000, 1000 + 7 * num_rows, 7))
    return Gallery(ids_N.astype(np.int64), vectors_ND.astype(np.float32))


def write_vectors(store: Store, directory: Path, gallery: Gallery, space_id: str = SPACE_ID) -> Artifact:
    """Write a `vectors` artifact as the embed step does."""
    directory.mkdir(parents=True)
    values = pa.array(gallery.vectors_ND.reshape(-1))
    columns = {
        "video_id": pa.array(gallery.ids_N),
        "vector": pa.FixedSizeListArray.from_arrays(values, gallery.vectors_ND.shape[1]),
        "created_at": pa.array([FIRST + timedelta(minutes=int(one)) for one in gallery.ids_N], pa.timestamp("us", tz="UTC")),
        "kind": pa.array(["video" if one % 2 else "image" for one in gallery.ids_N]),
    }
    pq.write_table(pa.table(columns), directory / "vectors.parquet")
    (directory / "space.json").write_text(json.dumps({"space_id": space_id, "dimension": gallery.vectors_ND.shape[1]}))
    return write_artifact(store, "vectors", directory, parents=(), code="", settings={})


def write_evaluation(store: Store, directory: Path, parents: list[str], gate: dict[str, object]) -> Artifact:
    """Write an `evaluation` artifact with a gate."""
    directory.mkdir(parents=True)
    (directory / "gate.json").write_bytes(orjson.dumps(gate))
    return write_artifact(store, "evaluation", directory, parents=parents, code="", settings={})


@contextmanager
def store_in_environment(url: str) -> Iterator[None]:
    """REELSPACE_STORE for the time of a step, as a component sets it."""
    before = os.environ.get("REELSPACE_STORE")
    os.environ["REELSPACE_STORE"] = url
    try:
        yield
    finally:
        os.environ.pop("REELSPACE_STORE")
        if before is not None:
            os.environ["REELSPACE_STORE"] = before


@dataclass(frozen=True)
class Promoted:
    """A store in which the steps build_index and promote have run, and the rows that lie in it."""

    store: Store
    gallery: Gallery


@dataclass(frozen=True)
class Running:
    """Servers over a promoted store."""

    url: str
    triton: TritonProcess
    gallery: Gallery
    process: "subprocess.Popen[bytes]"


def write_encoder(store: Store, root: Path) -> Artifact:
    """Write a `repository` artifact whose text encoder is the mean of random word vectors: real on Triton, and made without torch."""
    text_length, vocabulary_size = 16, 80
    files = root / "text_encoder" / "1"
    files.mkdir(parents=True)
    Tokenizer.train(["ramen noodle soup", "the quick brown fox"] * 3, vocabulary_size, text_length).save(files / "tokenizer.json")
    onnx.save(mean_of_words(vocabulary_size), files / "model.onnx")
    facts = {"model": "text_encoder", "artifact_id": "0" * 64, "space_id": SPACE_ID, "opset": 17}
    Version(**facts, dimension=DIMENSION, text_length=text_length).write(files)
    signature = text_signature("text_encoder", EncoderSizes(dimension=DIMENSION))
    (root / "text_encoder" / "config.pbtxt").write_text(config_pbtxt(signature))
    return write_artifact(store, "repository", root, parents=(), code="", settings={})


def mean_of_words(vocabulary_size: int) -> onnx.ModelProto:
    words_VD = np.random.default_rng(3).standard_normal((vocabulary_size, DIMENSION)).astype(np.float32)
    nodes = [
        helper.make_node("Gather", ["words", "text"], ["found"]),
        helper.make_node("Cast", ["text_mask"], ["mask"], to=onnx.TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "last"], ["wide"]),
        helper.make_node("Mul", ["found", "wide"], ["present"]),
        helper.make_node("ReduceSum", ["present", "second"], ["sum"], keepdims=0),
        helper.make_node("LpNormalization", ["sum"], ["embedding"], axis=-1, p=2),
    ]
    inputs = [
        helper.make_tensor_value_info("text", onnx.TensorProto.INT32, ["B", "L"]),
        helper.make_tensor_value_info("text_mask", onnx.TensorProto.BOOL, ["B", "L"]),
    ]
    outputs = [helper.make_tensor_value_info("embedding", onnx.TensorProto.FLOAT, ["B", DIMENSION])]
    constants = {"words": words_VD, "last": np.array([2]), "second": np.array([1])}
    initializers = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "mean_of_words", inputs, outputs, initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.fixture(scope="session")
def promoted(tmp_path_factory: pytest.TempPathFactory) -> Promoted:
    root = tmp_path_factory.mktemp("promoted")
    store, gallery = open_store(str(root / "store")), make_gallery()
    write_manifest_file(write_encoder(store, root / "encoder-files").manifest, root / "repository")
    vectors = write_vectors(store, root / "vectors-files", gallery)
    write_manifest_file(vectors.manifest, root / "vectors")
    evaluation = write_evaluation(store, root / "evaluation-files", [vectors.id], {"passed": True, "rows": []})
    write_manifest_file(evaluation.manifest, root / "evaluation")
    with store_in_environment(store.url):
        build_index.run(str(root / "vectors"), str(root / "index"), '{"num_shards": 2}')
        promote.run(*(str(root / name) for name in ("evaluation", "repository", "index", "promotion")), "{}")
    copy = open_artifact(store, read_manifest_file(root / "promotion").id).read("spaces/current.json")
    assert copy == store.get("spaces/current.json")
    return Promoted(store, gallery)


def promote_rows(store: Store, root: Path, num_rows: int, dimension: int) -> tuple[SpacePointer, Gallery]:
    """Index and promote generated rows without encoders."""
    gallery = make_gallery(num_rows, dimension)
    collection = Collection(name="videos", space_id=SPACE_ID, vectors={"": VectorSettings(dimension=dimension)}, num_shards=2)
    table = Table(gallery.ids_N, gallery.vectors_ND, pa.table({"number": np.arange(num_rows)}))
    write_index(table, collection, IndexSettings(), root / "index-files")
    index = write_artifact(store, "index", root / "index-files", parents=(), code="", settings={})
    return promote_index(store, Promotion(index, None, "videos"), root / "fetched"), gallery


@contextmanager
def started_gateway(
    store_url: str, triton: TritonProcess, log: Path, replicas: Sequence[str] = (), more: Sequence[str] = ()
) -> Iterator[tuple[str, "subprocess.Popen[bytes]"]]:
    """Start the gateway process and wait for its line."""
    command = [sys.executable, "-m", "reelspace.gateway", "--store", store_url, "--port", "0"]
    command += ["--triton-grpc", f"127.0.0.1:{triton.grpc_port}", "--triton-http", f"127.0.0.1:{triton.http_port}"]
    command += [*(["--triton-replicas", *replicas] if replicas else []), *more]
    with log.open("wb") as errors:
        process = child(command, stdout=subprocess.PIPE, stderr=errors)
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            assert line, log.read_text()
            yield orjson.loads(line)["url"], process
        finally:
            stop(process)
            process.stdout.close()


@pytest.fixture(scope="session")
def running(promoted: Promoted, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    logs = tmp_path_factory.mktemp("logs")
    pointer = orjson.loads(promoted.store.get("spaces/current.json"))
    models = [*pointer["encoders"], *(shard_model(pointer["collection"], shard) for shard in range(2))]
    environment = {"REELSPACE_STORE": promoted.store.url}
    repository = f"{promoted.store.url}/repository"
    with (
        TritonProcess.start([repository], models, environment, log_path=logs / "triton.log") as triton,
        started_gateway(promoted.store.url, triton, logs / "gateway.log") as (url, process),
    ):
        yield Running(url, triton, promoted.gallery, process)


def unit(vectors: NDArray[np.float64]) -> NDArray[np.float32]:
    """Scale to length 1."""
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="session")
def queries_QD() -> NDArray[np.float32]:
    return unit(np.random.default_rng(11).standard_normal((64, DIMENSION)))
