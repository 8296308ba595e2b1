"""Turn hashtags, searches and comments into a vocabulary, labels, weights and texts."""

from collections.abc import Mapping

from reelspace.core.settings import read
from reelspace.core.steps import StepRun, run_step
from reelspace.signals.label_files import write_labels
from reelspace.signals.lexicons import lexicons_digest
from reelspace.signals.settings import SignalsSettings


def run(tables: str, labels: str, settings: str) -> None:
    """Write the artifact `labels` from the artifact `tables`; `settings` is the JSON of SignalsSettings.

    Raises:
        TableError: no work was uploaded before `as_of`.
    """
    parsed = read(SignalsSettings, settings)
    run_step(
        "preprocess_signals",
        __name__,
        settings=parsed,
        inputs={"tables": tables},
        outputs={"labels": labels},
        body=lambda run: _preprocess(run, parsed),
        extra_parents=[lexicons_digest()],
    )


def _preprocess(run: StepRun, settings: SignalsSettings) -> Mapping[str, object]:
    return write_labels(run.inputs["tables"].fetch(run.scratch / "tables"), run.output("labels"), settings)
