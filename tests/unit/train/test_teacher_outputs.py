"""What a teacher answered once: the same as if it were asked in the step, resumed view by view, read by name and work."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from reelspace.core.errors import CorruptArtifact, UserError
from reelspace.train.batches import make_batch
from reelspace.train.teacher_answers import Places, answer, ask_teacher, check_labels
from reelspace.train.teacher_outputs import TeacherLabels, read_outputs
from reelspace.train.views import view_of
from tests.unit.train.builders import make_data, make_tokenizer
from tests.unit.train.students import IDS, SETTINGS, asked, make_model, outputs_of, places, write_labels


def test_the_kept_answers_are_those_of_the_teacher_asked_about_the_batch(tmp_path: Path) -> None:
    teacher, data = make_model(1), make_data()
    outputs = outputs_of(tmp_path, teacher)
    views = set()
    for step in range(8):
        batch = make_batch(data, make_tokenizer(data), SETTINGS, step, 0, 1)
        view = view_of(SETTINGS, step).number
        rows = outputs.rows(batch.ids_B, view)
        for kept, asked_now in zip((rows.fused_BD, rows.picture_BD, rows.text_BD), answer(teacher.eval(), batch), strict=True):
            torch.testing.assert_close(kept, asked_now, atol=5e-4, rtol=0)
            present = asked_now.abs().sum(dim=1) > 0
            assert (kept * asked_now).sum(dim=1)[present].min() > 1 - 1e-6
            assert not kept[~present].any()
        views.add(view)
    assert views == {0, 1, 2}


def test_a_view_shows_a_work_the_same_whatever_is_beside_it_and_views_differ() -> None:
    data = make_data()
    tokenizer = make_tokenizer(data)
    steps = [step for step in range(40) if view_of(SETTINGS, step).number == 0][:2]
    one, two = (make_batch(data, tokenizer, SETTINGS, step, 0, 1) for step in steps)
    shared = sorted(set(one.ids_B.tolist()) & set(two.ids_B.tolist()))
    assert shared
    assert one.ids_B.tolist() != two.ids_B.tolist()
    picked = [batch.views_VBFHWC[0, [batch.ids_B.tolist().index(work) for work in shared]] for batch in (one, two)]
    assert torch.equal(*picked)
    other = make_batch(data, tokenizer, SETTINGS, next(step for step in range(40) if view_of(SETTINGS, step).number == 1), 0, 1)
    work = (set(one.ids_B.tolist()) & set(other.ids_B.tolist())).pop()
    frames = [batch.views_VBFHWC[0, batch.ids_B.tolist().index(work)] for batch in (one, other)]
    assert not torch.equal(*frames)


def test_an_ask_that_was_stopped_goes_on_behind_the_last_whole_view(tmp_path: Path) -> None:
    whole = outputs_of(tmp_path / "whole", make_model(1))
    root, saves = tmp_path / "stopped", []

    def stop_at_the_second() -> None:
        saves.append(sorted(path.name for path in (root / "state").iterdir()))
        if len(saves) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ask_teacher(asked(root, make_model(1)), Places(root / "outputs", root / "state", stop_at_the_second), IDS)
    assert saves == [["view-0000"], ["view-0000", "view-0001"]]
    # Another teacher: the views that are there are not asked again.
    ask_teacher(asked(root, make_model(2)), places(root), IDS)
    found = read_outputs(root / "outputs")
    for kind, vectors_VND in found.vectors_VND.items():
        assert np.array_equal(vectors_VND[:2], whole.vectors_VND[kind][:2])
    assert not np.array_equal(found.vectors_VND["fused"][2], whole.vectors_VND["fused"][2])


def test_answers_are_found_by_work_in_whatever_order_the_works_stand(tmp_path: Path) -> None:
    data, teacher = make_data(), make_model(1)
    order = np.random.default_rng(0).permutation(len(data.ids_N))
    shuffled = replace(
        data,
        ids_N=data.ids_N[order],
        texts_N=tuple(data.texts_N[row] for row in order),
        labels_NK=data.labels_NK[order],
        **_media_of(data, order),
    )
    ask_teacher(asked(tmp_path / "shuffled", teacher, shuffled), places(tmp_path / "shuffled"), IDS)
    one, two = outputs_of(tmp_path, teacher), read_outputs(tmp_path / "shuffled" / "outputs")
    ids = torch.tensor([119, 100, 107])
    torch.testing.assert_close(one.rows(ids, 2).fused_BD, two.rows(ids, 2).fused_BD, atol=5e-4, rtol=0)


def test_a_work_that_was_not_asked_about_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no work 99"):
        outputs_of(tmp_path, make_model(1)).rows(torch.tensor([100, 99]), 0)


def test_answers_that_are_not_finite_are_left_out_and_counted(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    teacher = _SickTeacher(sick=(104, 111))
    lenient = SETTINGS.model_copy(update={"max_bad_ratio": 0.2})
    facts = ask_teacher(asked(tmp_path, teacher.model, settings=lenient), places(tmp_path), IDS)
    assert facts.num_bad == 2 * SETTINGS.num_views
    assert '"teacher_answers_left_out", "num": 6, "of": 60, "works": 2, "example": 104' in capfd.readouterr().err
    rows = read_outputs(tmp_path / "outputs").rows(torch.tensor([104, 105, 111]), 1)
    assert rows.fused_BD.isfinite().all()
    assert rows.fused_BD.abs().sum(dim=1).gt(0).tolist() == [False, True, False]
    assert not rows.text_BD[0].any()


def test_too_many_answers_that_are_not_finite_are_refused_with_a_work(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"6 of the teacher's 60 answers are not finite, e\.g\. for work 104; allowed is a share of 0\.01"):
        ask_teacher(asked(tmp_path, _SickTeacher(sick=(104, 111)).model), places(tmp_path), IDS)


def test_labels_that_are_the_same_for_every_work_are_warned_of(capfd: pytest.CaptureFixture[str]) -> None:
    vectors_ND = np.eye(4, dtype=np.float32)
    assert check_labels(TeacherLabels(torch.eye(4), torch.zeros(4), torch.ones(1)), vectors_ND)
    assert not check_labels(TeacherLabels(torch.eye(4), torch.zeros(4), torch.zeros(1)), vectors_ND)
    assert "teacher_labels_constant" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("name", "array", "told"),
    [
        ("fused.npy", np.zeros((3, 20, 24), np.float32), "expected float16 of shape"),
        ("text.npy", np.zeros((3, 20, 12), np.float16), r"shape \[3, 20, 24\], got float16 of shape \[3, 20, 12\]"),
        ("ids.npy", np.arange(19), r"shape \[20\]"),
        ("ids.npy", np.arange(20)[::-1].copy(), "expected rising ids"),
        ("picture.npy", np.array([None, {}]), "is no array of numbers"),
    ],
)
def test_answers_of_another_shape_or_kind_are_refused(tmp_path: Path, name: str, array: Any, told: str) -> None:
    outputs_of(tmp_path, make_model(1))
    np.save(tmp_path / "outputs" / name, array)
    with pytest.raises(CorruptArtifact, match=told):
        read_outputs(tmp_path / "outputs")


def test_a_file_that_is_cut_short_is_refused(tmp_path: Path) -> None:
    outputs_of(tmp_path, make_model(1))
    path = tmp_path / "outputs" / "fused.npy"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CorruptArtifact, match=r"fused\.npy is no array of numbers"):
        read_outputs(tmp_path / "outputs")


def test_a_label_head_of_another_label_map_is_refused(tmp_path: Path) -> None:
    outputs_of(tmp_path, make_model(1))
    write_labels(tmp_path / "outputs", num_labels=3)
    with pytest.raises(CorruptArtifact, match=r"expected 4 classifiers of 24 numbers .* got \[3, 24\]"):
        read_outputs(tmp_path / "outputs")


class _SickTeacher:
    """A teacher whose vectors of some works are not numbers."""

    def __init__(self, sick: Sequence[int]) -> None:
        self.model = make_model(1)
        rows = [work - 100 for work in sick]
        self.model.fusion.register_forward_hook(lambda _module, _inputs, fused_BD: _poisoned(fused_BD, rows))


def _poisoned(fused_BD: torch.Tensor, rows: Sequence[int]) -> torch.Tensor:
    fused_BD = fused_BD.clone()
    fused_BD[list(rows)] = float("nan")
    return fused_BD


def _media_of(data: Any, order: np.ndarray) -> dict[str, Any]:  # type: ignore[type-arg]
    media = data.media
    return {"media": type(media)(*(getattr(media, name)[order] for name in ("frames_NFHWC", "num_frames_N", "mel_NWM", "has_audio_N")))}
