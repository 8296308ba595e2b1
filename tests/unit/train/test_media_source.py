"""Pictures and sounds from memory and from the shards: equal batches, few readings, damage named.

Legend: B works of a batch.
"""

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from reelspace.core.artifacts import Artifact, open_artifact
from reelspace.core.errors import CorruptArtifact
from reelspace.core.local_store import LocalStore
from reelspace.core.store import Store
from reelspace.media.dataset import ShardReader
from reelspace.model.presets import preset
from reelspace.model.tokenizer import Tokenizer
from reelspace.train.batches import Batch, Batches
from reelspace.train.data import TrainData, load_data
from reelspace.train.media_source import InMemoryMedia, ShardMedia, log_mel_NWM
from reelspace.train.settings import AugmentSettings, ReadingSettings, TrainSettings
from tests.unit.train.builders import MODEL
from tests.unit.train.worlds import NUM_WORKS, World, write_world

SIZES = preset("tiny_student")
STREAMED = ReadingSettings(memory_mib=0)


@dataclass
class CountedStore:
    """A real store that notes the ranges it is asked for."""

    inner: Store
    ranges: list[tuple[str, int, int]] = field(default_factory=list)

    def get_range(self, key: str, offset: int, length: int) -> bytes:
        self.ranges.append((key, offset, length))
        return self.inner.get_range(key, offset, length)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return write_world(tmp_path_factory.mktemp("world"))


def settings_of(reading: ReadingSettings, **changes: object) -> TrainSettings:
    augment = AugmentSettings(swap_background=0.5, num_view_frames=2)
    return TrainSettings(batch_size=8, seed=3, reading=reading, augment=augment).model_copy(update=changes)


def load(world: World, reading: ReadingSettings) -> tuple[TrainData, CountedStore]:
    store = CountedStore(LocalStore(Path(world.store)))
    reader = ShardReader(Artifact(store, open_artifact(store, world.shards).manifest))
    return load_data(reader, world.labels_directory, settings_of(reading), SIZES), store


def batches_of(data: TrainData, settings: TrainSettings) -> Batches:
    return Batches(data, Tokenizer.train(data.corpus, 200, SIZES.text_length), settings)


def assert_equal(one: Batch, other: Batch) -> None:
    for part in fields(Batch):
        mine, yours = getattr(one, part.name), getattr(other, part.name)
        if isinstance(mine, torch.Tensor):
            assert mine.dtype == yours.dtype, part.name
            assert mine.numpy().tobytes() == yours.numpy().tobytes(), part.name
        else:
            assert mine == yours


@pytest.mark.parametrize("order", ["weighted", "shuffled"])
def test_batches_from_the_shards_are_those_from_memory_byte_for_byte(world: World, order: str, tmp_path: Path):
    settings = settings_of(STREAMED, order=order)
    in_memory, _ = load(world, ReadingSettings())
    assert isinstance(in_memory.media, InMemoryMedia)
    for reading in (STREAMED, ReadingSettings(memory_mib=0, cache=str(tmp_path))):
        streamed, _ = load(world, reading)
        assert isinstance(streamed.media, ShardMedia)
        for step in range(3):
            assert_equal(batches_of(in_memory, settings)(step), batches_of(streamed, settings)(step))


def test_words_labels_and_order_are_known_before_any_sample_is_read(world: World):
    data, store = load(world, STREAMED)
    assert not [key for key, _, _ in store.ranges]
    assert len(data.ids_N) == NUM_WORKS
    assert data.texts_N[2].caption == "my cat 2"
    assert data.shard_N is not None
    assert len(set(data.shard_N.tolist())) >= 2


@pytest.mark.parametrize("where", ["memory", "directory"])
def test_the_second_epoch_reads_nothing_from_the_store(world: World, where: str, tmp_path: Path):
    reading = STREAMED if where == "memory" else ReadingSettings(memory_mib=0, cache=str(tmp_path))
    data, store = load(world, reading)
    for start in (0, 10):
        data.media.read(np.arange(start, start + 10))
    assert len(store.ranges) == len(set(store.ranges)) == NUM_WORKS
    for start in (0, 10):
        data.media.read(np.arange(start, start + 10))
    assert len(store.ranges) == NUM_WORKS


def test_a_second_training_of_the_machine_reads_from_the_directory_of_the_first(world: World, tmp_path: Path):
    reading = ReadingSettings(memory_mib=0, cache=str(tmp_path))
    first, _ = load(world, reading)
    expected = first.media.read(np.arange(NUM_WORKS))
    second, store = load(world, ReadingSettings(cache=str(tmp_path)))
    assert not store.ranges
    found = second.media.read(np.arange(NUM_WORKS))
    assert found.mel_BWM.tobytes() == expected.mel_BWM.tobytes()


def test_a_damaged_file_of_the_cache_is_read_from_the_store_again(world: World, tmp_path: Path):
    reading = ReadingSettings(memory_mib=0, cache=str(tmp_path))
    data, store = load(world, reading)
    expected = data.media.read(np.arange(NUM_WORKS))
    (damaged, *_) = (path for path in tmp_path.glob("*/?/*") if path.name != ".size")
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(bytes(content))
    found = data.media.read(np.arange(NUM_WORKS))
    assert len(store.ranges) == NUM_WORKS + 1
    assert found.frames_BFHWC.tobytes() == expected.frames_BFHWC.tobytes()


@pytest.mark.parametrize("reading", [ReadingSettings(), STREAMED], ids=["memory", "shards"])
def test_a_flipped_byte_of_a_shard_is_named_and_never_trained_on(tmp_path: Path, reading: ReadingSettings):
    world = write_world(tmp_path)
    reader = ShardReader(open_artifact(LocalStore(Path(world.store)), world.shards))
    row = reader.index.to_pylist()[7]
    path = Path(world.store) / "artifacts" / world.shards / row["shard"]
    content = bytearray(path.read_bytes())
    content[row["offset"] + row["length"] // 2] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(
        CorruptArtifact, match=rf"sample {row['video_id']} in '{row['shard']}' of artifact shards {world.shards} is corrupt"
    ):
        load(world, reading)[0].media.read(np.arange(NUM_WORKS))


@pytest.mark.parametrize("num", [1, 2, 3, 63, 64, 65, 130])
def test_the_spectrum_of_a_sound_does_not_depend_on_those_beside_it(num: int):
    audio_NS = np.random.default_rng(0).integers(-9_000, 9_000, (130, MODEL.sound.num_samples)).astype(np.int16)
    assert log_mel_NWM(audio_NS[:num], MODEL).tobytes() == log_mel_NWM(audio_NS, MODEL)[:num].tobytes()
