"""Small worlds for the tests of training: works with known labels and texts, no media needed."""

import numpy as np
import torch

from reelspace.model.model import ReelModel
from reelspace.model.settings import ModelSettings, SoundSettings
from reelspace.model.tokenizer import Tokenizer
from reelspace.signals.label_graph import LabelGraph
from reelspace.train.data import LabelFacts, Texts, TrainData
from reelspace.train.label_head import make_label_head
from reelspace.train.media_source import InMemoryMedia, log_mel_NWM
from reelspace.train.objective import PretrainObjective
from reelspace.train.settings import TrainSettings

MODEL = ModelSettings(
    width=32,
    num_heads=2,
    dimension=24,
    num_frames=2,
    frame_size=32,
    stem_channels=(8, 16, 16),
    picture_layers=1,
    text_layers=1,
    fusion_layers=1,
    text_length=8,
    sound=SoundSettings(num_samples=8_000),
)
WORDS = ("camera", "ramen", "cat", "drone")
# Camera and drone go together.
GRAPH = LabelGraph(np.array([0, 3]), np.array([3, 0]), np.array([4, 4]), np.array([0.8, 0.8], dtype=np.float32))


def make_data(num: int = 20, *, crowd: bool = True) -> TrainData:
    """Works 100, 101, ... whose topic is the id modulo 4; every fifth has no sound, every fourth no caption."""
    draw = np.random.default_rng(5)
    topic_N = np.arange(num) % len(WORDS)
    audio_NS = draw.integers(-8_000, 8_000, (num, MODEL.sound.num_samples)).astype(np.int16)
    texts = []
    for row, topic in enumerate(topic_N):
        caption = "" if row % 4 == 3 else f"my {WORDS[topic]} {row}"
        texts.append(Texts(caption, (f"best {WORDS[topic]}",), (f"nice {WORDS[topic]}",)) if crowd else Texts(caption))
    labels_NK = np.eye(len(WORDS), dtype=np.float32)[topic_N] * (np.arange(num) % 3 > 0)[:, None]
    return TrainData(
        ids_N=np.arange(100, 100 + num),
        media=InMemoryMedia(
            frames_NFHWC=draw.integers(0, 256, (num, 2, 32, 32, 3), dtype=np.uint8),
            num_frames_N=np.where(np.arange(num) % 7 == 6, 1, 2),
            mel_NWM=log_mel_NWM(audio_NS, MODEL),
            has_audio_N=np.arange(num) % 5 > 0,
        ),
        texts_N=tuple(texts),
        labels_NK=labels_NK if crowd else labels_NK[:, :0],
        label_names=tuple(enumerate(WORDS)) if crowd else (),
        label_facts=LabelFacts(np.full(len(WORDS), 0.9, dtype=np.float32), GRAPH) if crowd else None,
    )


def make_objective(settings: TrainSettings, data: TrainData | None = None) -> PretrainObjective:
    """An objective over the small world with the same weights every time."""
    data = data or make_data()
    tokenizer = make_tokenizer(make_data())
    torch.manual_seed(0)
    head = make_label_head(data, tokenizer, settings, MODEL.dimension)
    return PretrainObjective(ReelModel(model_settings(tokenizer)), head, settings.objective)


def make_tokenizer(data: TrainData) -> Tokenizer:
    """A tokenizer of the small world."""
    return Tokenizer.train(data.corpus, 100, MODEL.text_length)


def model_settings(tokenizer: Tokenizer) -> ModelSettings:
    """The small model with the tokenizer's vocabulary."""
    return MODEL.model_copy(update={"vocabulary_size": max(64, tokenizer.size)})
