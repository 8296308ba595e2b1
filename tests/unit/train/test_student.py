"""A student about to learn: its model, the works as it reads them, and the labels it leaves with."""

import torch

from reelspace.model.presets import preset
from reelspace.train.batches import make_batch
from reelspace.train.settings import DistillSettings
from reelspace.train.student import make_student
from tests.unit.train.builders import MODEL, make_data, make_tokenizer, model_settings


def test_a_student_hears_in_its_own_way_the_sound_that_its_teacher_hears() -> None:
    student = make_student(DistillSettings(model="tiny_student"), MODEL)
    ours, theirs, teacher = preset("tiny_student").sound, student.settings.sound, MODEL.sound
    assert (theirs.num_samples, theirs.sample_rate) == (teacher.num_samples, teacher.sample_rate)
    assert (theirs.hop, theirs.window) == (ours.hop, ours.window) != (teacher.hop, teacher.window)
    spectra_BWM = student.sound.log_mel(torch.zeros(1, teacher.num_samples, dtype=torch.int16))
    assert spectra_BWM.shape[1] == student.sound.num_tokens * theirs.patch < (teacher.num_samples - teacher.window) // teacher.hop


def test_a_student_reads_frames_and_words_as_its_teacher_and_lives_in_its_space() -> None:
    teacher = model_settings(make_tokenizer(make_data()))
    student = make_student(DistillSettings(model="tiny_student"), teacher).settings
    for name in ("dimension", "frame_size", "vocabulary_size", "text_length"):
        assert getattr(student, name) == getattr(teacher, name), name
    assert student.width == preset("tiny_student").width


def test_a_batch_of_distillation_has_the_one_picture_that_the_teacher_saw() -> None:
    data = make_data()
    settings = DistillSettings(batch_size=4)
    assert len(make_batch(data, make_tokenizer(data), settings, 0, 0, 1).views_VBFHWC) == 1
