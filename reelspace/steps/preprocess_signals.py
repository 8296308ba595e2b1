"""Turn hashtags, searches and comments into a vocabulary, labels, weights and texts."""

from collections.abc import Mapping
from pathlib import Path

from reelspace.core.artifacts import open_artifact
from reelspace.core.errors import UserError
from reelspace.core.settings import read
from reelspace.core.steps import StepRun, run_step
from reelspace.signals.label_files import write_labels
from reelspace.signals.lexicons import lexicons_digest
from reelspace.signals.settings import SignalsSettings
from reelspace.signals.vocabulary_history import CHANGES_FILE, VOCABULARY_FILE


def run(tables: str, labels: str, settings: str) -> None:
    """Write the artifact `labels` from the artifact `tables`; `settings` is the JSON of SignalsSettings.

    Raises:
        TableError: no work was uploaded before `as_of`, or the earlier vocabulary is not whole.
        ArtifactMissing: the store lacks the earlier labels that `vocabulary.previous` names.
    """
    parsed = read(SignalsSettings, settings)
    previous = parsed.vocabulary.previous
    run_step(
        "preprocess_signals",
        __name__,
        settings=parsed,
        inputs={"tables": tables},
        outputs={"labels": labels},
        body=lambda run: _preprocess(run, parsed),
        extra_parents=[lexicons_digest(), *([previous] if previous else [])],
    )


def _preprocess(run: StepRun, settings: SignalsSettings) -> Mapping[str, object]:
    previous = _fetch_vocabulary(run, settings.vocabulary.previous) if settings.vocabulary.previous else None
    return write_labels(run.inputs["tables"].fetch(run.scratch / "tables"), run.output("labels"), settings, previous)


def _fetch_vocabulary(run: StepRun, artifact_id: str) -> Path:
    """Bring the vocabulary of earlier labels, and only that: their texts may be large."""
    artifact = open_artifact(run.store, artifact_id)
    lacking = [name for name in (VOCABULARY_FILE, CHANGES_FILE) if name not in artifact.names()]
    if lacking:
        what = f"artifact {artifact_id} of kind {artifact.manifest.kind!r}"
        raise UserError(f"vocabulary.previous: expected labels with versions, {what} has no {' and no '.join(lacking)}; give other labels")
    directory = run.scratch / "previous"
    directory.mkdir()
    for name in (VOCABULARY_FILE, CHANGES_FILE):
        (directory / name).write_bytes(artifact.read(name))
    return directory
