"""JSON Schemas of what `result_json` and the endpoints give, and of errors."""

from typing import Final

from reelspace.search.access.collection_request import DISTANCES, KINDS
from reelspace.search.access.schemas.shapes import COUNT, FLAG, NULL, Schema, answer, chosen, listed, named, nullable, one_of, ref, text

_NUMBER: Final[Schema] = {"type": "number"}
_OURS: Final[dict[str, Schema]] = {
    "coverage": answer({"rows": COUNT, "of": COUNT, "missing_shards": listed(COUNT)}),
    "generation": listed(COUNT),
    "space_id": text(),
}
_BROUGHT: Final[dict[str, Schema]] = {
    "payload": {"type": "object"},
    "vector": one_of(listed(_NUMBER), named(listed(_NUMBER))),
}
_PARAMS: Final = answer({"size": COUNT, "distance": chosen(DISTANCES)})
_ALIAS: Final = answer({"alias_name": text(), "collection_name": text()})
DONE: Final = FLAG
COUNTED: Final = answer({"count": COUNT})
NAMES: Final = answer({"collections": listed(answer({"name": text()}))})
EXISTS: Final = answer({"exists": FLAG})
ALIASES: Final = answer({"aliases": listed(_ALIAS)})
INDEXED: Final = answer({"operation_id": NULL, "status": {"const": "completed"}})

SCHEMAS: Final[dict[str, Schema]] = {
    "ScoredPoint": answer({"id": ref("PointId"), "version": COUNT, "score": _NUMBER}, _BROUGHT),
    "Hits": answer({"points": listed(ref("ScoredPoint")), **_OURS}),
    "Groups": answer({"groups": listed(answer({"id": one_of(text(), {"type": "integer"}), "hits": listed(ref("ScoredPoint"))})), **_OURS}),
    "Record": answer({"id": ref("PointId")}, _BROUGHT),
    "Page": answer({"points": listed(ref("Record")), "next_page_offset": nullable(ref("PointId"))}),
    "Written": answer({"operation_id": nullable(COUNT), "status": chosen(("acknowledged", "completed"))}),
    "CollectionFacts": answer(
        {
            "status": chosen(("green", "yellow")),
            "optimizer_status": {"const": "ok"},
            "points_count": COUNT,
            "indexed_vectors_count": COUNT,
            "segments_count": COUNT,
            "config": answer(
                {
                    "params": answer(
                        {
                            "vectors": one_of(_PARAMS, named(_PARAMS)),
                            "shard_number": COUNT,
                            "replication_factor": {"const": 1},
                            "on_disk_payload": {"const": False},
                        }
                    ),
                    "hnsw_config": named(COUNT),
                    "optimizer_config": named(COUNT),
                }
            ),
            "payload_schema": named(answer({"data_type": chosen(KINDS), "points": COUNT})),
            "aliases": listed(text()),
            "generation": listed(COUNT),
            "unsealed": COUNT,
            "recall": listed(nullable(_NUMBER)),
            "space_id": text(),
        }
    ),
    "Refusal": answer(
        {"status": answer({"error": text(description="The field, what was expected there, what came.")}), "result": NULL, "time": _NUMBER},
        {"request_id": text()},
    ),
}


def enveloped(result: Schema) -> Schema:
    """Give the shape of an answer with a result."""
    return answer({"result": result, "status": {"const": "ok"}, "time": _NUMBER})
