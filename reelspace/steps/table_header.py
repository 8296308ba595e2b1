"""The names of a file's columns, held against the schema of its table."""

from collections.abc import Iterable

from reelspace.core.schemas import TableSchema
from reelspace.steps.table_files import TableFile, nearest


def allowed_columns(file: TableFile, extra_columns: frozenset[str]) -> frozenset[str]:
    """Give the names that are left out without a word."""
    return extra_columns | {"day"} if file.partitioned else extra_columns


def check_header(schema: TableSchema, file: TableFile, names: Iterable[str], allowed: frozenset[str]) -> None:
    """Refuse a file whose columns are not those of the table.

    Raises:
        TableError: a column is unknown, there twice or missing.
    """
    present = list(names)
    refuse_unknown(schema, file, present, allowed)
    for name in present:
        if present.count(name) > 1:
            raise file.error("the column is there twice", name)
    refuse_missing(schema, file, present)


def refuse_unknown(schema: TableSchema, file: TableFile, names: Iterable[str], allowed: frozenset[str], row: int | None = None) -> None:
    """Refuse a name that is neither a column nor allowed."""
    known = [column.name for column in schema.columns]
    for name in names:
        if name not in known and name not in allowed:
            what = f"the column is unknown, {nearest(name, known)}; list it in extra_columns to have it left out"
            raise file.error(what, _printable(name), row)


def refuse_missing(schema: TableSchema, file: TableFile, names: Iterable[str]) -> None:
    """Refuse a file that lacks a required column."""
    present = frozenset(names)
    for column in schema.columns:
        if column.required and column.name not in present:
            raise file.error("the column is missing", column.name)


def _printable(name: str) -> str:
    """Show a name in one line: what is taken for one may be half a file of another kind."""
    return name if name.isprintable() and len(name) <= 60 else repr(name)[:60]
