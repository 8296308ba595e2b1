"""Turn hashtags, searches and comments into a vocabulary, labels, weights and texts."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from reelspace.core.artifacts import open_artifact
from reelspace.core.errors import UserError
from reelspace.core.settings import read
from reelspace.core.steps import StepRun, run_step
from reelspace.signals.embeddings import VECTORS_FILE
from reelspace.signals.label_files import Earlier, write_labels
from reelspace.signals.lexicons import lexicons_digest
from reelspace.signals.settings import SignalsSettings
from reelspace.signals.vocabulary_history import CHANGES_FILE, VOCABULARY_FILE


def run(tables: str, labels: str, settings: str) -> None:
    """Write the artifact `labels` from the artifact `tables`; `settings` is the JSON of SignalsSettings.

    Raises:
        TableError: no work was uploaded before `as_of`, or the earlier vocabulary is not whole.
        ArtifactMissing: the store lacks what `vocabulary.previous` or `hashtags.vectors` names.
    """
    parsed = read(SignalsSettings, settings)
    earlier = [name for name in (parsed.vocabulary.previous, parsed.hashtags.vectors) if name]
    run_step(
        "preprocess_signals",
        __name__,
        settings=parsed,
        inputs={"tables": tables},
        outputs={"labels": labels},
        body=lambda run: _preprocess(run, parsed),
        extra_parents=[lexicons_digest(), *earlier],
    )


def _preprocess(run: StepRun, settings: SignalsSettings) -> Mapping[str, object]:
    earlier = Earlier(
        labels=_fetch(run, "vocabulary.previous", settings.vocabulary.previous, (VOCABULARY_FILE, CHANGES_FILE)),
        vectors=_fetch(run, "hashtags.vectors", settings.hashtags.vectors, (VECTORS_FILE,)),
    )
    return write_labels(run.inputs["tables"].fetch(run.scratch / "tables"), run.output("labels"), settings, earlier)


def _fetch(run: StepRun, setting: str, artifact_id: str | None, files: Sequence[str]) -> Path | None:
    """Bring the named files of an earlier artifact, and only those: the others may be large."""
    if artifact_id is None:
        return None
    artifact = open_artifact(run.store, artifact_id)
    lacking = [name for name in files if name not in artifact.names()]
    if lacking:
        what = f"artifact {artifact_id} of kind {artifact.manifest.kind!r}"
        raise UserError(
            f"{setting}: expected an artifact with {' and '.join(files)}, {what} has no {' and no '.join(lacking)}; give another one"
        )
    directory = run.scratch / setting
    directory.mkdir()
    for name in files:
        (directory / name).write_bytes(artifact.read(name))
    return directory
