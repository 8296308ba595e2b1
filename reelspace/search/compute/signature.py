"""Tensors of a served shard and the Triton configuration generated from them.

A search has one row of the batch per query:
| input     |                                                                                     |
| QUERY     | the vector                                                                          |
| K         | hits wanted; the widest row of a request sets the width of its answer. A second     |
|           | number is the generation to search, the same in all rows; 0 or none: the current one |
| FILTER    | optional: bytes of filters.encode_filter, empty allows every row                    |
| EXCLUDE   | optional: ids that must not be hits, three words each, NO_ID where a row has fewer   |
| OPTIONS   | optional: JSON {using, with_vectors}, for names that are not the defaults            |
| output    |                                                                                     |
| IDS       | three words each, NO_ID where there are fewer hits                                  |
| SCORES    | float32, -inf where there are fewer hits                                            |
| PAYLOAD   | one JSON object per hit; computed only when asked for                               |
| VECTORS   | one JSON object of vectors by name per hit; computed only when OPTIONS name some     |
Anything else is a row with CALL, one JSON request of calls.py, answered by ANSWER.
"""

from collections.abc import Sequence
from typing import Final

BACKEND: Final = "reelspace_shard"
MAX_BATCH: Final = 128
QUERY: Final = "QUERY"
K: Final = "K"
FILTER: Final = "FILTER"
EXCLUDE: Final = "EXCLUDE"
OPTIONS: Final = "OPTIONS"
CALL: Final = "CALL"
IDS: Final = "IDS"
SCORES: Final = "SCORES"
PAYLOAD: Final = "PAYLOAD"
VECTORS: Final = "VECTORS"
ANSWER: Final = "ANSWER"
INPUTS: Final = {
    QUERY: "TYPE_FP32",
    K: "TYPE_INT32",
    FILTER: "TYPE_STRING",
    EXCLUDE: "TYPE_UINT64",
    OPTIONS: "TYPE_STRING",
    CALL: "TYPE_STRING",
}
OUTPUTS: Final = {IDS: "TYPE_UINT64", SCORES: "TYPE_FP32", PAYLOAD: "TYPE_STRING", VECTORS: "TYPE_STRING", ANSWER: "TYPE_STRING"}
_WIDE: Final = frozenset({QUERY, K, EXCLUDE, IDS, SCORES, PAYLOAD, VECTORS})


def shard_config(model: str, versions: Sequence[int]) -> str:
    """Write config.pbtxt of one shard's model.

    A queue delay of 0 already batches what came in while the shard was busy; a longer one only adds latency.
    """
    lines = [
        f'name: "{model}"',
        f'backend: "{BACKEND}"',
        f"max_batch_size: {MAX_BATCH}",
        *(f'input [ {{ name: "{name}" data_type: {kind} dims: [ {_width(name)} ] optional: true }} ]' for name, kind in INPUTS.items()),
        *(f'output [ {{ name: "{name}" data_type: {kind} dims: [ {_width(name)} ] }} ]' for name, kind in OUTPUTS.items()),
        version_policy(versions),
        "dynamic_batching { max_queue_delay_microseconds: 0 }",
        "instance_group [ { count: 1 kind: KIND_CPU } ]",
        'parameters [ { key: "num_threads" value { string_value: "1" } } ]',
    ]
    return "\n".join(lines) + "\n"


def version_policy(versions: Sequence[int]) -> str:
    """Write the line of a configuration that names the versions to load; no other is, whatever lies beside them."""
    return f"version_policy {{ specific {{ versions: [ {', '.join(map(str, sorted(set(versions))))} ] }} }}"


def _width(name: str) -> int:
    return -1 if name in _WIDE else 1
