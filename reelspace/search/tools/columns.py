"""Which columns of a Parquet file are what, as the command line says it."""

from collections.abc import Sequence
from pathlib import Path

from reelspace.core.errors import UserError
from reelspace.search.tables.parquet import Columns


def columns_of(path: Path, id_column: str | None, vectors: Sequence[str], payload: str | None) -> Columns | None:
    """Read the options; None where all were left out of a file without columns.

    Args:
        vectors: COLUMN for the unnamed vector, or NAME=COLUMN.

    Raises:
        UserError: a name is given twice, or the file has no columns.
    """
    if path.suffix != ".parquet":
        if id_column is not None or vectors or payload is not None:
            raise UserError(f"{path}: --id, --vector and --payload are columns of .parquet files; ids of others come from --ids FILE.npy")
        return None
    named: dict[str, str] = {}
    for text in vectors:
        name, equals, column = text.partition("=")
        if (name if equals else "") in named:
            raise UserError(f"--vector {text}: the vector {name if equals else 'without a name'} is given twice")
        named[name if equals else ""] = column if equals else name
    defaults = Columns()
    return Columns(id_column or defaults.id, named or None, payload or defaults.payload)
