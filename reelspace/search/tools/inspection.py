"""What collections hold, at a glance: read from a store's own files, or asked of a gateway."""

from collections.abc import Mapping, Sequence
from typing import Any

from reelspace.core.store import Store
from reelspace.search.compute.generation import MANIFEST
from reelspace.search.storage.known import read_known
from reelspace.search.storage.layout import (
    Collection,
    ShardManifest,
    ShardState,
    collection_key,
    generation_key,
    read_collection,
    read_current,
    read_file,
)
from reelspace.search.storage.log import Log, log_numbers
from reelspace.search.tools.gateway import Gateway

STORE_COLUMNS = ("collection", "shard", "generation", "rows", "unsealed", "log", "bytes")
GATEWAY_COLUMNS = ("collection", "status", "rows", "unsealed", "generations", "recall", "aliases")


def inspect_store(store: Store) -> list[dict[str, Any]]:
    """Describe every collection that has a name, shard by shard.

    Rows are those of the current generation; unsealed ones are the log's changes beyond it, the same row perhaps more than once.

    Raises:
        CorruptArtifact: a file is damaged; `verify_store` names all of them.
    """
    known = read_known(store)
    names = dict(known.names.collections)
    if known.promoted is not None:
        names[known.promoted.alias] = known.promoted.collection
    return [_collection(store, name, full_name, known.aliases()) for name, full_name in sorted(names.items())]


def _collection(store: Store, name: str, full_name: str, aliases: Sequence[tuple[str, str]]) -> dict[str, Any]:
    made = read_collection(store, full_name)
    current = read_current(store, full_name, made.num_shards)
    return {
        "collection": name,
        "full_name": full_name,
        "aliases": [alias for alias, meant in aliases if meant == name],
        "vectors": {vector: settings.model_dump() for vector, settings in made.vectors.items()},
        "shards": [_shard(store, made, shard, current.shards[str(shard)]) for shard in range(made.num_shards)],
    }


def _shard(store: Store, made: Collection, shard: int, state: ShardState) -> dict[str, Any]:
    prefix = collection_key(made.full_name, f"shards/{shard}/generations/")
    generations = sorted({int(key.removeprefix(prefix).partition("/")[0]) for key in store.list(prefix)})
    manifest = read_file(store, ShardManifest, generation_key(made.full_name, shard, state.generation, MANIFEST))
    log = Log(store, made.full_name, shard, made.fields)
    floor = log.floor()
    numbers = sorted(number for number in log_numbers(store, made.full_name, shard) if number > floor)
    beyond = [entry for number in numbers if number > state.contains_log and (entry := log.read(number))]
    return {
        "shard": shard,
        "generation": state.generation,
        "generations": generations,
        "rows": manifest.num_rows,
        "unsealed": sum(len(write.rows.ids) for entry in beyond for write in entry.writes),
        "contains_log": state.contains_log,
        "floor": floor,
        "last_log": max(numbers, default=floor),
        "bytes": sum(facts.size_bytes for facts in manifest.files.values()),
        "index": {name: facts.index.model_dump() for name, facts in manifest.vectors.items()},
    }


def inspect_gateway(gateway: Gateway) -> list[dict[str, Any]]:
    """Describe every collection that a gateway serves, as a whole."""
    found = []
    for listed in gateway.ask("GET", "/collections")["collections"]:
        told = gateway.ask("GET", f"/collections/{listed['name']}")
        found.append(
            {
                "collection": listed["name"],
                "status": told["status"],
                "rows": told["points_count"],
                "unsealed": told["unsealed"],
                "generations": told["generation"],
                "recall": told["recall"],
                "aliases": told["aliases"],
            }
        )
    return found


def lines(collections: Sequence[Mapping[str, Any]]) -> list[str]:
    """Tell it as a table."""
    if not collections:
        return ["no collection"]
    of_store = "shards" in collections[0]
    columns = STORE_COLUMNS if of_store else GATEWAY_COLUMNS
    rows = [row for one in collections for row in (_store_rows(one) if of_store else [[_text(one[name]) for name in columns]])]
    widths = [max(map(len, column)) for column in zip(columns, *rows, strict=True)]
    return ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in (columns, *rows)]


def _store_rows(collection: Mapping[str, Any]) -> list[list[str]]:
    return [
        [
            collection["collection"],
            str(one["shard"]),
            f"{one['generation']} of {_text(one['generations'])}",
            f"{one['rows']:,}",
            f"{one['unsealed']:,}",
            f"{one['floor']} < {one['contains_log']} <= {one['last_log']}" if one["last_log"] else "empty",
            f"{one['bytes']:,}",
        ]
        for one in collection["shards"]
    ]


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join("-" if one is None else str(one) for one in value)
    return f"{value:,}" if isinstance(value, int) else str(value)
