"""`reelspace search`: serve collections, fill them, look at them, and ask them. Rooms load inside commands so that help stays fast."""

from typing import Annotated

import typer

app = typer.Typer(help="Vector search: serve, import, export, verify, inspect, measure, ask.", no_args_is_help=True)

DEFAULT_URL = "http://127.0.0.1:6333"
Dir = Annotated[str, typer.Option("--dir", help="Directory, or s3://bucket/prefix, that holds the collections.")]
SomeDir = Annotated[str | None, typer.Option("--dir", help="Directory, or s3://bucket/prefix, that holds the collections.")]
SomeUrl = Annotated[str | None, typer.Option("--url", help="Address of a gateway instead, e.g. http://127.0.0.1:6333.")]
Name = Annotated[str, typer.Option("--collection", help="Name of the collection.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object for machines.")]


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

    with SearchClient(url) as client:
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
) -> None:
    """Serve a directory in Qdrant's dialect over HTTP and gRPC until Ctrl-C or SIGTERM; one line of JSON says when it answers."""
    from reelspace.core.errors import UserError
    from reelspace.gateway.servers import ServePlan, serve_search

    if replicas != 1 and not triton:
        raise UserError("--replicas are of Triton servers: add --triton, or use --processes")
    serve_search(ServePlan(directory, host, port, grpc_port, processes, replicas if triton else 0))
