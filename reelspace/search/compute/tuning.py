"""Finds how far an approximate index must look: the least effort whose recall on sampled rows reaches a target, and proves it.

What is measured on some hundred queries is not quite what others will see, so the target must be reached with one standard error to
spare. Legend: N rows, P vectors, Q queries, K hits.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from reelspace.core.errors import UserError
from reelspace.search.compute.hits import NO_ROW
from reelspace.search.compute.payloads import Payloads
from reelspace.search.compute.row_ids import SealedIds
from reelspace.search.compute.scoring import Ints
from reelspace.search.compute.shard import Shard, ShardParts
from reelspace.search.compute.vector_index import SealedVectors

RECALL_AT: Final = 10
MAX_KEPT_CANDIDATES: Final = 4096
FACTORS: Final[dict[str, tuple[float, ...]]] = {"ivf_pq": (4.0, 10.0, 30.0), "ivf_pqfs": (4.0, 10.0, 30.0)}
"""Candidates per hit to try where codes are coarse."""
PLATEAU: Final = 0.0005
PLATEAU_FROM: Final = 16


class TargetOutOfReach(UserError):
    """A kind of index that cannot find what was asked; `best` is the recall it reached."""

    def __init__(self, kind: str, target: float, best: float) -> None:
        super().__init__(f"recall_target {target} is out of reach: {kind} gives {best:.4f} at most; raise rerank_factor or flat_below")
        self.best = best


@dataclass(frozen=True, slots=True)
class Target:
    """What is to be reached: `recall` at RECALL_AT with at least `rerank_factor` candidates per hit; threads of the searches."""

    recall: float
    rerank_factor: float
    num_threads: int


@dataclass(frozen=True, slots=True)
class _Tried:
    sealed: SealedVectors
    recall: float = 0.0
    surely: float = 0.0


def tuned(sealed: SealedVectors, rows_Q: Ints, target: Target) -> SealedVectors:
    """Choose the least effort that reaches the target on sampled rows, each without itself.

    Raises:
        TargetOutOfReach: no effort does.
    """
    made, vectors_QD = sealed.facts.index, sealed.vectors_PD[rows_Q]
    exact_QK = _without_self(Shard(alone(sealed)).search_exactly(vectors_QD, RECALL_AT + 1).rows_QK, rows_Q)
    best = _Tried(sealed)
    for factor in FACTORS.get(made.kind, (1.0, 4.0)):
        before = 0.0
        for effort in _efforts(made.nlist or min(len(sealed.vectors_PD), MAX_KEPT_CANDIDATES), 1 if made.nlist else 16):
            tried = _tried(sealed, (effort, max(factor, target.rerank_factor)), (rows_Q, exact_QK), target.num_threads)
            if tried.surely >= target.recall:
                return tried.sealed
            best = max(best, tried, key=lambda one: one.recall)
            if effort > PLATEAU_FROM and tried.recall - before < PLATEAU:
                break  # what is missed lies in visited lists: only more candidates can help
            before = tried.recall
    if best.recall >= target.recall:
        return best.sealed
    raise TargetOutOfReach(made.kind, target.recall, best.recall)


def alone(sealed: SealedVectors) -> ShardParts:
    """Make a shard of vectors alone, numbered as they come."""
    ids = SealedIds(np.arange(len(sealed.vectors_PD), dtype=np.uint64), np.empty((0, 16), dtype=np.uint8))
    return ShardParts({"": sealed}, ids, Payloads())


def recall_of(found_QK: Ints, exact_QK: Ints) -> float:
    """Give the share of the exact hits that were found, over all queries; 1 where there are none to find."""
    return _share(*_counts(found_QK, exact_QK))


def _share(num_found_Q: Ints, num_wanted_Q: Ints) -> float:
    return float(num_found_Q.sum() / num_wanted_Q.sum()) if num_wanted_Q.any() else 1.0


def _tried(sealed: SealedVectors, reach: tuple[int, float], asked: tuple[Ints, Ints], num_threads: int) -> _Tried:
    effort, rerank_factor = reach
    rows_Q, exact_QK = asked
    changes = {"effort": effort, "rerank_factor": rerank_factor, "num_recall_queries": len(rows_Q)}
    facts = sealed.facts.index.model_copy(update=changes)
    changed = replace(sealed, facts=sealed.facts.model_copy(update={"index": facts}))
    found_QK = Shard(alone(changed), num_threads=num_threads).search(sealed.vectors_PD[rows_Q], RECALL_AT + 1).rows_QK
    num_found_Q, num_wanted_Q = _counts(_without_self(found_QK, rows_Q), exact_QK)
    share_Q = num_found_Q[num_wanted_Q > 0] / num_wanted_Q[num_wanted_Q > 0]
    recall = _share(num_found_Q, num_wanted_Q)
    proven = facts.model_copy(update={"recall_at_10": recall})
    error = float(share_Q.std() / np.sqrt(len(share_Q))) if len(share_Q) else 0.0
    return _Tried(replace(changed, facts=changed.facts.model_copy(update={"index": proven})), recall, recall - error)


def _counts(found_QK: Ints, exact_QK: Ints) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Give for each query how many of the exact hits were found, and how many there are."""
    wanted_QK = exact_QK >= 0
    found_Q = [np.isin(exact_K[wanted_K], found_K).sum() for found_K, exact_K, wanted_K in zip(found_QK, exact_QK, wanted_QK, strict=True)]
    return np.array(found_Q, dtype=np.int64), wanted_QK.sum(axis=1)


def _without_self(rows_QK: Ints, rows_Q: Ints) -> Ints:
    """Drop each query's own row, or the last hit where a twin came before it."""
    kept = [[row for row in rows if row != own][:RECALL_AT] for rows, own in zip(rows_QK.tolist(), rows_Q.tolist(), strict=True)]
    return np.array([row + [NO_ROW] * (RECALL_AT - len(row)) for row in kept], dtype=np.int64).reshape(-1, RECALL_AT)


def _efforts(whole: int, first: int) -> Iterator[int]:
    """Give efforts to try, each at most a quarter above the one before, and at last the whole."""
    effort = first
    while effort < whole:
        yield effort
        effort += max(1, effort // 4)
    yield whole
