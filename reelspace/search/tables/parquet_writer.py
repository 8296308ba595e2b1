"""Writes rows as Parquet: `id`, a column per vector (`vector` for the unnamed one), and `payload` with whole JSON objects.

Payloads stay texts since the keys of later rows are not known when the first ones are written.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from reelspace.core.errors import UserError
from reelspace.search.tables.batch import Batch
from reelspace.search.tables.id_column import ARROW_TYPES, IdType, id_array
from reelspace.search.tables.parquet import UNNAMED
from reelspace.search.tables.whole_file import whole_file

ID: Final = "id"
PAYLOAD: Final = "payload"


def write_parquet(path: Path, batches: Iterable[Batch], dimensions: Mapping[str, int], *, id_type: IdType = "text") -> int:
    """Write rows as they come, a row group per batch; the file appears when it is whole, and nothing is left where an error ends it.

    Args:
        dimensions: of every vector, by name.
        id_type: text holds integers and UUIDs beside each other.

    Returns:
        The number of rows.

    Raises:
        OutputOccupied: a file of that name exists.
        UserError: an id is not of the type, or two vectors would get one column.
    """
    names = {name: name or UNNAMED for name in dimensions}
    taken = [column for name, column in names.items() if name and column in (ID, PAYLOAD, *([UNNAMED] if "" in names else []))]
    if taken:
        raise UserError(f"{path}: a vector named {taken[0]!r} cannot be a column beside {ID!r}, {PAYLOAD!r} and the unnamed vector")
    lists = {name: pa.list_(pa.float32(), dimension) for name, dimension in dimensions.items()}
    schema = pa.schema([(ID, ARROW_TYPES[id_type]), *((names[name], kind) for name, kind in lists.items()), (PAYLOAD, pa.string())])
    num_rows = 0
    with whole_file(path) as file, pq.ParquetWriter(file, schema, use_dictionary=False) as writer:
        for batch in batches:
            vectors = [
                pa.FixedSizeListArray.from_arrays(pa.array(np.ravel(batch.vectors[name])), type=kind) for name, kind in lists.items()
            ]
            payloads = pa.array(batch.payloads, pa.binary()).cast(pa.string())
            writer.write_batch(pa.record_batch([id_array(str(path), batch.ids, id_type), *vectors, payloads], schema=schema))
            num_rows += len(batch.ids)
    return num_rows
