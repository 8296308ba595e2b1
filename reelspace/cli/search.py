"""`reelspace search`: serve collections, fill them, look at them, and ask them. Rooms load inside commands so that help stays fast."""

import os
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Vector search: serve, import, export, verify, inspect, measure, ask.", no_args_is_help=True)

DEFAULT_URL = "http://127.0.0.1:6333"
Dir = Annotated[str, typer.Option("--dir", help="Directory, or s3://bucket/prefix, that holds the collections.")]
SomeDir = Annotated[str | None, typer.Option("--dir", help="Directory, or s3://bucket/prefix, that holds the collections.")]
SomeUrl = Annotated[str | None, typer.Option("--url", help="Address of a gateway instead, e.g. http://127.0.0.1:6333.")]
Name = Annotated[str, typer.Option("--collection", help="Name of the collection.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object for machines.")]


def _api_key() -> str | None:
    """Give the key for gateways that ask for one; never an option, which others on the machine could read."""
    return os.environ.get("REELSPACE_API_KEY") or None


@app.command()
def query(
    query: Annotated[str, typer.Argument(help="What to look for, in words.")],
    url: Annotated[str, typer.Option(help="Address of the gateway, as `reelspace demo serve` prints it.")],
    limit: Annotated[int, typer.Option(min=1, max=2048, help="Hits wanted.")] = 10,
    collection: Annotated[str, typer.Option(help="Collection or alias.")] = "videos",
    as_json: Json = False,
) -> None:
    """Search videos by words."""
    import orjson

    from reelspace.search.client import SearchClient

    with SearchClient(url, api_key=_api_key()) as client:
        hits = client.query(query, limit=limit, collection=collection)
    if as_json:
        typer.echo(orjson.dumps([{"id": hit.id, "score": hit.score, "payload": hit.payload} for hit in hits]))
        return
    for rank, hit in enumerate(hits, start=1):
        typer.echo(f"{rank:3d}  {hit.id:>12}  {hit.score:.4f}  {hit.payload.get('created_at', '')}")


@app.command()
def serve(
    directory: Dir,
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port for HTTP; 0 takes a free one.")] = 6333,
    grpc_port: Annotated[int, typer.Option(min=0, max=65_535, help="Port for gRPC; 0 takes a free one.")] = 6334,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    processes: Annotated[int, typer.Option(min=1, max=64, help="Gateway processes on the same ports.")] = 1,
    triton: Annotated[bool, typer.Option("--triton", help="Run shards on Triton servers instead of in the gateway.")] = False,
    replicas: Annotated[int, typer.Option(min=1, max=16, help="Triton servers, each with every shard.")] = 1,
    keys: Annotated[str | None, typer.Option("--keys", help="JSON file of API keys, lines of `reelspace search key`; read again.")] = None,
    without_keys: Annotated[bool, typer.Option("--without-keys", help="Let everyone in who reaches --host, without keys.")] = False,
    tls_cert: Annotated[str | None, typer.Option(help="PEM file of the certificate and its chain, for HTTP and gRPC.")] = None,
    tls_key: Annotated[str | None, typer.Option(help="PEM file of the certificate's private key.")] = None,
    admin_port: Annotated[int | None, typer.Option(min=0, max=65_535, help="Port for health and metrics; --port if not given.")] = None,
    access_log: Annotated[bool, typer.Option("--access-log", help="A line of JSON on stderr for every answered request.")] = False,
) -> None:
    """Serve a directory in Qdrant's dialect over HTTP and gRPC until Ctrl-C or SIGTERM; one line of JSON says when it answers."""
    # Before numpy loads: many small products at a time go through one thread each, more would only wait for each other.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from reelspace.core.errors import UserError
    from reelspace.gateway.servers import Entrance, ServePlan, serve_search

    if replicas != 1 and not triton:
        raise UserError("--replicas are of Triton servers: add --triton, or use --processes")
    entrance = Entrance(keys, without_keys, tls_cert, tls_key, admin_port, access_log)
    serve_search(ServePlan(directory, host, port, grpc_port, processes, replicas if triton else 0, entrance))


@app.command()
def key(
    name: Annotated[str, typer.Argument(help="Whose key it is, for logs.")],
    scope: Annotated[list[str], typer.Option("--scope", help="What it may do: read, write or admin; give it again for several.")],
    collection: Annotated[list[str], typer.Option("--collection", help="Collection or alias it may see, * for all; several by repeating.")],
    days: Annotated[int | None, typer.Option(min=1, help="Days it is valid; for ever if not given.")] = None,
    as_json: Json = False,
) -> None:
    """Make an API key: the key, which is told only now, and its line for the file of `serve --keys`, which holds a hash."""
    from datetime import UTC, datetime, timedelta

    import orjson

    from reelspace.gateway.keys import new_key

    secret, made = new_key(name, scope, collection, None if days is None else datetime.now(UTC) + timedelta(days=days))
    line = made.model_dump(mode="json", exclude_none=True)
    if as_json:
        typer.echo(orjson.dumps({"key": secret, "line": line}))
        return
    typer.echo(f"key, told only now: {secret}\nline for the file:   {orjson.dumps(line).decode()}")


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="File of rows: .parquet, .npy, .fvecs or .bvecs.")],
    collection: Name,
    directory: SomeDir = None,
    url: SomeUrl = None,
    id_column: Annotated[str | None, typer.Option("--id", help="Parquet: column of ids; `id` if not given.")] = None,
    vector: Annotated[
        list[str] | None, typer.Option("--vector", help="Parquet: column of vectors, or NAME=COLUMN; every list of floats if not given.")
    ] = None,
    payload: Annotated[str | None, typer.Option("--payload", help="Parquet: column of JSON objects; `payload` if not given.")] = None,
    ids: Annotated[Path | None, typer.Option("--ids", help="Other formats: .npy file of ids; row numbers if not given.")] = None,
    metric: Annotated[str | None, typer.Option(help="New collection: cosine, dot or euclid; cosine if not given.")] = None,
    shards: Annotated[int | None, typer.Option(min=1, max=4096, help="New collection: its shards; 1 if not given.")] = None,
    recall: Annotated[float | None, typer.Option(help="New collection in a directory: share of the 10 nearest to find; 0.98.")] = None,
    scratch: Annotated[Path | None, typer.Option(help="Directory for temporary files as large as the rows.")] = None,
    as_json: Json = False,
) -> None:
    """Import rows: build a new collection of them, or upsert them into one that is there."""
    import os
    from dataclasses import asdict

    import orjson

    from reelspace.core.errors import UserError
    from reelspace.core.settings import read
    from reelspace.core.store import open_store
    from reelspace.search.compute.build import IndexSettings
    from reelspace.search.shared_directory import shared_directory
    from reelspace.search.tables.formats import read_table
    from reelspace.search.tools.columns import columns_of
    from reelspace.search.tools.gateway import Gateway
    from reelspace.search.tools.import_rows import ImportPlan, import_into_gateway, import_into_store, metric_of

    batches = read_table(file, columns=columns_of(file, id_column, vector or [], payload), ids_path=ids)
    given: dict[str, object] = {"num_threads": os.cpu_count() or 1} | ({} if recall is None else {"recall_target": recall})
    plan = ImportPlan(collection, metric_of(metric), shards, read(IndexSettings, given), scratch)
    if (directory is None) == (url is None):
        raise UserError("expected either --dir or --url")
    if url is not None:
        if recall is not None:
            raise UserError("--recall is of collections that are built in a directory: leave it out, or use --dir")
        with Gateway(url, api_key=_api_key()) as gateway:
            done = import_into_gateway(gateway, batches, plan)
    else:
        store = open_store(directory or "")
        with shared_directory(store):
            done = import_into_store(store, batches, plan)
    what = "new collection" if done.is_new else "collection"
    line = f"{done.num_rows:,} rows of {file} imported into the {what} {collection!r} in {done.seconds:.1f} s"
    typer.echo(orjson.dumps(asdict(done)) if as_json else line)


@app.command()
def export(
    file: Annotated[Path, typer.Argument(help="File to write: .parquet, .npy, .fvecs or .bvecs.")],
    collection: Name,
    directory: SomeDir = None,
    url: SomeUrl = None,
    vector: Annotated[str | None, typer.Option(help="Name of the only vectors to write; all of them if not given.")] = None,
    as_json: Json = False,
) -> None:
    """Export every row with its vectors; .npy, .fvecs and .bvecs get the ids in FILE.ids.npy and leave payloads out."""
    import orjson

    from reelspace.search.tools.export_rows import export_rows
    from reelspace.search.tools.source import opened_source

    with opened_source(directory, url, collection, _api_key()) as source:
        num_rows = export_rows(source, file, vector)
    typer.echo(orjson.dumps({"num_rows": num_rows}) if as_json else f"{num_rows:,} rows of {collection!r} exported to {file}")


@app.command()
def verify(
    directory: Dir,
    as_json: Json = False,
) -> None:
    """Check every byte of every collection, pointers, logs, rows and recall; names what is damaged and ends with 2."""
    from dataclasses import asdict

    import orjson

    from reelspace.core.errors import CorruptArtifact
    from reelspace.core.store import open_store
    from reelspace.search.tools.verification import lines, verify_store

    found = verify_store(open_store(directory))
    typer.echo(orjson.dumps(asdict(found)) if as_json else "\n".join(lines(found)))
    if found.damages:
        raise CorruptArtifact(f"{len(found.damages)} damages in {directory}: restore from a snapshot, or from where the rows came from")


@app.command()
def inspect(
    directory: SomeDir = None,
    url: SomeUrl = None,
    as_json: Json = False,
) -> None:
    """Show collections: generations, rows, what lies beside the generations, log numbers, bytes."""
    import orjson

    from reelspace.core.errors import UserError
    from reelspace.core.store import open_store
    from reelspace.search.tools.gateway import Gateway
    from reelspace.search.tools.inspection import inspect_gateway, inspect_store, lines

    if (directory is None) == (url is None):
        raise UserError("expected either --dir or --url")
    if url is not None:
        with Gateway(url, api_key=_api_key()) as gateway:
            found = inspect_gateway(gateway)
    else:
        found = inspect_store(open_store(directory or ""))
    typer.echo(orjson.dumps(found) if as_json else "\n".join(lines(found)))


@app.command()
def bench(
    collection: Name,
    directory: SomeDir = None,
    url: SomeUrl = None,
    vector: Annotated[str | None, typer.Option(help="Name of the vectors, where there are several.")] = None,
    concurrency: Annotated[int, typer.Option(min=1, max=1024, help="Queries at a time.")] = 8,
    queries: Annotated[int, typer.Option(min=1, help="Queries that are timed.")] = 2000,
    sampled: Annotated[int, typer.Option(min=1, max=10_000, help="Rows drawn as queries, each once for the recall.")] = 200,
    as_json: Json = False,
) -> None:
    """Measure recall, rate and latency of search on a collection's own vectors."""
    from dataclasses import asdict

    import orjson

    import reelspace.search
    from reelspace.search.tools.bench import BenchPlan, bench_embedded, bench_gateway, line, vector_of
    from reelspace.search.tools.gateway import Gateway
    from reelspace.search.tools.source import opened_source

    with opened_source(directory, url, collection, _api_key()) as source:
        plan = BenchPlan(vector_of(source, vector), sampled, concurrency, queries)
        if url is not None:
            with Gateway(url, api_key=_api_key()) as gateway:
                figures = bench_gateway(gateway, collection, source, plan)
        else:
            with reelspace.search.open(directory or "") as database:
                figures = bench_embedded(database.collection(collection), source, plan)
    typer.echo(orjson.dumps(asdict(figures)) if as_json else line(figures))
