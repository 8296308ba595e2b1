"""The learning rate of every step."""

import math

from reelspace.train.settings import OptimizerSettings


def learning_rate(step: int, num_steps: int, settings: OptimizerSettings) -> float:
    """Give the learning rate of step 0 to num_steps - 1: a linear warm-up to the peak, then a cosine towards zero."""
    num_warmup = round(settings.warmup_share * num_steps)
    if step < num_warmup:
        return settings.learning_rate * (step + 1) / num_warmup
    done = (step - num_warmup) / max(1, num_steps - num_warmup)
    return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * done))
