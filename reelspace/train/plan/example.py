"""A batch and an objective of a planned size: what is traced for memory and FLOPs, and what tests train for real.

Legend: B works, V views, F frames, H W pixels, C channels, W windows, M mel bands, L text tokens, K labels, S labels of a batch.
"""

import torch
from torch import Tensor

from reelspace.model.label_graph import LabelGraphNetwork, SparseRows
from reelspace.model.model import ReelModel
from reelspace.model.settings import ModelSettings
from reelspace.model.tokenizer import NUM_SPECIAL
from reelspace.train.batches import Batch
from reelspace.train.label_head import FreeLabels, GraphLabels, LabelHead
from reelspace.train.objective import PretrainObjective
from reelspace.train.plan.settings import CorpusSettings
from reelspace.train.settings import TrainSettings

NUM_VIEWS = 2
_LOG_ODDS = -4.0


def example_objective(sizes: ModelSettings, settings: TrainSettings, corpus: CorpusSettings) -> PretrainObjective:
    """Give the objective that a training of these settings has, with its weights at their start."""
    return PretrainObjective(ReelModel(sizes), _label_head(sizes, settings, corpus), settings.objective)


def example_batch(sizes: ModelSettings, settings: TrainSettings, corpus: CorpusSettings, num_works: int, step: int = 1) -> Batch:
    """Give one process's batch of the planned shapes; all works have everything, and no two share a label."""
    length, frames, side = sizes.text_length, settings.augment.num_view_frames, sizes.frame_size
    num_columns = corpus.columns(settings) if corpus.num_labels else 0
    text_BL = NUM_SPECIAL + torch.arange(num_works * length).reshape(num_works, length) % (sizes.vocabulary_size - NUM_SPECIAL)
    text_BL = text_BL.int()
    present_B = torch.ones(num_works, dtype=torch.bool)
    has_words = settings.objective.keywords > 0
    masked_BL = text_BL if has_words else text_BL[:, :0]
    labels_BS = torch.zeros(num_works, num_columns)
    if num_columns:
        labels_BS = labels_BS.scatter(1, (torch.arange(num_works) % num_columns)[:, None], 1.0)
    return Batch(
        ids_B=torch.arange(num_works),
        views_VBFHWC=torch.zeros(NUM_VIEWS, num_works, frames, side, side, 3).uniform_(0, 255),
        picture_mask_BF=present_B[:, None].repeat(1, frames),
        mel_BWM=torch.zeros(num_works, *_mel_shape(sizes)).uniform_(-1, 1),
        audio_mask_B=present_B,
        text_BL=text_BL,
        text_mask_BL=text_BL != 0,
        target_BL=text_BL,
        target_mask_BL=text_BL != 0,
        has_target_B=present_B,
        target_hash_B=torch.arange(num_works),
        masked_BL=masked_BL,
        unmasked_BL=masked_BL,
        is_masked_BL=_masked_BL(num_works, length, settings) if has_words else masked_BL.bool(),
        label_columns_S=torch.arange(num_columns),
        labels_BS=labels_BS,
        negative_weights_BS=torch.ones(num_works, num_columns),
        step=step,
    )


def num_masked(length: int, settings: TrainSettings) -> int:
    """Give how many tokens of a text are hidden."""
    return max(1, round(settings.masks.budget * length))


def _masked_BL(num_works: int, length: int, settings: TrainSettings) -> Tensor:
    return (torch.arange(length) < num_masked(length, settings))[None, :].repeat(num_works, 1)


def _mel_shape(sizes: ModelSettings) -> tuple[int, int]:
    sound = sizes.sound
    num_tokens = (1 + (sound.num_samples - sound.window) // sound.hop) // sound.patch
    return num_tokens * sound.patch, sound.num_mels


def _label_head(sizes: ModelSettings, settings: TrainSettings, corpus: CorpusSettings) -> LabelHead | None:
    """Labels in a ring, each beside the next ones: as many entries as a real graph of that many neighbours."""
    num_labels, dimension = corpus.num_labels, sizes.dimension
    if not num_labels or settings.objective.labels == 0:
        return None
    if settings.objective.label_head == "vectors":
        return FreeLabels(num_labels, dimension)
    entries = 1 + corpus.neighbours(settings)
    column_KE = (torch.arange(num_labels)[:, None] + torch.arange(entries)[None, :]) % num_labels
    value_E = torch.full((num_labels * entries,), 1 / entries)
    adjacency = SparseRows(torch.arange(num_labels + 1) * entries, column_KE.flatten(), value_E)
    network = LabelGraphNetwork(dimension, settings.objective.label_hidden, adjacency, residual=True)
    words_KL = torch.full((num_labels, min(corpus.label_tokens, sizes.text_length)), NUM_SPECIAL, dtype=torch.int32)
    return GraphLabels(network, words_KL, torch.full((num_labels,), _LOG_ODDS), dimension)
