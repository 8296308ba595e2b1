"""`reelspace search`: ask a running gateway."""

from typing import Annotated

import typer


def search(
    query: Annotated[str, typer.Argument(help="What to look for, in words.")],
    url: Annotated[str, typer.Option(help="Address of the gateway, as `reelspace demo serve` prints it.")],
    limit: Annotated[int, typer.Option(min=1, max=2048, help="Hits wanted.")] = 10,
    collection: Annotated[str, typer.Option(help="Collection or alias.")] = "videos",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object for machines.")] = False,
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
