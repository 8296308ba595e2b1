"""What a model that went on from an earlier one is worth in the index that it joins: old works keep the vectors they have there.

Legend: N works, Q queries, D dimension.
"""

from dataclasses import dataclass

import numpy as np

from reelspace.evaluate.ranking import Flags, Ids, Values, exact_rows_QK, precision_Q
from reelspace.evaluate.topics import Floats, K, TopicTask


@dataclass(frozen=True, slots=True)
class UpdateTask:
    """The works of an updated index, and which of them came with the update."""

    task: TopicTask
    is_new_N: Flags

    @property
    def old_rows_Q(self) -> Ids:
        """Queries of topics that the earlier model was trained on, uploaded before the update."""
        rows = self.task.query_rows_Q
        return rows[~self.is_new_N[rows] & self.task.trained_Q]

    @property
    def new_rows_Q(self) -> Ids:
        """Queries of topics that came with the update: works of it that did not train."""
        rows = self.task.query_rows_Q
        return rows[self.is_new_N[rows] & self.task.truth.is_newborn_N[rows]]


def update_values(update: UpdateTask, vectors_ND: Floats, again_QD: Floats) -> dict[str, Values]:
    """Give the precision at 10 of each query, with its own work left out.

    Args:
        vectors_ND: what the index holds: old works' vectors of the earlier model, new works' vectors of this one.
        again_QD: this model's vectors of `old_rows_Q`.

    Returns:
        old_topics_p10_before: the earlier model's vectors among the works before the update.
        old_topics_p10: this model's vectors among all works.
        old_topics_p10_change: the second less the first, query by query.
        new_topics_p10: works of new topics that did not train, among all works.
    """
    topic_N, old_Q, new_Q = update.task.truth.topic_N, update.old_rows_Q, update.new_rows_Q
    earlier = np.flatnonzero(~update.is_new_N)
    own_Q = np.searchsorted(earlier, old_Q)
    found_QK = exact_rows_QK(vectors_ND[old_Q], vectors_ND[earlier], min(K, len(earlier) - 1), own_rows_Q=own_Q)
    before_Q = precision_Q(found_QK, topic_N[earlier], topic_N[old_Q])
    num = min(K, len(vectors_ND) - 1)
    after_Q = precision_Q(exact_rows_QK(again_QD, vectors_ND, num, own_rows_Q=old_Q), topic_N, topic_N[old_Q])
    new_values_Q = precision_Q(exact_rows_QK(vectors_ND[new_Q], vectors_ND, num, own_rows_Q=new_Q), topic_N, topic_N[new_Q])
    return {
        "old_topics_p10_before": before_Q,
        "old_topics_p10": after_Q,
        "old_topics_p10_change": after_Q - before_Q,
        "new_topics_p10": new_values_Q,
    }
