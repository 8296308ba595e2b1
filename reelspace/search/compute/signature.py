"""Tensors of a served shard and the Triton configuration generated from them.

| input     |                                                                          |
| QUERY     | one vector of length 1 per row of the batch                              |
| K         | hits wanted; the widest row of a request sets the width of its answer    |
| EXCLUDE   | optional: ids that must not be hits, -1 where a row has fewer            |
| POINT     | optional: id whose stored vector is asked for                            |
| output    |                                                                          |
| IDS       | -1 where there are fewer hits                                            |
| SCORES    | float32, -inf where there are fewer hits                                 |
| PAYLOAD   | one JSON object per hit; computed only when asked for                    |
| VECTOR    | the vector of POINT, all zeros without one; computed only when asked for |
A request that asks for VECTOR alone is a look-up and searches nothing.
"""

from collections.abc import Sequence
from typing import Final

BACKEND: Final = "reelspace_shard"
MAX_BATCH: Final = 128
QUERY: Final = "QUERY"
K: Final = "K"
EXCLUDE: Final = "EXCLUDE"
POINT: Final = "POINT"
IDS: Final = "IDS"
SCORES: Final = "SCORES"
PAYLOAD: Final = "PAYLOAD"
VECTOR: Final = "VECTOR"
INPUTS: Final = (QUERY, K, EXCLUDE, POINT)


def shard_config(model: str, dimension: int, versions: Sequence[int]) -> str:
    """Write config.pbtxt of one shard's model.

    `versions` are the generations that Triton keeps loaded, so that gateways that still point at the one before are answered.
    A queue delay of 0 already batches what came in while the shard was busy; a longer one only adds latency.
    """
    lines = [
        f'name: "{model}"',
        f'backend: "{BACKEND}"',
        f"max_batch_size: {MAX_BATCH}",
        f'input [ {{ name: "{QUERY}" data_type: TYPE_FP32 dims: [ {dimension} ] }} ]',
        f'input [ {{ name: "{K}" data_type: TYPE_INT32 dims: [ 1 ] }} ]',
        f'input [ {{ name: "{EXCLUDE}" data_type: TYPE_INT64 dims: [ -1 ] optional: true }} ]',
        f'input [ {{ name: "{POINT}" data_type: TYPE_INT64 dims: [ 1 ] optional: true }} ]',
        f'output [ {{ name: "{IDS}" data_type: TYPE_INT64 dims: [ -1 ] }} ]',
        f'output [ {{ name: "{SCORES}" data_type: TYPE_FP32 dims: [ -1 ] }} ]',
        f'output [ {{ name: "{PAYLOAD}" data_type: TYPE_STRING dims: [ -1 ] }} ]',
        f'output [ {{ name: "{VECTOR}" data_type: TYPE_FP32 dims: [ {dimension} ] }} ]',
        version_policy(versions),
        "dynamic_batching { max_queue_delay_microseconds: 0 }",
        "instance_group [ { count: 1 kind: KIND_CPU } ]",
        'parameters [ { key: "num_threads" value { string_value: "1" } } ]',
    ]
    return "\n".join(lines) + "\n"


def version_policy(versions: Sequence[int]) -> str:
    """Write the line of a configuration that names the versions to load; no other is, whatever lies beside them."""
    return f"version_policy {{ specific {{ versions: [ {', '.join(map(str, sorted(set(versions))))} ] }} }}"
