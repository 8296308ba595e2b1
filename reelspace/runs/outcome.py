"""How a run ended, told by exit codes and by the journal of its steps: runners themselves only say that a task failed."""

from collections.abc import Mapping, Sequence
from typing import Final

from reelspace.core.errors import InternalError, ReelspaceError, TemporaryError, UserError
from reelspace.core.step_records import JournalEntry

_ERROR_OF_EXIT: Final[Mapping[int, type[ReelspaceError]]] = {error.exit_code: error for error in (UserError, TemporaryError)}


def error_of_exit(exit_code: int) -> type[ReelspaceError]:
    """Give the class of error that ends a program so."""
    return _ERROR_OF_EXIT.get(exit_code, InternalError)


def failure(entries: Mapping[str, JournalEntry], steps: Sequence[str], store_url: str) -> ReelspaceError:
    """Give the error that ended a failed run.

    Args:
        entries: its journal.
        steps: all its steps, in order.
    """
    for entry in entries.values():
        if entry.exit_code:
            return error_of_exit(entry.exit_code)(f"step {entry.step}: {entry.message}")
    killed = next((step for step in steps if step not in entries), None)
    if killed is None:
        return TemporaryError(f"every step is done, and still the run ended badly; run again with the same store {store_url}")
    return TemporaryError(f"step {killed} was ended from outside and left no word; run again with the same store {store_url} to resume")
