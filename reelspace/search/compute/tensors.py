"""Queries as tensors and back, one row of the batch each: what travels between a gateway and a served shard.

Legend: B rows of one request, K hits, E excluded ids, D dimension.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray

from reelspace.core.errors import UserError
from reelspace.search.compute.queries import AlikeQueries, ShardAnswer, ShardQuery
from reelspace.search.compute.signature import EXCLUDE, FILTER, IDS, OPTIONS, PAYLOAD, QUERY, SCORES, VECTORS, K
from reelspace.search.storage.ids import NO_ID, NUM_WORDS, id_words, ids_of_words

Tensors = Mapping[str, NDArray[Any]]
_PADDING: Final = np.array([NO_ID, 0, 0], dtype=np.uint64)


class TensorsRefused(UserError):
    """Tensors that are no queries; the message begins with the tensor."""


def query_tensors(queries: Sequence[ShardQuery], generation: int = 0) -> dict[str, NDArray[Any]]:
    """Give the tensors of queries over vectors of one length, in one generation; 0 is the current one."""
    tensors = _alike_tensors(queries) if isinstance(queries, AlikeQueries) else _tensors(queries)
    tensors[K] = _k_tensor(queries, generation)
    return tensors


def generation_of(inputs: Tensors) -> int:
    """Read which generation the queries of one request are for; 0 is the current one.

    Raises:
        TensorsRefused: the rows name several.
    """
    if inputs[K].shape[1] == 1:
        return 0
    numbers = inputs[K][:, 1]
    if not (numbers == numbers[0]).all():
        raise TensorsRefused(f"{K}: expected one generation in all rows, got {sorted(set(numbers.tolist()))[:8]}")
    return int(numbers[0])


def _k_tensor(queries: Sequence[ShardQuery], generation: int) -> NDArray[np.int32]:
    tensor = np.empty((len(queries), 2 if generation else 1), dtype=np.int32)
    tensor[:, 0] = queries.k if isinstance(queries, AlikeQueries) else [query.k for query in queries]
    if generation:
        tensor[:, 1] = generation
    return tensor


def _tensors(queries: Sequence[ShardQuery]) -> dict[str, NDArray[Any]]:
    tensors: dict[str, NDArray[Any]] = {
        QUERY: np.stack([query.vector_D for query in queries]),
    }
    if any(query.where for query in queries):
        tensors[FILTER] = np.array([[query.where] for query in queries], dtype=np.object_)
    widest = max(len(query.excluded) for query in queries)
    if widest:
        words_BE3 = np.tile(_PADDING, (len(queries), widest, 1))
        for row, query in enumerate(queries):
            words_BE3[row, : len(query.excluded)] = id_words(query.excluded)
        tensors[EXCLUDE] = words_BE3.reshape(len(queries), -1)
    if any(query.using or query.with_vectors for query in queries):
        tensors[OPTIONS] = np.array([[_options(query)] for query in queries], dtype=np.object_)
    return tensors


def wanted_outputs(queries: Sequence[ShardQuery]) -> list[str]:
    """Name the outputs that queries need."""
    wanted, some = [IDS, SCORES], [queries] if isinstance(queries, AlikeQueries) else queries
    if any(one.with_payload for one in some):
        wanted.append(PAYLOAD)
    return [*wanted, VECTORS] if any(one.with_vectors for one in some) else wanted


def queries_of(inputs: Tensors, outputs: frozenset[str]) -> Sequence[ShardQuery]:
    """Read the queries of one request, in columns where there are several and all are alike.

    Raises:
        TensorsRefused: a tensor is missing or does not hold what its name says.
    """
    if QUERY not in inputs or K not in inputs:
        raise TensorsRefused(f"{QUERY}, {K}: expected both, got {', '.join(inputs) or 'none'}")
    if inputs[K].ndim != 2 or inputs[K].shape[1] not in (1, 2):
        raise TensorsRefused(f"{K}: expected one or two numbers a row, got {list(inputs[K].shape)}")
    vectors_BD, k_B = inputs[QUERY], inputs[K][:, 0]
    num = len(vectors_BD)
    wheres = _texts(inputs.get(FILTER), num)
    options = [_read_options(text) for text in _texts(inputs.get(OPTIONS), num)]
    excluded = _excluded(inputs.get(EXCLUDE), num)
    with_payload = PAYLOAD in outputs
    if num > 1 and EXCLUDE not in inputs and (k_B == k_B[0]).all() and all(map(wheres[0].__eq__, wheres)) and len(set(options)) == 1:
        using, with_vectors = options[0]
        return AlikeQueries(vectors_BD, int(k_B[0]), using, wheres[0], with_payload, with_vectors)
    return [
        ShardQuery(vectors_BD[row], int(k_B[row]), using, wheres[row], excluded[row], with_payload, with_vectors)
        for row, (using, with_vectors) in enumerate(options)
    ]


def answer_tensors(answer: ShardAnswer, rows: slice, width: int) -> dict[str, NDArray[Any]]:
    """Give the tensors that answer some of the queries, `width` hits wide."""
    ids_BK3 = answer.ids_QK3[rows, :width]
    tensors: dict[str, NDArray[Any]] = {IDS: ids_BK3.reshape(len(ids_BK3), -1), SCORES: answer.scores_QK[rows, :width]}
    if answer.payloads_QK is not None:
        tensors[PAYLOAD] = answer.payloads_QK[rows, :width]
    if answer.vectors_QK is not None:
        tensors[VECTORS] = answer.vectors_QK[rows, :width]
    return tensors


def answer_of(tensors: Tensors) -> ShardAnswer:
    """Read the answer to the queries of one request."""
    ids_BK3 = tensors[IDS].reshape(len(tensors[IDS]), -1, NUM_WORDS)
    return ShardAnswer(ids_BK3, tensors[SCORES], tensors.get(PAYLOAD), tensors.get(VECTORS))


def _alike_tensors(queries: AlikeQueries) -> dict[str, NDArray[Any]]:
    num = len(queries)
    tensors: dict[str, NDArray[Any]] = {QUERY: queries.vectors_QD}
    if queries.where:
        tensors[FILTER] = np.full((num, 1), queries.where, dtype=np.object_)
    if queries.using or queries.with_vectors:
        tensors[OPTIONS] = np.full((num, 1), _options(queries), dtype=np.object_)
    return tensors


def _options(query: ShardQuery | AlikeQueries) -> bytes:
    return orjson.dumps({"using": query.using, "with_vectors": query.with_vectors})


def _read_options(text: bytes) -> tuple[str, tuple[str, ...]]:
    if not text:
        return "", ()
    try:
        value = orjson.loads(text)
        return str(value["using"]), tuple(map(str, value["with_vectors"]))
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise TensorsRefused(f"{OPTIONS}: expected JSON of using and with_vectors, got {text[:80]!r}") from error


def _texts(tensor: NDArray[Any] | None, num: int) -> list[bytes]:
    return [b""] * num if tensor is None else tensor.reshape(-1).tolist()


def _excluded(tensor: NDArray[Any] | None, num: int) -> list[tuple[Any, ...]]:
    if tensor is None:
        return [()] * num
    if tensor.shape[1] % NUM_WORDS:
        raise TensorsRefused(f"{EXCLUDE}: expected three words for each id, got {tensor.shape[1]} words")
    words_BE3 = tensor.reshape(num, -1, NUM_WORDS)
    return [tuple(ids_of_words(words_E3[words_E3[:, 0] != NO_ID])) for words_E3 in words_BE3]
