"""`python -m tests.unit.search.golden.write FOLDER`: write what a version of this project stores, small, for all later ones to open.

Once per version of a format: FOLDER is then committed, and never written again.
"""

import json
import sys
from pathlib import Path
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from reelspace import search
from reelspace.search.compute.build import IndexSettings
from reelspace.search.embedded import EmbeddedCollection
from reelspace.search.storage.ids import Id
from reelspace.search.storage.layout import VectorSettings

NUM_ROWS, NUM_QUERIES, K = 96, 6, 5
KINDS = ("flat", "ivf_sq8", "hnsw")


def rows(draw: np.random.Generator, dimension: int, num: int = NUM_ROWS) -> NDArray[np.float32]:
    return draw.standard_normal((num, dimension)).astype(np.float32)


def fill(made: EmbeddedCollection, kind: str) -> None:
    """Seal most of the rows, and leave later writes of every kind in the log."""
    draw = np.random.default_rng(KINDS.index(kind))
    ids: list[Id] = [*range(NUM_ROWS - 8), *(UUID(int=(7 << 64) + number) for number in range(8))]
    payloads = [
        {"number": number, "word": "even" if number % 2 == 0 else "odd", "deep": {"list": [number, None]}} for number in range(NUM_ROWS)
    ]
    made.upsert(ids, {"": rows(draw, 8), "small": rows(draw, 3)}, payloads)
    flat = 1 if kind != "flat" else 20_000
    made.optimize(IndexSettings(kind="ivf_sq8" if kind == "flat" else kind, flat_below=flat, recall_target=0.9))
    made.upsert([3, 1000], {"": rows(draw, 8, 2), "small": rows(draw, 3, 2)}, [{"word": "late"}, {"word": "new"}])
    made.delete([5, UUID(int=(7 << 64) + 2)])
    made.set_payload({"word": None, "more": 1.5}, ids=[7])
    made.upsert([1001], {"": rows(draw, 8, 1)})


def described(made: EmbeddedCollection, kind: str) -> dict[str, object]:
    """Give every row, and what is nearest to some vectors."""
    draw = np.random.default_rng(100 + KINDS.index(kind))
    records = made.get([record.id for record in made.scroll(10_000)], with_vectors=True)
    queries = [(name, query_D) for name, size in (("", 8), ("small", 3)) for query_D in rows(draw, size, NUM_QUERIES)]
    return {
        "rows": [
            {
                "id": str(record.id),
                "payload": record.payload,
                "vectors": {name: vector_D.tolist() for name, vector_D in (record.vectors or {}).items()},
            }
            for record in records
        ],
        "hits": [[[str(hit.id), hit.score] for hit in made.search(query_D, K, using=name)] for name, query_D in queries],
        "even": made.count({"must": [{"key": "word", "match": {"value": "even"}}]}),
    }


def main(folder: Path) -> None:
    """Write a store, and what is in it."""
    folder.mkdir(parents=True)
    vectors = {"": VectorSettings(dimension=8, metric="cosine"), "small": VectorSettings(dimension=3, metric="euclid")}
    with search.open(str(folder / "store")) as database:
        for kind in KINDS:
            fill(database.create_collection(kind, vectors, num_shards=2), kind)
        found = {kind: described(database.collection(kind), kind) for kind in KINDS}
    (folder / "expected.json").write_text(json.dumps(found, default=str) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
