"""Writes all rows of a collection into a file: Parquet with ids and payloads, .npy, .fvecs and .bvecs with the ids in a second file."""

from collections.abc import Iterator
from pathlib import Path

from reelspace.core.progress import progress
from reelspace.search.tables.batch import Batch
from reelspace.search.tables.formats import write_table
from reelspace.search.tools.source import Source


def export_rows(source: Source, path: Path, vector: str | None = None) -> int:
    """Write the rows as they are stored, where the metric is cosine with vectors of length 1, and give their number.

    Args:
        vector: the only one to write; None writes all of them, which only Parquet can hold when they are several.

    Raises:
        UserError: the suffix is unknown, there is no such vector, a row lacks one, or the format cannot hold the rows.
        OutputOccupied: a file of that name exists.
    """
    names = source.names(vector)
    dimensions = {name: source.vectors[name].dimension for name in names}
    with progress(0, "rows exported") as told:

        def batches() -> Iterator[Batch]:
            for batch in source.read(names):
                yield batch
                told.advance(len(batch.ids))

        return write_table(path, batches(), dimensions, vector=vector)
