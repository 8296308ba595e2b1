"""Ask the teacher once for every view of every work that trains a student, and keep its answers as an artifact.

The step `distill` runs it inside itself. Its settings are those of distillation that decide what is asked, so students that differ in
size, losses or length share the answers.
"""

from collections.abc import Mapping

from reelspace.core.artifacts import Artifact, open_artifact, read_manifest_file
from reelspace.core.settings import identity
from reelspace.core.steps import StepRun, run_step
from reelspace.media.dataset import ShardReader
from reelspace.model.checkpoint import load_model
from reelspace.train.data import load_data
from reelspace.train.input_checks import check_tokens
from reelspace.train.settings import DistillSettings
from reelspace.train.teacher_answers import Asked, Places, ask_teacher
from reelspace.train.teacher_checks import check_label_map

_ASKED = ("num_views", "view_seed", "train_until", "augment", "text_side")
_INPUTS = ("teacher", "shards", "labels")


def answered(run: StepRun, manifests: Mapping[str, str], settings: DistillSettings) -> Artifact:
    """Give the teacher's answers for a distillation that runs, asked now or kept from before.

    Args:
        manifests: paths of the manifest files of `teacher`, `shards` and `labels`.
    """
    written = run.scratch / "teacher_outputs.json"
    run_step(
        "teacher_outputs",
        __name__,
        settings=asked_settings(settings),
        inputs={name: manifests[name] for name in _INPUTS},
        outputs={"teacher_outputs": str(written)},
        body=lambda inner: _ask(inner, settings),
    )
    return open_artifact(run.store, read_manifest_file(written).id)


def asked_settings(settings: DistillSettings) -> DistillSettings:
    """Give the settings with all that does not change what is asked set to its default."""
    return DistillSettings.model_validate({name: getattr(settings, name) for name in _ASKED})


def _ask(run: StepRun, settings: DistillSettings) -> dict[str, object]:
    teacher = run.inputs["teacher"].fetch(run.scratch / "teacher")
    labels = run.inputs["labels"].fetch(run.scratch / "labels")
    check_label_map(teacher, labels)
    model, tokenizer, sizes = load_model(teacher)
    check_tokens(tokenizer, sizes.vocabulary_size)
    data = load_data(ShardReader(run.inputs["shards"]), labels, settings, sizes)
    places = Places(run.output("teacher_outputs"), run.state, run.save_state)
    ids = {name: run.inputs[name].id for name in _INPUTS}
    facts = ask_teacher(Asked(teacher, model, tokenizer, data, settings), places, ids)
    return identity(facts)
