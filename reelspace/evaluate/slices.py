"""Slices: the same precision on queries that are hard for a reason.

Legend: Q queries. All slices are of queries of trained topics, so that each compares with `video_to_topic_p10`.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta

import numpy as np
from pydantic import Field

from reelspace.core.settings import Settings
from reelspace.evaluate.figures import Figures, with_intervals
from reelspace.evaluate.ranking import Flags, Ids, Values
from reelspace.evaluate.topics import TopicTask
from reelspace.evaluate.truth import WorkFacts, training_works


class SliceSettings(Settings):
    """Which queries a slice holds."""

    fresh_days: float = Field(3.0, gt=0, le=3650, description="Fresh works were uploaded within so many days of the last upload.")
    tail_share: float = Field(0.25, gt=0, le=1, description="Share of the trained topics, those with the fewest training works.")


def slice_masks(
    task: TopicTask, facts: WorkFacts, created_at_N: list[datetime], cutoff: datetime, settings: SliceSettings
) -> dict[str, Flags]:
    """Say which queries are in each slice.

    Returns:
        fresh: uploaded near the end; tail: of the trained topics with the fewest training works (the lowest topic number among equals);
        no_hashtag: without any tag; no_sound: silent videos and still images. Queries of topics that are not trained are in none.
    """
    rows = task.query_rows_Q
    start = max(created_at_N) - timedelta(days=settings.fresh_days)
    members = {
        "fresh": np.array([created_at_N[row] >= start for row in rows], dtype=bool),
        "tail": np.isin(task.topic_Q, _tail(task, training_works(task.truth.topic_N, created_at_N, cutoff), settings.tail_share)),
        "no_hashtag": ~facts.has_tags_N[rows],
        "no_sound": ~facts.has_sound_N[rows],
    }
    return {name: mask_Q & task.trained_Q for name, mask_Q in members.items()}


def slice_figures(precision_Q: Values, masks: Mapping[str, Flags], seed: int) -> Figures:
    """Give `<slice>_p10`, its interval and `<slice>_count`, the number of its queries."""
    figures = with_intervals({f"{name}_p10": precision_Q[mask_Q] for name, mask_Q in masks.items()}, seed, "slices")
    return figures | {f"{name}_count": int(mask_Q.sum()) for name, mask_Q in masks.items()}


def _tail(task: TopicTask, counts: Mapping[int, int], share: float) -> Ids:
    by_count = sorted(task.trained_topics, key=lambda topic: (counts[topic], topic))
    return np.array(by_count[: max(1, round(share * len(by_count)))], dtype=np.int64)
