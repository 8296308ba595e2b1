"""Build one sealed generation per shard from the vectors of all works."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import Field

from reelspace.core.errors import TableError
from reelspace.core.settings import Settings, read
from reelspace.core.steps import StepRun, run_step
from reelspace.search.compute.build import IndexSettings, Table, write_index
from reelspace.search.storage.layout import NAME_PATTERN, Collection, VectorSettings

ID = "video_id"


class BuildIndexSettings(Settings):
    """What collection the vectors become."""

    collection: str = Field("videos", pattern=NAME_PATTERN, description="Name of the collection, without the space.")
    num_shards: int = Field(2, ge=1, le=4096, description="Parts the rows are spread over by the hash of their ids.")
    vector: str = Field("vector", min_length=1, description="Column of the vectors that are searched.")
    payload_columns: tuple[str, ...] = Field((ID, "created_at", "kind"), description="Columns given back with every hit.")
    index: IndexSettings = Field(default_factory=IndexSettings, description="How shards are indexed.")


def run(vectors: str, index: str, settings: str) -> None:
    """Write collection.json and shards/<s>/{manifest.json, and the files it names}."""
    parsed = read(BuildIndexSettings, settings)
    inputs, outputs = {"vectors": vectors}, {"index": index}
    run_step("build_index", __name__, settings=parsed, inputs=inputs, outputs=outputs, body=lambda run: _build(run, parsed))


def _build(run: StepRun, settings: BuildIndexSettings) -> Mapping[str, object]:
    directory = run.inputs["vectors"].fetch(run.scratch / "vectors")
    space = orjson.loads((directory / "space.json").read_bytes())
    table = read_table(directory / "vectors.parquet", settings.vector, settings.payload_columns)
    collection = Collection(
        name=settings.collection,
        space_id=space["space_id"],
        vectors={"": VectorSettings(dimension=table.vectors_ND.shape[1])},
        num_shards=settings.num_shards,
    )
    manifests = write_index(table, collection, settings.index, run.output("index"))
    return {
        "rows": len(table.ids_N),
        "rows_per_shard": [manifest.num_rows for manifest in manifests],
        "index": [manifest.vectors[""].index.model_dump() for manifest in manifests],
    }


def read_table(path: Path, vector: str, payload_columns: tuple[str, ...]) -> Table:
    """Read ids, one column of vectors, and payload columns.

    Raises:
        TableError: a column is missing, there is no row, an id or vector is null, or vectors have no fixed length.
    """
    found = pq.read_schema(path)
    missing = sorted({ID, vector, *payload_columns} - set(found.names))
    if missing:
        raise TableError(f"vectors.parquet: expected columns {', '.join(missing)}; it has {', '.join(found.names)}")
    kind = found.field(vector).type
    if not pa.types.is_fixed_size_list(kind) or kind.value_type != pa.float32():
        raise TableError(f"vectors.parquet: expected column {vector} to be fixed_size_list<float32>, got {kind}")
    try:
        table = pq.read_table(path, columns=list(dict.fromkeys((ID, vector, *payload_columns))))
    except pa.ArrowInvalid as error:
        # Arrow cannot read back a null that it wrote into a column of fixed-size lists.
        raise TableError(f"vectors.parquet cannot be read, a vector may be null: {error}") from error
    if not len(table):
        raise TableError("vectors.parquet: expected rows, it has none")
    column = table.column(vector).combine_chunks()
    if table.column(ID).null_count or column.null_count or column.flatten().null_count:
        raise TableError(f"vectors.parquet: expected no null in {ID} and {vector}")
    vectors_ND: NDArray[np.float32] = column.flatten().to_numpy().reshape(-1, kind.list_size)
    payload = table.select(list(payload_columns)).replace_schema_metadata(None).combine_chunks()
    return Table(table.column(ID).to_numpy().astype(np.int64), vectors_ND, payload)
