"""A loop over the small world in this process, for the tests of the loop and of its checkpoints."""

from functools import partial
from pathlib import Path

from reelspace.train.batches import make_batch
from reelspace.train.checkpoints import Checkpoints
from reelspace.train.group import Group
from reelspace.train.loop import Loop, LoopPlace
from reelspace.train.settings import TrainSettings
from reelspace.train.torch_engine import TorchEngine
from reelspace.train.train_log import LOG_FILE, TrainLog
from reelspace.train.word_masks import make_masks
from tests.unit.train.engines import make_objective, world

SETTINGS = TrainSettings(steps=6, batch_size=8, checkpoint_every=2, log_every=1, engine="torch")


def make_checkpoints(run: Path, data: str = "same") -> Checkpoints:
    """The checkpoints of a run directory."""
    return Checkpoints(run / "checkpoints", run / "unfinished", Group(), {"data": data})


def make_loop(run: Path, settings: TrainSettings = SETTINGS) -> Loop:
    """A training of the small world, from the same weights every time."""
    data, tokenizer = world()
    run.mkdir(exist_ok=True)
    engine = TorchEngine(make_objective(), settings, Group())
    batches = partial(make_batch, data, tokenizer, settings, rank=0, world_size=1, masks=make_masks(data, tokenizer, settings))
    place = LoopPlace(run, 0, TrainLog(run / LOG_FILE, is_writer=True), make_checkpoints(run))
    return Loop(engine, batches, settings, Group(), place)
