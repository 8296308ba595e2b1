"""Share of a training step that passes in waiting for its batch: made when it is asked for, made ahead, and read from the shards.

`python benchmarks/data_loading.py` trains the `tiny` model at the sizes of the demo (48 works a batch, 4 frames of 64 px) on generated
works. Arms take turns, a block of steps each, so that what else the machine does meets all of them alike.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from benchmarks.record import write_result
from reelspace.core.artifacts import open_artifact, write_artifact
from reelspace.core.local_store import LocalStore
from reelspace.media.dataset import ShardReader
from reelspace.media.decoded import Decoded
from reelspace.media.job import Packed
from reelspace.media.sample import Words, pack
from reelspace.media.shards import ShardWriter
from reelspace.model.model import ReelModel
from reelspace.model.presets import preset
from reelspace.model.tokenizer import Tokenizer
from reelspace.train.batches import Batches
from reelspace.train.data import Texts, TrainData
from reelspace.train.group import Group
from reelspace.train.label_head import make_label_head
from reelspace.train.media_source import open_media
from reelspace.train.objective import PretrainObjective
from reelspace.train.prefetch import Prefetch
from reelspace.train.settings import ObjectiveSettings, ReadingSettings, TrainSettings
from reelspace.train.torch_engine import TorchEngine
from reelspace.train.word_masks import make_masks

NUM_WORKS, NUM_LABELS = 600, 300
STEPS_PER_BLOCK, NUM_BLOCKS = 6, 8
SETTINGS = TrainSettings(steps=1_000_000, objective=ObjectiveSettings(label_head="vectors"))
# In memory, nothing made ahead: the baseline. In memory, and from the shards, both made ahead.
ARMS = {
    "when_asked": ReadingSettings(prefetch=0),
    "ahead": ReadingSettings(),
    "shards_when_asked": ReadingSettings(memory_mib=0, prefetch=0),
    "shards_ahead": ReadingSettings(memory_mib=0),
}
SIZES = preset(SETTINGS.model)


@dataclass
class Arm:
    """One way of reading, with what it has measured."""

    batches: Prefetch
    next_step: int = 0
    shares: list[float] = field(default_factory=list)
    waits_ms: list[float] = field(default_factory=list)
    steps_ms: list[float] = field(default_factory=list)


def write_works(root: Path) -> ShardReader:
    """Put generated works into shards of a store in this directory."""
    writer, draw = ShardWriter(root / "writing", 8 << 20), np.random.default_rng(0)
    for number in range(NUM_WORKS):
        small_FHWC = draw.integers(0, 256, (SIZES.num_frames, 8, 8, 3), dtype=np.uint8)
        frames_FHWC = small_FHWC.repeat(SIZES.frame_size // 8, axis=1).repeat(SIZES.frame_size // 8, axis=2)
        sound_S = draw.integers(-9_000, 9_000, SIZES.sound.num_samples).astype(np.int16)
        words = Words(number, f"work {number}", "2025-01-01T00:00:00+00:00")
        data = pack(words, Decoded(frames_FHWC, sound_S, 4.0, "video"), 90)
        writer.add(words, Packed("video", SIZES.num_frames, True, data))
    writer.close()
    writer.publish(root / "shards")
    store = LocalStore(root / "store")
    artifact = write_artifact(store, "shards", root / "shards", parents=(), code="", settings={})
    return ShardReader(open_artifact(store, artifact.id))


def train_data(reader: ShardReader, reading: ReadingSettings) -> TrainData:
    """Join the works with words and labels drawn at random."""
    draw = np.random.default_rng(1)
    words = [f"{first}{last}" for first in ("cam", "ram", "dro", "ski", "lam", "bot") for last in ("era", "en", "ning", "lo", "mi", "tle")]

    def said(num_words: int) -> str:
        return " ".join(draw.choice(words, num_words))

    texts = tuple(Texts(said(6), (said(3), said(3)), (said(5), said(5))) for _ in range(NUM_WORKS))
    labels_NK = (draw.random((NUM_WORKS, NUM_LABELS)) < 0.02).astype(np.float32)
    names = tuple((number, f"label {number}") for number in range(NUM_LABELS))
    media = open_media(reader, reader.video_ids, reading, SIZES)
    return TrainData(reader.video_ids, media, texts, labels_NK, names, shard_N=reader.shard_of_row)


def make_engine(data: TrainData, tokenizer: Tokenizer) -> TorchEngine:
    """Give the engine that all arms step with."""
    torch.manual_seed(0)
    head = make_label_head(data, tokenizer, SETTINGS, SIZES.dimension)
    model = ReelModel(SIZES.model_copy(update={"vocabulary_size": max(64, tokenizer.size)}))
    return TorchEngine(PretrainObjective(model, head, SETTINGS.objective), SETTINGS, Group())


def run_block(arm: Arm, step: Callable[[object], None]) -> None:
    """Take the steps of one block; its first batch, which nobody could make ahead, is not counted."""
    waited_s = worked_s = 0.0
    for number in range(STEPS_PER_BLOCK + 1):
        begun_s = time.monotonic()
        batch = arm.batches(arm.next_step)
        made_s = time.monotonic()
        step(batch)
        if number:
            waited_s += made_s - begun_s
            worked_s += time.monotonic() - made_s
        arm.next_step += 1
    arm.shares.append(waited_s / (waited_s + worked_s))
    arm.waits_ms.append(1e3 * waited_s / STEPS_PER_BLOCK)
    arm.steps_ms.append(1e3 * worked_s / STEPS_PER_BLOCK)


def main() -> int:
    """Measure, print and record."""
    torch.set_num_threads(1)
    arms = {}
    with tempfile.TemporaryDirectory() as root:
        reader = write_works(Path(root))
        for name, reading in ARMS.items():
            data = train_data(reader, reading)
            tokenizer = Tokenizer.train(data.corpus, SETTINGS.vocabulary_size, SIZES.text_length)
            batches = Batches(data, tokenizer, SETTINGS, masks=make_masks(data, tokenizer, SETTINGS))
            arms[name] = Arm(Prefetch(batches, SETTINGS.steps, reading.prefetch))
        engine = make_engine(data, tokenizer)
        for _ in range(NUM_BLOCKS):
            for arm in arms.values():
                with arm.batches:
                    run_block(arm, lambda batch: engine.step(batch, 1e-4))  # type: ignore[arg-type, return-value]
    values = {
        name: {
            "wait_share": round(statistics.median(arm.shares), 4),
            "wait_share_spread": [round(min(arm.shares), 4), round(max(arm.shares), 4)],
            "wait_ms": round(statistics.median(arm.waits_ms), 2),
            "step_ms": round(statistics.median(arm.steps_ms), 1),
        }
        for name, arm in arms.items()
    }
    facts = {
        "unit": "share of a step's time, median over blocks",
        "bar": 0.05,
        "num_blocks": NUM_BLOCKS,
        "steps_per_block": STEPS_PER_BLOCK,
    }
    sizes = {"batch_size": SETTINGS.batch_size, "frame_size": SIZES.frame_size, "num_frames": SIZES.num_frames, "num_works": NUM_WORKS}
    write_result("data_loading", {**facts, **sizes, "arms": values}, seed=0, packages=("torch", "numpy", "pillow"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
