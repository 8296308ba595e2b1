"""Run a pipeline on this machine: kfp's local runner, one process per step, artifacts that carry manifests only.

`python -m pipelines.run NAME --store DIR --tables DIR --work DIR [--truth DIR] [--settings JSON-FILE] [--argument NAME=VALUE]...`

Bytes live in the store, so a second run reuses every step whose key is known. The last line printed is one JSON object with the steps;
exit codes are those of the step that failed.
"""

import argparse
import importlib
import json
import logging
import os
import shutil
import sys
import uuid
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipelines.compiling.build import parameters_of
from pipelines.compiling.definitions import pipeline_names
from pipelines.steps import steps_of
from reelspace.core.errors import InternalError, ReelspaceError, SettingError, TemporaryError, UserError
from reelspace.core.locks import locked_directory
from reelspace.core.processes import die_with
from reelspace.core.program import run_main
from reelspace.core.step_records import JournalEntry, read_journal
from reelspace.core.store import open_store
from reelspace.runs.record import RunRecord, write_record

KIND_OF_EXIT: dict[int, type[ReelspaceError]] = {2: UserError, 75: TemporaryError}


def main() -> None:
    """Parse the arguments, run, print the journal."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pipeline", choices=pipeline_names())
    parser.add_argument("--store", required=True, help="directory or s3://bucket/prefix that holds all bytes")
    parser.add_argument("--tables", default="", help="directory of the input tables; empty when import_tables.paths names each file")
    parser.add_argument("--truth", default="", help="root of a generated world, read by evaluate only")
    parser.add_argument("--settings", default="", help="JSON file: one section per step")
    parser.add_argument("--argument", action="append", default=[], metavar="NAME=VALUE", help="another parameter of the pipeline")
    parser.add_argument("--work", required=True, type=Path, help="directory for kfp's own files")
    parser.add_argument("--run-id", default="", help="32 hex digits that name the run; empty: drawn")
    parser.add_argument("--log", default="", help="where the output of this command goes, for the record of the run")
    args = parser.parse_args()
    pipeline = getattr(importlib.import_module(f"pipelines.{args.pipeline}"), args.pipeline)
    steps = steps_of(pipeline)
    given = {**read_places(args), **read_sections(args.settings, steps), **read_arguments(args.argument)}
    check_parameters(pipeline, given)
    if os.environ.get("REELSPACE_SUPERVISOR_PID"):
        die_with(int(os.environ["REELSPACE_SUPERVISOR_PID"]))
    args.work.mkdir(parents=True, exist_ok=True)
    with locked_directory(args.work), recorded(args, steps) as run_id:
        done = run_pipeline(args, pipeline, given, Run(run_id, steps))
        print(json.dumps({"event": "pipeline_done", "run": run_id, "steps": done}))


@dataclass(frozen=True, slots=True)
class Run:
    """One run: its id, and the steps that leave a word in its journal."""

    id: str
    steps: tuple[str, ...]


@contextmanager
def recorded(args: argparse.Namespace, steps: Sequence[str]) -> Iterator[str]:
    """Keep the record of a run while the block runs it; gives its id."""
    store = open_store(args.store)
    given = [f"--{name}={getattr(args, name)}" for name in ("store", "tables", "truth", "settings", "work")]
    arguments = [args.pipeline, *given, *(f"--argument={one}" for one in args.argument)]
    record = RunRecord.begin(args.run_id or uuid.uuid4().hex, args.pipeline, steps, arguments, args.log)
    write_record(store, record)
    try:
        yield record.run_id
    except ReelspaceError as error:
        write_record(store, record.ended(error.exit_code, str(error)))
        raise
    write_record(store, record.ended(0))


def read_places(args: argparse.Namespace) -> dict[str, str]:
    """Give the places of the input as parameters; those that are not given are left out."""
    tables, truth = (str(Path(place).resolve()) if place else "" for place in (args.tables, args.truth))
    return {name: place for name, place in (("tables_uri", tables), ("media_root", tables), ("truth_uri", truth)) if place}


def check_parameters(pipeline: Any, given: Collection[str]) -> None:
    """Refuse parameters that the pipeline has not, and the lack of those it must be given.

    Raises:
        SettingError: names them.
    """
    known = parameters_of(pipeline)
    if unknown := sorted(set(given) - set(known)):
        raise SettingError(f"the pipeline has no parameter {', '.join(unknown)}; it has {', '.join(sorted(known))}")
    # Places may be empty: tables_uri is, where import_tables.paths names each file.
    missing = [name for name, one in known.items() if name not in (*given, "tables_uri", "media_root") and not one.get("isOptional")]
    if missing:
        raise SettingError(f"the pipeline needs {', '.join(sorted(missing))}: give --argument NAME=VALUE")


def read_arguments(given: Sequence[str]) -> dict[str, str]:
    """Split NAME=VALUE."""
    for one in given:
        if "=" not in one:
            raise SettingError(f"--argument {one}: expected NAME=VALUE")
    return {name: value for name, _, value in (one.partition("=") for one in given)}


def read_sections(path: str, steps: Sequence[str]) -> dict[str, str]:
    """Read the settings file and give each step's section as JSON text."""
    sections = json.loads(Path(path).read_text()) if path else {}
    for name in sections:
        if name not in steps:
            raise SettingError(f"settings: expected one section per step, got {name!r}; steps are {', '.join(steps)}")
    return {f"{name}_settings": json.dumps(section) for name, section in sections.items()}


def run_pipeline(args: argparse.Namespace, pipeline: Any, parameters: Mapping[str, str], run: Run) -> list[dict[str, object]]:
    """Run every step in order; give the journal."""
    from kfp import local  # optional dependency of the `pipelines` extra

    store = open_store(args.store)
    scratch = args.work.resolve() / "tmp"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    os.environ |= {
        "REELSPACE_STORE": args.store,
        "REELSPACE_RUN_ID": run.id,
        "REELSPACE_SUPERVISOR_PID": str(os.getpid()),
        "TMPDIR": str(scratch),
    }
    warnings.filterwarnings("ignore", module="kfp")
    logging.getLogger().setLevel(logging.WARNING)
    local.init(runner=local.SubprocessRunner(use_venv=False), pipeline_root=str(args.work / "kfp"), raise_on_error=True)
    empty = {name: "" for name in ("tables_uri", "media_root") if name in parameters_of(pipeline)}
    try:
        pipeline(**empty | parameters)
    except RuntimeError as error:
        raise failure(read_journal(store, run.id), run.steps, store.url) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        shutil.rmtree(args.work / "kfp", ignore_errors=True)
    entries = read_journal(store, run.id)
    return [asdict(entries[step]) for step in run.steps]


def failure(entries: dict[str, JournalEntry], steps: Sequence[str], store_url: str) -> ReelspaceError:
    """Turn the failed step's journal entry into its error; kfp itself only says that a task failed."""
    for entry in entries.values():
        if entry.exit_code:
            return KIND_OF_EXIT.get(entry.exit_code, InternalError)(f"step {entry.step}: {entry.message}")
    killed = next(step for step in steps if step not in entries)
    return TemporaryError(f"step {killed} was ended from outside and left no word; run again with the same store {store_url} to resume")


if __name__ == "__main__":
    sys.exit(run_main(main))
