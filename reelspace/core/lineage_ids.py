"""What a few letters name in a store: artifacts, step keys, runs of pipelines."""

import re
from typing import Final

from reelspace.core.artifacts import is_artifact_id
from reelspace.core.errors import CorruptArtifact
from reelspace.core.keys import key_problem
from reelspace.core.step_records import JournalEntry, read_journal
from reelspace.core.store import Store

FEWEST_DIGITS: Final = 6


def find_artifacts(store: Store, text: str) -> list[str]:
    """Give the artifact ids that start with some hex digits, six or more."""
    return _starting_with(store, "artifacts/", text)


def find_keys(store: Store, text: str) -> list[str]:
    """Give the step keys with records that start with some hex digits, six or more."""
    return [key for key in _starting_with(store, "runs/", text) if is_artifact_id(key)]


def find_runs(store: Store, text: str) -> list[str]:
    """Give the run of that id, or else the runs whose ids start with these six or more characters."""
    if "/" in text or key_problem(text) is not None:
        return []
    runs = {key.split("/")[2] for key in store.list(f"runs/journal/{text}")}
    if text in runs:
        return [text]
    return sorted(runs) if len(text) >= FEWEST_DIGITS else []


def run_entries(store: Store, run_id: str) -> list[JournalEntry]:
    """Give the steps of a run that have ended, by name.

    Raises:
        CorruptArtifact: an entry of the journal cannot be read.
    """
    try:
        return list(read_journal(store, run_id).values())
    except (ValueError, TypeError) as error:
        raise CorruptArtifact(f"runs/journal/{run_id} in {store.url} cannot be read: {error}; run the pipeline again") from error


def _starting_with(store: Store, folder: str, text: str) -> list[str]:
    if not re.fullmatch(rf"[0-9a-f]{{{FEWEST_DIGITS},64}}", text):
        return []
    return sorted({key.split("/")[1] for key in store.list(folder + text)})
