"""What the tests of engines share: the small world, its objective, and a bare series of steps."""

from functools import cache

import torch

from reelspace.model.tokenizer import Tokenizer
from reelspace.train.batches import make_batch
from reelspace.train.data import TrainData
from reelspace.train.engine import Engine
from reelspace.train.group import Group
from reelspace.train.objective import PretrainObjective
from reelspace.train.schedule import learning_rate
from reelspace.train.settings import AugmentSettings, TrainSettings
from reelspace.train.word_masks import make_masks
from tests.unit.train import builders
from tests.unit.train.builders import make_data, make_tokenizer

NUM_STEPS = 10
# The picture is never hidden: a work with nothing shown has no vector to compare.
SETTINGS = TrainSettings(batch_size=8, steps=NUM_STEPS, augment=AugmentSettings(drop_picture=0.0))


@cache
def world() -> tuple[TrainData, Tokenizer]:
    """The small world and its tokenizer."""
    data = make_data()
    return data, make_tokenizer(data)


def make_objective() -> PretrainObjective:
    """An objective with the same weights every time."""
    return builders.make_objective(SETTINGS)


def trained_weights(engine: Engine) -> dict[str, torch.Tensor]:
    """What the optimizer moves: without the labels' texts as the text tower read them last."""
    return {name: weight.clone() for name, weight in engine.weights().items() if name != "label_head.inputs_KD"}


def losses_of(engine: Engine, group: Group, last: int, first: int = 0) -> list[float]:
    """Take the steps first to last - 1 of a training of NUM_STEPS."""
    data, tokenizer = world()
    masks = make_masks(data, tokenizer, SETTINGS)
    losses = []
    for step in range(first, last):
        batch = make_batch(data, tokenizer, SETTINGS, step, group.rank, group.world_size, masks)
        losses.append(engine.step(batch, learning_rate(step, NUM_STEPS, SETTINGS.optimizer)).figures["loss"])
    return losses
