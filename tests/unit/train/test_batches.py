"""Batches: a pure function of seed and step, the same for any number of processes."""

import hashlib
from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from reelspace.train.augment import swap_backgrounds
from reelspace.train.batches import Batch, label_columns, make_batch
from reelspace.train.data import LabelFacts
from reelspace.train.order import batch_rows, sample_weights_N
from reelspace.train.settings import AugmentSettings, TextSideSettings, TrainSettings
from reelspace.train.word_masks import make_masks
from tests.unit.train.builders import make_data, make_tokenizer

SETTINGS = TrainSettings(batch_size=12, seed=3)
CALM = AugmentSettings(drop_text=0, drop_sound=0, drop_picture=0, replace_tokens=0, unknown_tokens=0)


def parts(batch: Batch) -> dict[str, torch.Tensor]:
    return {field.name: getattr(batch, field.name) for field in fields(batch) if field.name != "step"}


def trimmed(name: str, value: torch.Tensor) -> list[object]:
    numbers = value.flatten().tolist()
    while name.startswith(("text", "target_BL", "target_mask", "masked", "unmasked", "is_masked")) and numbers and not numbers[-1]:
        numbers.pop()
    return numbers


@pytest.mark.parametrize("world_size", [2, 3])
def test_every_number_of_processes_sees_the_same_global_batch(world_size: int) -> None:
    data = make_data()
    tokenizer = make_tokenizer(data)
    settings = SETTINGS.model_copy(update={"batch_size": 6, "label_negatives": 1})
    masks = make_masks(data, tokenizer, settings)
    whole = make_batch(data, tokenizer, settings, 4, 0, 1, masks)
    split = [make_batch(data, tokenizer, settings, 4, rank, world_size, masks) for rank in range(world_size)]
    assert sorted(whole.ids_B.tolist()) == sorted(video_id for batch in split for video_id in batch.ids_B.tolist())
    row_of = {video_id: row for row, video_id in enumerate(whole.ids_B.tolist())}
    assert whole.is_masked_BL.any()
    for batch in split:
        assert torch.equal(batch.label_columns_S, whole.label_columns_S)
        for row, video_id in enumerate(batch.ids_B.tolist()):
            for name, part in parts(batch).items():
                if name == "label_columns_S":
                    continue
                expected = parts(whole)[name]
                pick = (slice(None), row_of[video_id]) if name.startswith("views") else (row_of[video_id],)
                own = (slice(None), row) if name.startswith("views") else (row,)
                assert trimmed(name, part[own]) == trimmed(name, expected[pick]), name


@pytest.mark.parametrize(("step", "digest", "mean"), [(0, "03f0b080eb103fbc", 135.6956), (5, "aea02430a1429ed1", 136.9867)])
def test_a_seed_gives_the_batches_it_gave_before_they_were_read_from_a_source(step: int, digest: str, mean: float) -> None:
    data = make_data(40)
    tokenizer = make_tokenizer(data)
    augment = AugmentSettings(swap_background=0.5, num_view_frames=2)
    settings = TrainSettings(batch_size=12, seed=7, label_negatives=1, augment=augment)
    batch = make_batch(data, tokenizer, settings, step, 1, 2, make_masks(data, tokenizer, settings))
    whole = hashlib.sha256()
    for name, part in sorted(parts(batch).items()):
        if not part.is_floating_point():
            whole.update(name.encode() + part.numpy().tobytes())
    assert whole.hexdigest()[:16] == digest
    # Floats only so far: their last bits are the processor's.
    assert batch.views_VBFHWC.mean().item() == pytest.approx(mean, abs=0.01)


def test_a_step_repeats_and_the_next_one_differs() -> None:
    data = make_data()
    tokenizer = make_tokenizer(data)
    first, again, other = (make_batch(data, tokenizer, SETTINGS, step, 0, 1) for step in (1, 1, 2))
    assert all(torch.equal(part, parts(again)[name]) for name, part in parts(first).items())
    assert first.ids_B.tolist() != other.ids_B.tolist()


def test_works_are_drawn_by_weight_and_at_most_once_a_step() -> None:
    data = make_data()
    weights_N = np.ones(20)
    weights_N[0] = 4.0
    settings = SETTINGS.model_copy(update={"batch_size": 4})
    draws = [batch_rows(data, settings, step, weights_N) for step in range(1_500)]
    assert all(len(set(rows.tolist())) == 4 for rows in draws)
    counts = np.bincount(np.concatenate(draws), minlength=20)
    assert 2.5 < counts[0] / counts[1:].mean() < 4.0
    assert counts[1:].min() > 0.8 * counts[1:].mean()


def test_works_with_rare_labels_weigh_more() -> None:
    data = make_data()
    labels_NK = np.zeros((20, 2), dtype=np.float32)
    labels_NK[:18, 0] = 1
    labels_NK[18:, 1] = 1
    weights_N = sample_weights_N(type(data)(**{field.name: getattr(data, field.name) for field in fields(data)} | {"labels_NK": labels_NK}))
    assert weights_N[19] > 2 * weights_N[0]


def test_the_caption_is_hidden_when_it_is_the_target() -> None:
    data = make_data()
    tokenizer = make_tokenizer(data)
    settings = SETTINGS.model_copy(update={"augment": CALM, "text_side": TextSideSettings(query_share=0, caption_share=1, comment_share=0)})
    batch = make_batch(data, tokenizer, settings, 0, 0, 1)
    has_caption = torch.tensor([bool(data.texts_N[video_id - 100].caption) for video_id in batch.ids_B.tolist()])
    assert torch.equal(batch.has_target_B, has_caption)
    assert not batch.text_mask_BL.any()


def test_the_caption_is_read_when_a_query_is_the_target() -> None:
    data = make_data()
    tokenizer = make_tokenizer(data)
    settings = SETTINGS.model_copy(update={"augment": CALM, "text_side": TextSideSettings(query_share=1, caption_share=0, comment_share=0)})
    batch = make_batch(data, tokenizer, settings, 0, 0, 1)
    has_caption = [bool(data.texts_N[video_id - 100].caption) for video_id in batch.ids_B.tolist()]
    assert batch.text_mask_BL.any(dim=1).tolist() == has_caption
    expected = tokenizer.encode_BL([data.texts_N[video_id - 100].queries[0] for video_id in batch.ids_B.tolist()])[0]
    assert np.array_equal(batch.target_BL.numpy(), expected[:, : batch.target_BL.shape[1]])


def test_a_batch_asks_about_its_own_labels_and_sampled_others() -> None:
    data = make_data(40)
    draw = np.random.default_rng(0)
    labels_NK = np.zeros((40, 30), dtype=np.float32)
    labels_NK[np.arange(40), draw.integers(0, 8, 40)] = 1.0
    weights_K = draw.uniform(0.2, 1.0, 30).astype(np.float32)
    assert data.label_facts is not None
    data = replace(
        data,
        labels_NK=labels_NK,
        label_names=tuple((number, str(number)) for number in range(30)),
        label_facts=LabelFacts(weights_K, data.label_facts.graph),
    )
    settings = SETTINGS.model_copy(update={"label_negatives": 5})
    seen = []
    for step in range(200):
        rows = batch_rows(data, settings, step, np.ones(40))
        columns_S, found_S = label_columns(data, settings, step, rows)
        own = set(np.flatnonzero(labels_NK[rows].any(axis=0)).tolist())
        sampled = [column for column in columns_S.tolist() if column not in own]
        assert own <= set(columns_S.tolist())
        assert len(sampled) == 5
        importance = np.where(np.isin(columns_S, sampled), (30 - len(own)) / 5, 1.0)
        np.testing.assert_allclose(found_S, importance * weights_K[columns_S], rtol=1e-5)
        seen += sampled
    # 22 labels that no work has are drawn alike.
    counts = np.bincount(seen, minlength=30)[8:]
    assert counts.min() > 0.5 * counts.mean()
    assert counts.max() < 1.6 * counts.mean()


def test_all_labels_are_asked_about_where_no_number_is_set() -> None:
    data = make_data()
    columns_S, weights_S = label_columns(data, SETTINGS, 0, np.arange(4))
    assert columns_S.tolist() == [0, 1, 2, 3]
    np.testing.assert_allclose(weights_S, 0.9)


def test_a_swapped_background_keeps_the_middle_and_shows_its_partner_around_it() -> None:
    frames, partners = torch.full((200, 1, 32, 32, 3), 200.0), torch.zeros(200, 1, 32, 32, 3)
    settings = AugmentSettings(swap_background=0.5, swap_radius=0.6)
    found = swap_backgrounds(frames, partners, np.arange(200), 0, 0, "a", settings)
    swapped = found[:, 0, 0, 0, 0] == 0
    assert 0.35 < swapped.float().mean() < 0.65
    assert (found[~swapped] == 200).all()
    assert (found[swapped, 0, 15:17, 15:17] == 200).all()


def test_a_still_image_gives_two_views_of_its_one_frame() -> None:
    data = make_data()
    plain = AugmentSettings(min_crop=1, max_rotation_degrees=0, brightness=0, contrast=0, channel_shift=0)
    settings = SETTINGS.model_copy(update={"batch_size": 20, "augment": plain})
    batch = make_batch(data, make_tokenizer(data), settings, 0, 0, 1)
    frame = torch.from_numpy(data.media.read(np.array([6])).frames_BFHWC[0, 0]).float()
    view = batch.views_VBFHWC[0, batch.ids_B.tolist().index(106), 0]
    assert torch.allclose(view, frame, atol=0.05) or torch.allclose(view, frame.flip(1), atol=0.05)
