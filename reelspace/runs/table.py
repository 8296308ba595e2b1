"""How runs are shown: rows with the same names in JSON and on a terminal."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from reelspace.core.step_records import JournalEntry
from reelspace.runs.record import RunRecord
from reelspace.runs.remote import LiveStep

Rows = Sequence[Mapping[str, Any]]
SHOWN_DIGITS: Final = 12


def records_table(records: Sequence[RunRecord]) -> Rows:
    """Give one row per run."""
    names = ("run_id", "pipeline", "where", "state", "started_at", "ended_at", "exit_code", "message")
    return [{name: getattr(record, name) for name in names} for record in records]


def steps_table(record: RunRecord, states: Mapping[str, JournalEntry | None], live: Mapping[str, LiveStep] | None = None) -> Rows:
    """Give one row per step of a run; one that has not ended is `open` while the run goes on, else `not run`.

    Args:
        live: what its place says of steps while it runs; it knows better than the journal, where the last try of a step stands.
    """
    return [_step(name, entry, record, (live or {}).get(name)) for name, entry in states.items()]


def shown(rows: Rows, *, as_json: bool) -> None:
    """Print rows; as text in columns of which only the last, the message, may be long."""
    if as_json:
        print(orjson.dumps(list(rows), option=orjson.OPT_INDENT_2).decode())
        return
    if not rows:
        print("nothing was run here")
        return
    lines = [list(rows[0]), *([_text(name, value) for name, value in row.items()] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    for line in lines:
        print("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())


def _text(name: str, value: object) -> str:
    if name == "run_id":
        return str(value)[:SHOWN_DIGITS]
    return "" if value is None else str(value).replace("\n", " ")


def _step(name: str, entry: JournalEntry | None, record: RunRecord, live: LiveStep | None) -> Mapping[str, Any]:
    if live is not None and (entry is None or live.state in ("waiting", "running")):
        return {"step": name, "state": live.state, "seconds": None, "outputs": "", "message": live.message}
    if entry is None:
        state = "open" if record.state == "running" else "not run"
        return {"step": name, "state": state, "seconds": None, "outputs": "", "message": ""}
    state = "failed" if entry.exit_code else "reused" if entry.reused else "done"
    outputs = " ".join(f"{output}={artifact_id[:12]}" for output, artifact_id in sorted(entry.outputs.items()))
    return {"step": name, "state": state, "seconds": entry.wall_seconds, "outputs": outputs, "message": entry.message}
