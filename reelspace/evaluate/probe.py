"""The probe of one embedding, ours or a third party's: topics, swapped backgrounds and slices of a generated world.

Legend: N works, D dimension, Q queries.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import AwareDatetime, Field

from reelspace.core.errors import UserError
from reelspace.core.settings import Settings
from reelspace.evaluate.figures import Figures, with_intervals
from reelspace.evaluate.prefixes import prefix_values
from reelspace.evaluate.ranking import Values
from reelspace.evaluate.slices import SliceSettings, slice_figures, slice_masks
from reelspace.evaluate.topics import TopicTask, ranking_values, topic_task, video_values
from reelspace.evaluate.truth import WorkFacts, read_facts, read_upload_times, read_works
from reelspace.evaluate.vectors import Embedding

Floats = NDArray[np.float32]


class TopicSettings(Settings):
    """What is asked of the vectors of a generated world."""

    min_training_works: int = Field(12, ge=1, description="Works before the cut-off from which on a topic counts as trained.")
    prefixes: tuple[Annotated[int, Field(ge=1)], ...] = Field((32, 64), description="Lengths at which longer vectors are cut and searched.")
    slices: SliceSettings = SliceSettings()
    seed: int = Field(0, ge=0, description="Seed of the bootstrap.")


class ProbeSettings(TopicSettings):
    """What is asked of an embedding file."""

    cutoff: AwareDatetime = Field(description="Works uploaded from here on are queries.")


def embedding_values(task: TopicTask, facts: WorkFacts, vectors_ND: Floats, prefixes: Sequence[int]) -> dict[str, Values]:
    """Give all figures of one embedding by query: precisions, the twins' share, the whole ranking, and prefixes."""
    precisions = video_values(task, vectors_ND, vectors_ND)
    return precisions | ranking_values(task, facts, vectors_ND) | prefix_values(task, vectors_ND, prefixes)


def probe(embedding: Embedding, world: Path, settings: ProbeSettings) -> Figures:
    """Measure an embedding on the works of a generated world that it holds.

    Args:
        embedding: unit vectors; works that are missing are neither asked nor found.
        world: the folder that `demo generate` wrote.

    Returns:
        num_works, num_queries, dimension; the figures of `embedding_values` with their intervals, of which
        background_swap_share is the share of a twin's ten hits that have its own topic; num_twins; and `slices`.

    Raises:
        UserError: no work was uploaded after the cut-off, or the world does not know a work.
    """
    created_at_N = read_upload_times(world, embedding.video_ids_N)
    task = topic_task(read_works(world, embedding.video_ids_N), created_at_N, settings.cutoff, settings.min_training_works)
    if not len(task.query_rows_Q):
        raise UserError(f"expected works uploaded from {settings.cutoff} on, the last of {len(created_at_N)} is of {max(created_at_N)}")
    facts, vectors_ND = read_facts(world, embedding.video_ids_N), embedding.vectors_ND
    values = embedding_values(task, facts, vectors_ND, settings.prefixes)
    masks = slice_masks(task, facts, created_at_N, settings.cutoff, settings.slices)
    return {
        "num_works": len(vectors_ND),
        "num_queries": len(task.query_rows_Q),
        "num_twins": int(np.count_nonzero(task.truth.is_twin_N[task.query_rows_Q])),
        "dimension": vectors_ND.shape[1],
        **with_intervals(values, settings.seed, "probe"),
        "slices": slice_figures(values["video_to_topic_p10_all"], masks, settings.seed),
    }
