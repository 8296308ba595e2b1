"""Going on from a teacher: the share of new works, targets of the replayed ones, and classifiers of labels it did not know."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save_file

from reelspace.core.errors import UserError
from reelspace.model.checkpoint import save_model
from reelspace.model.losses import Rows, alone
from reelspace.train.assembly import _label_tensors
from reelspace.train.batches import make_batch
from reelspace.train.data import TrainData
from reelspace.train.label_head import make_label_head
from reelspace.train.objective import PretrainObjective
from reelspace.train.order import order_of, shared_weights_N
from reelspace.train.replayed import KeptVectors, start_label_head, start_model, start_sizes
from reelspace.train.settings import ObjectiveSettings, ReplaySettings, TrainSettings
from reelspace.train.windows import Window
from tests.unit.train.builders import MODEL, WORDS, make_data, make_objective, make_tokenizer

REPLAY = ReplaySettings(teacher="a" * 64, seen=(Window(),), new=Window(), new_share=0.75)
SETTINGS = TrainSettings(batch_size=8, replay=REPLAY, objective=ObjectiveSettings(keywords=0, nt_xent=0))


def data_with_new(num_new: int = 5) -> TrainData:
    data = make_data()
    return replace(data, is_new_N=np.arange(len(data.ids_N)) >= len(data.ids_N) - num_new)


def write_teacher(directory: Path, objective: PretrainObjective) -> None:
    """Write what a teacher's artifact has of a small objective whose labels are those of the small world."""
    save_model(directory, objective.model, make_tokenizer(make_data()))
    assert objective.label_head is not None
    save_file(_label_tensors(objective.label_head, len(WORDS)), directory / "label_head.safetensors")
    pq.write_table(pa.table({"label_id": range(len(WORDS)), "text": list(WORDS)}), directory / "labels.parquet")


def settings_of(kind: str) -> TrainSettings:
    return SETTINGS.model_copy(update={"objective": ObjectiveSettings(label_head=kind)})


def test_new_works_have_their_share_of_the_draws() -> None:
    data = data_with_new()
    assert data.is_new_N is not None
    weights_N = shared_weights_N(np.linspace(1, 3, 20), data.is_new_N, 0.75)
    assert weights_N[data.is_new_N].sum() == pytest.approx(0.75)
    assert weights_N.sum() == pytest.approx(1.0)
    single = SETTINGS.model_copy(update={"batch_size": 2})
    rows_of = order_of(data, single)
    drawn = np.concatenate([rows_of(step) for step in range(400)])
    # A quarter of the works; drawn by chance, and two of a step without replacement.
    assert data.is_new_N[drawn].mean() == pytest.approx(0.75, abs=0.06)


def test_vectors_of_replayed_works_are_kept_and_of_new_ones_are_free() -> None:
    data, objective = data_with_new(), make_objective(SETTINGS)
    batch = make_batch(data, make_tokenizer(make_data()), SETTINGS, 0, 0, 1)
    objective.eval()
    replayed = data.ids_N[~data.is_new_N]
    encoded = {name: vector.detach() for name, vector in objective.encode(batch).items()}
    rows = Rows(alone, 0)
    own = KeptVectors(make_objective(SETTINGS).model, replayed, 1.0)
    assert float(own.loss(encoded, batch, rows)) == pytest.approx(0.0, abs=1e-5)
    is_new_B = torch.tensor(np.isin(batch.ids_B.numpy(), data.ids_N[data.is_new_N]))
    moved_new = {name: torch.where(is_new_B[:, None], -vector, vector) if vector.dim() == 2 else vector for name, vector in encoded.items()}
    assert float(own.loss(moved_new, batch, rows)) == pytest.approx(0.0, abs=1e-5)
    moved_old = {name: torch.where(is_new_B[:, None], vector, -vector) if vector.dim() == 2 else vector for name, vector in encoded.items()}
    # 1 - cosine of the opposite is 2, of each of the three vectors with its weight.
    assert float(own.loss(moved_old, batch, rows)) == pytest.approx(2 * (1.0 + 0.5 + 0.5), abs=1e-4)


def test_the_kept_teacher_is_no_part_of_what_is_trained_and_its_loss_is() -> None:
    plain, data = make_objective(SETTINGS), data_with_new()
    teacher = make_objective(SETTINGS).model
    kept = PretrainObjective(plain.model, plain.label_head, SETTINGS.objective, KeptVectors(teacher, data.ids_N[:10], 2.0))
    assert set(kept.state_dict()) == set(plain.state_dict())
    batch = make_batch(data, make_tokenizer(make_data()), SETTINGS, 0, 0, 1)
    loss, parts = kept(batch)
    assert "loss_kept" in parts
    loss.backward()
    assert all(parameter.grad is None for parameter in teacher.parameters())
    assert any(parameter.grad is not None for parameter in kept.model.parameters())


@pytest.mark.parametrize("kind", ["graph", "vectors"])
def test_known_labels_keep_their_classifiers_and_a_new_one_starts_from_the_vector_of_its_text(kind: str, tmp_path: Path) -> None:
    settings = settings_of(kind)
    earlier = make_objective(settings)
    with torch.no_grad():
        for parameter in earlier.label_head.parameters():  # type: ignore[union-attr]
            parameter.add_(0.1)
    earlier.label_head.refresh(earlier.model.eval().encode_text)  # type: ignore[union-attr]
    write_teacher(tmp_path, earlier)
    data = make_data()
    # A label goes, one comes; no neighbours, so that nothing reaches the known ones through the graph.
    names = ((0, "camera"), (2, "cat"), (3, "drone"), (9, "nice ramen"))
    data = replace(data, label_names=names, labels_NK=data.labels_NK[:, [0, 2, 3, 1]])
    if kind == "graph":
        graph = replace(data.label_facts.graph, **_no_edges(data))  # type: ignore[union-attr]
        data = replace(data, label_facts=replace(data.label_facts, graph=graph))  # type: ignore[type-var]
    model, tokenizer = start_model(tmp_path)
    model.eval()
    head = make_label_head(data, tokenizer, settings, MODEL.dimension)
    assert head is not None
    start_label_head(head, tmp_path, data, model, tokenizer)
    head.refresh(model.encode_text)
    assert torch.equal(head.scale, earlier.label_head.scale)  # type: ignore[union-attr]
    new = head.classifiers(torch.tensor([3]))[0].detach()
    if kind == "vectors":
        known = earlier.label_head.classifiers(torch.tensor([0, 2, 3]))  # type: ignore[union-attr]
        torch.testing.assert_close(head.classifiers(torch.tensor([0, 1, 2])), known)
        ids_BL, mask_BL = tokenizer.encode_BL(["nice ramen"])
        torch.testing.assert_close(new, model.encode_text(torch.from_numpy(ids_BL), torch.from_numpy(mask_BL))[0])
    else:
        torch.testing.assert_close(head.network.first, earlier.label_head.network.first)  # type: ignore[union-attr]
        assert float(new @ head.inputs_KD[3]) > 0.5  # type: ignore[operator]


def _no_edges(data: TrainData) -> dict[str, object]:
    graph = data.label_facts.graph  # type: ignore[union-attr]
    return {name: getattr(graph, name)[:0] for name in graph.__dataclass_fields__}


def test_another_kind_of_head_and_another_preset_are_refused(tmp_path: Path) -> None:
    write_teacher(tmp_path, make_objective(settings_of("vectors")))
    model, tokenizer = start_model(tmp_path)
    head = make_label_head(make_data(), tokenizer, settings_of("graph"), MODEL.dimension)
    assert head is not None
    with pytest.raises(UserError, match="none of that kind"):
        start_label_head(head, tmp_path, make_data(), model, tokenizer)
    with pytest.raises(UserError, match="model is tiny"):
        start_sizes(tmp_path, "tiny")
