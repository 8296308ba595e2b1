"""`reelspace search`: serve collections, fill, change, look at and ask them. Rooms load inside commands so that help stays fast."""

import os
from pathlib import Path
from typing import Annotated

import typer

from reelspace.cli import search_backup
from reelspace.cli.triton_options import Backends, DrainS, GrpcPort, Host, HttpPort, LoadS, MetricsPort, ProbePort

app = typer.Typer(help="Vector search: serve, import, export, verify, inspect, measure, ask.", no_args_is_help=True)
app.command("snapshot")(search_backup.snapshot)
app.command("restore")(search_backup.restore)

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
def controller(
    directory: Dir,
    triton: Annotated[list[str], typer.Option("--triton", help="host:port of a Triton's gRPC, with every shard; several by repeating.")],
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port for probes and metrics; 0 takes a free one.")] = 6335,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    keep_s: Annotated[float, typer.Option(min=0, help="Seconds that what was replaced or moved stays loaded.")] = 60.0,
    hold_s: Annotated[float, typer.Option(min=0.1, help="Seconds without a sign of life after which another one leads.")] = 15.0,
    build_bytes: Annotated[int | None, typer.Option(min=1 << 26, help="Memory that a build may take, bytes; all if not given.")] = None,
    group: Annotated[
        list[str] | None,
        typer.Option("--group", help="NAME=host:port,host:port: a group of servers; by repeating, all that are to have shards."),
    ] = None,
) -> None:
    """Build generations, and have them loaded, checked and made current, until Ctrl-C or SIGTERM; gateways need not then.

    Any number may run: one leads. One that is killed at any moment is continued by the next.
    """
    from reelspace.core.settings import read
    from reelspace.core.store import open_store
    from reelspace.gateway.controller_app import run_controller
    from reelspace.gateway.settings import GatewaySettings
    from reelspace.search.storage.placement import declare_groups, parse_groups

    if group:
        declare_groups(open_store(directory), parse_groups(group))
    first, *others = triton
    given = {"store": directory, "triton_grpc": first, "triton_http": first, "triton_replicas": others, "host": host, "port": port}
    run_controller(
        read(
            GatewaySettings, given | {"without_keys": True, "controller": {"keep_s": keep_s, "hold_s": hold_s, "build_bytes": build_bytes}}
        )
    )


@app.command()
def shards(
    directory: Dir,
    group: Annotated[
        str | None, typer.Option("--group", help="Group of the servers that this one is of; it has every shard if not given.")
    ] = None,
    host: Host = "127.0.0.1",
    http_port: HttpPort = 8000,
    grpc_port: GrpcPort = 8001,
    metrics_port: MetricsPort = 8002,
    port: ProbePort = 8003,
    load_s: LoadS = 600.0,
    drain_s: DrainS = 0.0,
    backends: Backends = None,
) -> None:
    """Run a Triton server with the shards of a group until Ctrl-C or SIGTERM; its probes are real searches."""
    from reelspace.gateway.triton_app import TritonPlan, run_triton
    from reelspace.serving.runtime import BACKENDS
    from reelspace.serving.triton import Ports

    ports = Ports(http_port, grpc_port, metrics_port)
    run_triton(TritonPlan(directory, "shards", group, host, port, ports, backends or BACKENDS, load_s, drain_s))


group = typer.Typer(help="Groups of Triton servers that shards are placed on.", no_args_is_help=True)
app.add_typer(group, name="group")
GroupName = Annotated[str, typer.Argument(help="Name of the group.")]


@group.command("add")
def add_group_(
    name: GroupName,
    address: Annotated[list[str], typer.Option("--address", help="host:port of a Triton's gRPC; all of a group by repeating.")],
    directory: Dir,
) -> None:
    """Add servers that have the same shards, or give a group other servers; the controller moves shards there."""
    from reelspace.core.store import open_store
    from reelspace.search.storage.placement import add_group

    add_group(open_store(directory), name, tuple(address))
    typer.echo(f"group {name} has {len(address)} servers: shards come as the controller moves them")


@group.command("remove")
def remove_group_(name: GroupName, directory: Dir) -> None:
    """Move the shards of a group to others, and forget it when it has none any more."""
    from reelspace.core.store import open_store
    from reelspace.search.storage.placement import remove_group

    placement = remove_group(open_store(directory), name)
    typer.echo(f"group {name} leaves: {len(placement.shards_of(name))} shards go to others as the controller moves them")


@group.command("list")
def list_groups(directory: Dir, as_json: Json = False) -> None:
    """Show the groups, their servers, and how many shards each has."""
    import orjson

    from reelspace.core.store import open_store
    from reelspace.search.storage.placement import read_placement

    placement = read_placement(open_store(directory))
    if as_json:
        typer.echo(orjson.dumps(placement.model_dump(mode="json")))
        return
    for name, one in sorted(placement.groups.items()):
        typer.echo(f"{name}: {len(placement.shards_of(name))} shards on {', '.join(one.addresses)}{', leaves' if one.leaves else ''}")
    if not placement.groups:
        typer.echo("no groups: every server that a gateway was given has every shard")


@app.command()
def publish(
    index: Annotated[str, typer.Argument(help="Id of an index artifact.")],
    directory: Dir,
    timeout_s: Annotated[float, typer.Option("--timeout-s", min=0, help="Seconds to wait until it is current; 0 does not wait.")] = 600.0,
) -> None:
    """Make an index the current generation of its collection, as soon as every server has loaded it; refused where it is damaged."""
    from pathlib import Path
    from tempfile import TemporaryDirectory

    from reelspace.core.artifacts import open_artifact
    from reelspace.core.store import open_store
    from reelspace.search.scheduling.generations import publish_generation
    from reelspace.search.scheduling.publication import publication_of, wait_until_current
    from reelspace.search.scheduling.publication import publish as ask

    store = open_store(directory)
    with TemporaryDirectory(prefix="reelspace-publish-") as scratch:
        published = publish_generation(store, open_artifact(store, index), Path(scratch))
    full_name = published.collection.full_name
    ask(store, full_name, publication_of(store, published))
    if timeout_s:
        wait_until_current(store, full_name, published.number, timeout_s)
    state = "is current" if timeout_s else "waits to be current"
    typer.echo(f"generation {published.number} of {full_name} {state}")


@app.command()
def rollback(
    collection: Name,
    directory: Dir,
) -> None:
    """Make the generations current that were so before the last change; what was written since stays. Done again, it goes forward again."""
    from reelspace.core.errors import UserError
    from reelspace.core.store import open_store
    from reelspace.search.scheduling.pointer import roll_back
    from reelspace.search.storage.known import read_known

    store = open_store(directory)
    full_name = read_known(store).full_name(collection)
    if full_name is None:
        raise UserError(f"collection {collection!r} is not in {store.url}")
    pointer = roll_back(store, full_name)
    numbers = sorted({state.generation for state in pointer.shards.values()})
    typer.echo(f"{full_name} is at generation {', '.join(map(str, numbers))} again (change {pointer.version})")


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


@app.command()
def reshard(
    name: Annotated[str, typer.Argument(help="Name or alias of the collection.")],
    directory: Dir,
    shards: Annotated[int | None, typer.Option(min=1, max=4096, help="Shards it is to have.")] = None,
    cancel: Annotated[bool, typer.Option("--cancel", help="Give up a resharding that was begun, and remove what it made.")] = False,
    scratch: Annotated[Path | None, typer.Option(help="Directory for temporary files as large as the rows.")] = None,
    as_json: Json = False,
) -> None:
    """Give a collection another number of shards while it serves; killed, it goes on when it is run again."""
    from dataclasses import asdict

    import orjson

    from reelspace.core.errors import UserError
    from reelspace.core.store import open_store
    from reelspace.search.scheduling import reshard as resharding
    from reelspace.search.scheduling.reshard_copy import Work
    from reelspace.search.shared_directory import shared_directory
    from reelspace.search.storage.writer import Clock

    if (shards is None) != cancel:
        raise UserError("expected either --shards or --cancel")
    store = open_store(directory)
    with shared_directory(store):
        if shards is None:
            left = resharding.cancel(store, name)
            typer.echo(orjson.dumps({"cancelled": left}) if as_json else f"{left or 'nothing'} was given up; {name!r} is as it was")
            return
        done = resharding.reshard(store, name, shards, Work(os.cpu_count() or 1, Clock().now_us, scratch))
    kept = f"; {done.old} is kept until `reelspace search retire {done.old}`" if done.old else ""
    line = f"{name!r} has {done.num_shards} shards and is {done.new}; writes waited {done.waited_s:.2f} s{kept}"
    typer.echo(orjson.dumps(asdict(done)) if as_json else line)


@app.command()
def retire(
    full_name: Annotated[str, typer.Argument(help="Full name of the collection as it was before, as `reshard` tells it.")],
    directory: Dir,
    as_json: Json = False,
) -> None:
    """Remove what a collection was before it was resharded; refused while a name means it."""
    import orjson

    from reelspace.core.store import open_store
    from reelspace.search.scheduling.retire import retire as retire_collection
    from reelspace.search.shared_directory import shared_directory

    store = open_store(directory)
    with shared_directory(store):
        goes_on = retire_collection(store, full_name)
    typer.echo(orjson.dumps({"removed": full_name, "goes_on": goes_on}) if as_json else f"{full_name} is removed; {goes_on} goes on")
