"""Views: the draws that decide what a work looks like in a step.

A pretraining step shows views of its own. Distillation has a fixed number of them, so that a teacher can answer once for each and every
work, and its answers be kept; a step shows all its works in one of these views.
"""

from dataclasses import dataclass

import numpy as np

from reelspace.core.rng import uniform_BN
from reelspace.train.settings import DistillSettings, RunSettings


@dataclass(frozen=True, slots=True)
class View:
    """Seed and number of a view: every draw it needs is a function of them, of the work and of what is drawn."""

    seed: int
    number: int


def view_of(settings: RunSettings, step: int) -> View:
    """Give the view that a step shows its works in.

    Works of one step share the number and nothing else, since a view's draws differ from work to work.
    """
    if not isinstance(settings, DistillSettings):
        return View(settings.seed, step)
    draw = uniform_BN(settings.seed, step, np.zeros(1, dtype=np.int64), "teacher view", 1)[0, 0]
    return View(settings.view_seed, int(draw * settings.num_views))


def picture_names(settings: RunSettings) -> tuple[str, ...]:
    """Name the pictures of a work that a batch has: two that pretraining contrasts, or the one that teacher and student both see."""
    return ("a",) if isinstance(settings, DistillSettings) else ("a", "b")
