"""A student about to learn: its model in the teacher's space, the works, and the teacher's kept answers about them."""

import shutil
from pathlib import Path

import numpy as np

from reelspace.core.errors import UserError
from reelspace.core.log import log
from reelspace.media.dataset import ShardReader
from reelspace.model.checkpoint import read_settings
from reelspace.model.model import ReelModel, num_parameters
from reelspace.model.presets import preset
from reelspace.model.settings import ModelSettings
from reelspace.model.tokenizer import Tokenizer
from reelspace.model.weights_file import read_weights
from reelspace.train.data import TrainData, load_data
from reelspace.train.distillation import DistillObjective
from reelspace.train.job import TrainJob
from reelspace.train.label_head import LABEL_HEAD_FILE
from reelspace.train.settings import DistillSettings
from reelspace.train.teacher_outputs import LABELS_FILE, TeacherOutputs, read_outputs

_SHARED = ("vocabulary_size", "dimension", "frame_size", "text_length")
_SHARED_SOUND = ("sample_rate", "num_samples")


def assemble_student(job: TrainJob, reader: ShardReader) -> tuple[DistillObjective, TrainData, Tokenizer]:
    """Build the student of a job and open what its teacher answered; the teacher itself is not loaded.

    Raises:
        UserError: the answers are of other works, views, labels or texts than the job's, or of a teacher of another space.
    """
    settings, teacher = job.distill, job.teacher
    assert settings is not None, "a job's validator saw to it"
    assert teacher is not None, "a job's validator saw to it"
    assert job.teacher_outputs is not None, "a job's validator saw to it"
    sizes = read_settings((teacher / "model.json").read_text())
    outputs = read_outputs(job.teacher_outputs)
    _check_outputs(outputs, job, settings, sizes)
    student = make_student(settings, sizes)
    # The teacher's frames, for a view shows the one that the teacher saw; the student's own spectra of the same sound.
    data = load_data(reader, job.labels, settings, sizes.model_copy(update={"sound": student.settings.sound}))
    check_works(outputs, data)
    warn_of_size(student, num_weights(teacher))
    return DistillObjective(student, outputs, settings), data, Tokenizer.load(teacher / "tokenizer.json", sizes.text_length)


def make_student(settings: DistillSettings, teacher: ModelSettings) -> ReelModel:
    """Make the untrained student: the preset's towers with the teacher's inputs and dimension; how finely it hears is its own."""
    sizes = preset(settings.model)
    sound = sizes.sound.model_copy(update={name: getattr(teacher.sound, name) for name in _SHARED_SOUND})
    return ReelModel(sizes.model_copy(update={"sound": sound} | {name: getattr(teacher, name) for name in _SHARED}))


def num_weights(teacher: Path) -> int:
    """Count the numbers in a model's file."""
    return sum(tensor.numel() for tensor in read_weights(teacher / "model.safetensors").values())


def warn_of_size(student: ReelModel, num_teacher: int) -> bool:
    """Tell whether the student is smaller than its teacher, and say so where it is not."""
    is_smaller = num_parameters(student) < num_teacher
    if not is_smaller:
        log("student_not_smaller", num_parameters=num_parameters(student), teacher=num_teacher, effect="it saves nothing: choose a preset")
    return is_smaller


def check_works(outputs: TeacherOutputs, data: TrainData) -> None:
    """Refuse answers that are of other works than the data, in any order.

    Raises:
        UserError: says how many works differ, and names one.
    """
    different = np.setxor1d(outputs.ids_N, data.ids_N)
    if len(different):
        raise UserError(
            f"the teacher's outputs are of {len(outputs.ids_N)} works, {len(data.ids_N)} train, and {len(different)} are in one of both "
            f"only, e.g. work {different[0]}: they were made of another data set, run the step distill again"
        )


def copy_labels(job: TrainJob) -> None:
    """Write the teacher's labels and label head beside the student: they are of the space that both live in."""
    assert job.teacher is not None, "a job's validator saw to it"
    for name in (LABELS_FILE, LABEL_HEAD_FILE):
        if (job.teacher / name).is_file():
            shutil.copy(job.teacher / name, job.out / name)


def _check_outputs(outputs: TeacherOutputs, job: TrainJob, settings: DistillSettings, sizes: ModelSettings) -> None:
    facts = outputs.facts
    pairs = {
        "shards": (facts.shards, job.shards),
        "view_seed": (facts.view_seed, settings.view_seed),
        "num_views": (facts.num_views, settings.num_views),
        "dimension": (facts.dimension, sizes.dimension),
    }
    for name, (theirs, ours) in pairs.items():
        if theirs != ours:
            raise UserError(f"the teacher's outputs were made with {name} = {theirs}, this training has {ours}: run the step distill again")
