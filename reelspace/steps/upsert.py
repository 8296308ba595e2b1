"""Write the works that came with an update into the collection that serves, when the gate was passed."""

from collections.abc import Mapping

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from reelspace.core.artifacts import Artifact, open_artifact
from reelspace.core.errors import GateRefused, UserError
from reelspace.core.settings import Settings, read
from reelspace.core.steps import StepRun, run_step
from reelspace.search.access.served import read_served
from reelspace.search.compute.build import Table
from reelspace.search.scheduling.promote import check_passed
from reelspace.search.scheduling.upsert import upsert_table
from reelspace.search.storage.layout import json_bytes
from reelspace.steps.build_index import ID, read_table


class UpsertSettings(Settings):
    """Which columns become rows."""

    vector: str = Field("vector", min_length=1, description="Column of the vectors that are searched.")
    payload_columns: tuple[str, ...] = Field((ID, "created_at", "kind"), description="Columns given back with every hit.")


def run(vectors: str, evaluation: str, upserted: str, settings: str) -> None:
    """Write works that the earlier vectors did not have into the promoted collection, and collection.json, which `promote` takes.

    Always runs, and may run again: a row that is there already is written once more as it is.

    Raises:
        GateRefused: the evaluation did not pass, or did not measure these vectors.
        UserError: the vectors are of another space than what serves, or were not embedded beside earlier ones.
    """
    parsed = read(UpsertSettings, settings)
    run_step(
        "upsert",
        __name__,
        settings=parsed,
        inputs={"vectors": vectors, "evaluation": evaluation},
        outputs={"upserted": upserted},
        body=lambda step: _upsert(step, parsed),
        cache=False,
    )


def _upsert(run: StepRun, settings: UpsertSettings) -> Mapping[str, object]:
    vectors, evaluation = run.inputs["vectors"], run.inputs["evaluation"]
    check_passed(evaluation)
    if vectors.id not in evaluation.manifest.parents:
        raise GateRefused(f"vectors {vectors.id[:12]} were not measured by evaluation {evaluation.id[:12]}: give their own")
    collection = read_served(run.store).collection
    directory = vectors.fetch(run.scratch / "vectors")
    space = orjson.loads((directory / "space.json").read_bytes())["space_id"]
    if space != collection.space_id:
        raise UserError(
            f"the vectors are of space {space}, {collection.full_name} serves {collection.space_id}: build an index of all works"
        )
    table = _without(read_table(directory / "vectors.parquet", settings.vector, settings.payload_columns), _earlier_ids(run, vectors))
    last = upsert_table(run.store, collection, table, f"upsert:{vectors.id[:40]}") if len(table.ids_N) else {}
    (run.output("upserted") / "collection.json").write_bytes(json_bytes(collection))
    return {"rows": len(table.ids_N), "log": last}


def _earlier_ids(run: StepRun, vectors: Artifact) -> pa.ChunkedArray:
    previous = vectors.manifest.settings.get("previous")
    if previous is None:
        raise UserError(f"vectors {vectors.id[:12]} were embedded without earlier ones (embed.previous): build and promote their index")
    return pq.read_table(pa.BufferReader(open_artifact(run.store, previous).read("vectors.parquet")), columns=[ID])[ID]


def _without(table: Table, earlier: pa.ChunkedArray) -> Table:
    rows_M = np.flatnonzero(~np.isin(table.ids_N, earlier.to_numpy()))
    return Table(table.ids_N[rows_M], table.vectors_ND[rows_M], table.payload.take(rows_M))
