"""What is asked of a place that runs a pipeline by itself, such as a cluster."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

from reelspace.runs.record import RunRecord, State

LiveState = Literal["waiting", "running", "done", "failed"]


@dataclass(frozen=True, slots=True)
class LiveStep:
    """A step as its place sees it; what it has finished is told by its journal entry in the store."""

    state: LiveState
    message: str = ""
    """Its progress while it runs, or why it waits or failed."""
    exit_code: int | None = None
    """How its last try ended, where its place says so."""


class RemotePlace(Protocol):
    """A place with runs that were handed over to it; a record's `remote` names the run there.

    Every method may raise ServerUnavailable (the place does not answer) and PlaceRefused (it does not let us).
    """

    def state(self, record: RunRecord) -> State:
        """Tell how a run stands; `lost` when the place does not know it any more."""

    def step_states(self, record: RunRecord) -> dict[str, LiveStep]:
        """Tell how its steps stand, by the names in `record.steps`; one the place has not come to yet may be absent."""

    def log(self, record: RunRecord, *, follow: bool) -> Iterator[str]:
        """Give the lines of its steps' logs, each with its newline: JSON events stand alone in a line, as the steps wrote them.

        Args:
            follow: go on until the run has ended.
        """

    def cancel(self, record: RunRecord) -> None:
        """Ask for its end, without waiting for it; steps are told, and may save."""

    def retry(self, record: RunRecord) -> RunRecord | None:
        """Try it again in its place and give the new run; None: start it anew with the same arguments, steps with known keys are reused."""
