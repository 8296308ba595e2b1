"""Fine-tuning: a head learns classes that its start does not know; the model below it stays or moves as it is told."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from reelspace.core.artifacts import open_artifact
from reelspace.core.errors import SettingError, UserError
from reelspace.core.settings import read
from reelspace.core.store import open_store
from reelspace.media.dataset import ShardReader
from reelspace.model.inputs import video_inputs
from reelspace.model.model import ReelModel
from reelspace.model.presets import preset
from reelspace.model.settings import ModelSettings
from reelspace.model.task import Task
from reelspace.model.task_head import HeadStart, TaskFacts
from reelspace.model.tokenizer import Tokenizer
from reelspace.train.finetune_settings import FinetuneSettings, finetune_preset
from reelspace.train.finetune_works import FinetuneWorks, KeptClassifiers, class_weights_K, read_works, rows_of_step
from reelspace.train.finetuning import FinetuneBatches, FinetuneObjective, PlainMedia, no_media, unfreeze
from reelspace.train.group import Group
from reelspace.train.torch_engine import TorchEngine
from tests.unit.train.builders import MODEL
from tests.unit.train.worlds import write_world

DIMENSION = 8
SETTINGS = FinetuneSettings(batch_size=16, steps=60)


def make_works(num: int = 40, task: Task = "single_label", num_classes: int = 3) -> FinetuneWorks:
    """Works around one direction per class; ids are not in order."""
    draw = np.random.default_rng(2)
    class_N = np.arange(num) % num_classes
    vectors = np.eye(DIMENSION)[class_N] + 0.3 * draw.normal(size=(num, DIMENSION))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return FinetuneWorks(
        facts=TaskFacts(task=task, num_classes=num_classes, base="a" * 64, space_id="s", dimension=DIMENSION),
        classes=tuple((number, f"class {number}") for number in range(num_classes)),
        kept=None,
        ids_N=draw.permutation(1000)[:num].astype(np.int64),
        labels_NK=np.eye(num_classes, dtype=np.float32)[class_N],
        vectors_ND=vectors.astype(np.float32),
        start=HeadStart(torch.zeros(num_classes, DIMENSION), torch.zeros(num_classes), 10.0),
    )


def train(works: FinetuneWorks, settings: FinetuneSettings) -> FinetuneObjective:
    torch.manual_seed(0)
    objective = FinetuneObjective(works, None, settings)
    batches = FinetuneBatches(works, settings, Group(), no_media)
    optimizer = torch.optim.AdamW(objective.parameters(), lr=0.02)
    for step in range(settings.steps):
        loss, _ = objective(batches(step))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return objective


@pytest.mark.parametrize("head", ["linear", "hidden"])
@pytest.mark.parametrize("task", ["single_label", "multi_label"])
def test_a_head_learns_to_tell_the_classes_apart(task: Task, head: str):
    works = make_works(task=task)
    settings = read(FinetuneSettings, {**SETTINGS.model_dump(mode="json"), "head": head})
    logits = train(works, settings).head(torch.from_numpy(works.vectors_ND))
    right = logits.argmax(dim=1) == torch.from_numpy(works.labels_NK).argmax(dim=1)
    assert right.float().mean() > 0.95


def test_the_vectors_of_a_batch_are_those_of_its_works():
    works = make_works()
    objective = FinetuneObjective(works, None, SETTINGS)
    batch = FinetuneBatches(works, SETTINGS, Group(), no_media)(3)
    row_of = {video_id: row for row, video_id in enumerate(works.ids_N.tolist())}
    rows = [row_of[video_id] for video_id in batch.ids_B.tolist()]
    torch.nn.init.normal_(objective.head.change_KC)
    assert torch.equal(objective.encode(batch)["logits_BK"], objective.head(torch.from_numpy(works.vectors_ND[rows])))
    assert np.array_equal(batch.labels_BS.numpy(), works.labels_NK[rows])


def test_the_losses_of_two_processes_average_to_that_of_one():
    works, settings = make_works(), FinetuneSettings(batch_size=16, class_weights="balanced")
    objective = FinetuneObjective(works, None, settings)
    torch.nn.init.normal_(objective.head.change_KC)
    whole, _ = objective(FinetuneBatches(works, settings, Group(), no_media)(0))
    losses = []
    for rank in range(2):
        batch = FinetuneBatches(works, settings, Group(rank, 2), no_media)(0)
        # Every work counts, so the other process's flags are this one's.
        objective.gather, objective.rank = lambda rows: torch.cat([rows, rows]), rank
        losses.append(objective(batch)[0].item())
    assert np.mean(losses) == pytest.approx(whole.item(), rel=1e-6)


def test_the_loss_of_one_class_each_is_torchs_weighted_and_smoothed_cross_entropy():
    works = make_works(num=41)
    settings = FinetuneSettings(batch_size=41, class_weights="balanced", label_smoothing=0.1)
    objective = FinetuneObjective(works, None, settings)
    torch.nn.init.normal_(objective.head.change_KC)
    loss, parts = objective(FinetuneBatches(works, settings, Group(), no_media)(0))
    logits = objective.head(torch.from_numpy(works.vectors_ND))
    target = torch.from_numpy(works.labels_NK).argmax(dim=1)
    weights = torch.from_numpy(class_weights_K(works.labels_NK, is_single=True))
    each = functional.cross_entropy(logits, target, reduction="none", label_smoothing=0.1)
    assert loss.item() == pytest.approx((each * weights[target]).mean().item(), rel=1e-5)
    assert set(parts) == {"loss_task"}


def test_the_loss_of_several_labels_is_torchs_binary_cross_entropy_with_the_weight_of_presence():
    works = make_works(num=40, task="multi_label")
    settings = FinetuneSettings(batch_size=40, class_weights="balanced")
    objective = FinetuneObjective(works, None, settings)
    torch.nn.init.normal_(objective.head.change_KC)
    loss, _ = objective(FinetuneBatches(works, settings, Group(), no_media)(0))
    labels = torch.from_numpy(works.labels_NK)
    presence = torch.from_numpy(class_weights_K(works.labels_NK, is_single=False))
    logits = objective.head(torch.from_numpy(works.vectors_ND))
    assert loss.item() == pytest.approx(functional.binary_cross_entropy_with_logits(logits, labels, pos_weight=presence).item(), rel=1e-5)


def test_balanced_weights_make_every_class_weigh_the_same():
    labels = np.repeat(np.eye(3, dtype=np.float32), [2, 3, 7], axis=0)
    weights = class_weights_K(labels, is_single=True)
    assert np.allclose(labels.sum(axis=0) * weights, 12 / 3)
    assert np.allclose(class_weights_K(labels, is_single=False), [10 / 2, 9 / 3, 5 / 7])


def test_every_work_trains_once_in_an_epoch_whatever_the_batch():
    rows = np.concatenate([rows_of_step(10, 4, seed=3, step=step) for step in range(5)])
    assert sorted(rows[:10]) == list(range(10))
    assert sorted(rows[10:]) == list(range(10))
    assert list(rows[:10]) != list(rows[10:])
    assert np.array_equal(rows_of_step(10, 20, seed=3, step=0), rows)
    assert not np.array_equal(rows_of_step(10, 20, seed=4, step=0), rows)


def test_prepared_works_are_read_as_they_were_written(tmp_path: Path):
    works = make_works()
    kept = KeptClassifiers(((9, "old"),), torch.ones(1, DIMENSION), torch.zeros(1))
    FinetuneWorks(works.facts, works.classes, kept, works.ids_N, works.labels_NK, None, works.start).write(tmp_path)
    found = read_works(tmp_path)
    assert (found.facts, found.classes, found.vectors_ND) == (works.facts, works.classes, None)
    assert np.array_equal(found.ids_N, works.ids_N)
    assert np.array_equal(found.labels_NK, works.labels_NK)
    assert found.kept is not None
    assert (found.kept.classes, found.start.scale) == (((9, "old"),), 10.0)


def test_a_model_trains_on_the_very_vectors_that_embedding_gives(tmp_path: Path):
    world = write_world(tmp_path)
    reader = ShardReader(open_artifact(open_store(world.store), world.shards))
    tokenizer = Tokenizer.train(["my camera 1", "my ramen 2", "my cat 3", "my drone"], 100, 12)
    torch.manual_seed(0)
    sizes = preset("tiny_student").model_copy(update={"vocabulary_size": max(64, tokenizer.size), "text_length": 12})
    model = ReelModel(sizes).eval()
    works = replace(make_works(20), ids_N=reader.video_ids[np.random.default_rng(0).permutation(20)], vectors_ND=None)
    works = replace(works, start=HeadStart(torch.zeros(3, sizes.dimension), torch.zeros(3), 1.0))
    settings = FinetuneSettings(batch_size=7, train_blocks=1)
    media = PlainMedia.open(reader, works.ids_N, sizes, tokenizer, settings)
    batch = FinetuneBatches(works, settings, Group(), media)(1)
    objective = FinetuneObjective(works, model, settings)
    objective.head = torch.nn.Identity()
    with torch.inference_mode():
        found = objective.encode(batch)["logits_BK"]
        expected = model.encode_video(*video_inputs(reader.read_all(batch.ids_B.tolist()), sizes, tokenizer)).embedding_BD
    assert torch.allclose(found, expected, atol=1e-5)


def test_a_state_saved_half_way_trains_on_to_the_very_weights_of_an_uninterrupted_training(tmp_path: Path):
    works, settings = make_works(), FinetuneSettings(batch_size=16, head="hidden", hidden=8)
    batches = FinetuneBatches(works, settings, Group(), no_media)

    def engine() -> TorchEngine:
        torch.manual_seed(0)
        return TorchEngine(FinetuneObjective(works, None, settings), settings, Group())

    straight, first, second = engine(), engine(), engine()
    for step in range(10):
        straight.step(batches(step), 0.01)
    for step in range(5):
        first.step(batches(step), 0.01)
    first.save(tmp_path)
    second.load(tmp_path, second.layout)
    for step in range(5, 10):
        second.step(batches(step), 0.01)
    assert set(second.weights()) == set(straight.weights())
    assert all(torch.equal(weight, second.weights()[name]) for name, weight in straight.weights().items())
    assert not any(torch.equal(weight, first.weights()[name]) for name, weight in straight.weights().items())


def test_a_batch_worked_through_in_parts_moves_the_head_as_the_whole_one():
    works = make_works()
    moved = []
    for change in ({}, {"micro_batches": 4}, {"micro_batches": 4, "grad_cache": True}):
        settings = FinetuneSettings(batch_size=16, **change)
        engine = TorchEngine(FinetuneObjective(works, None, settings), settings, Group())
        batches = FinetuneBatches(works, settings, Group(), no_media)
        for step in range(5):
            engine.step(batches(step), 0.01)
        moved.append(engine.weights()["head.change_KC"])
    assert torch.allclose(moved[1], moved[0], atol=1e-6)
    assert torch.allclose(moved[2], moved[0], atol=1e-6)


@pytest.mark.parametrize("fusion", ["progressive", "concat"])
def test_only_the_last_blocks_and_what_follows_them_train(fusion: str):
    sizes = ModelSettings.model_validate(
        {**MODEL.model_dump(), "picture_layers": 3, "text_layers": 2, "fusion_layers": 2, "fusion": fusion}
    )
    model = ReelModel(sizes)
    unfreeze(model, 1)
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    for tower, last in (("picture", 2), ("text", 1), ("sound", 0)):
        inside = {name for name in trained if name.startswith(f"{tower}.tower.")}
        assert {name.split(".")[3] for name in inside if ".blocks." in name} == {str(last)}
        assert f"{tower}.tower.project.weight" in inside
    assert not any(".stem." in name or ".token." in name or name.endswith((".position", "fusion.queries")) for name in trained - _POOL)
    assert any(name.startswith("fusion.") for name in trained)
    assert not any(name.startswith("fusion.blocks.0") for name in trained)


_POOL = {"picture.pool.position"}


def test_more_blocks_than_the_model_has_are_refused():
    with pytest.raises(UserError, match="train_blocks is 2, expected at most 1"):
        unfreeze(ReelModel(MODEL), 2)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"head": "hidden", "start": "text"}, "start is text, expected zero with head = hidden"),
        ({"extend": True, "train_blocks": 1}, "extend is on with head = linear, train_blocks = 1"),
        ({"extend": True, "task": "single_label"}, "expected linear, 0 and multi_label"),
        ({"label_smoothing": 0.1, "task": "multi_label"}, "label_smoothing is 0.1, expected 0"),
        ({"augment_views": True}, "augment_views is on and train_blocks is 0"),
        ({"model": "small"}, "model is set, which fine-tuning does not read"),
        ({"augment": {"min_crop": 0.9}}, "augment is set, which fine-tuning does not read: set augment_views"),
        ({"order": "shuffled"}, "order is set, which fine-tuning does not read"),
        ({"held_out": 1.0}, "held_out"),
        ({"min_work": 3}, "'min_work' is unknown.*min_works"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(change: dict[str, object], says: str):
    with pytest.raises(SettingError, match=says):
        read(FinetuneSettings, change)


@pytest.mark.parametrize("name", ["head", "blocks", "smoke"])
def test_every_preset_reads_back_as_itself(name: str):
    assert read(FinetuneSettings, finetune_preset(name).model_dump(mode="json")) == finetune_preset(name)
