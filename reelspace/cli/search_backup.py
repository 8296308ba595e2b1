"""`reelspace search snapshot` and `restore`: a collection out of a store and back. Rooms load inside commands so that help stays fast."""

from pathlib import Path
from typing import Annotated

import typer

Scratch = Annotated[Path | None, typer.Option(help="Directory for temporary files as large as the collection.")]


def snapshot(
    collection: Annotated[str, typer.Option("--collection", help="Name, alias or full name of the collection.")],
    directory: Annotated[str, typer.Option("--dir", help="Directory, or s3://bucket/prefix, that holds the collections.")],
    into: Annotated[str, typer.Option("--into", help="Directory, or s3://bucket/prefix, that gets the snapshot.")],
    scratch: Scratch = None,
) -> None:
    """Copy a collection as it is now, with what is written until now, while it serves; prints the snapshot's id."""
    from tempfile import TemporaryDirectory

    from reelspace.core.errors import UserError
    from reelspace.core.store import open_store
    from reelspace.search.storage.known import read_known
    from reelspace.search.storage.snapshot import take_snapshot

    store = open_store(directory)
    full_name = read_known(store).full_name(collection)
    if full_name is None:
        raise UserError(f"collection {collection!r} is not in {store.url}")
    with TemporaryDirectory(prefix="reelspace-snapshot-", dir=scratch) as folder:
        typer.echo(take_snapshot(store, full_name, open_store(into), Path(folder)).id)


def restore(
    id: Annotated[str, typer.Argument(help="Id of the snapshot, as `snapshot` printed it.")],
    origin: Annotated[str, typer.Option("--from", help="Directory, or s3://bucket/prefix, that has the snapshot.")],
    directory: Annotated[str, typer.Option("--dir", help="Directory, or s3://bucket/prefix, that is to hold the collection.")],
    name: Annotated[str | None, typer.Option("--name", help="Name of the collection; the one that it had if not given.")] = None,
    scratch: Scratch = None,
) -> None:
    """Make a collection of a snapshot, under a name that is free; every byte is checked first. Killed, it goes on when it is run again."""
    from tempfile import TemporaryDirectory

    from reelspace.core.artifacts import open_artifact
    from reelspace.core.store import open_store
    from reelspace.search.storage.layout import read_collection
    from reelspace.search.storage.names import NAMES_KEY, Names
    from reelspace.search.storage.replaced_file import replace_file
    from reelspace.search.storage.snapshot import restore_snapshot

    store = open_store(directory)
    with TemporaryDirectory(prefix="reelspace-restore-", dir=scratch) as folder:
        full_name = restore_snapshot(open_artifact(open_store(origin), id), store, Path(folder), name)
    client_name = read_collection(store, full_name).name
    replace_file(store, Names, NAMES_KEY, lambda names: names.with_collection(client_name, full_name))
    typer.echo(f"collection {client_name} ({full_name}) is in {store.url}")
