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
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import ModuleType

from reelspace.core.errors import InternalError, ReelspaceError, SettingError, TemporaryError, UserError
from reelspace.core.locks import locked_directory
from reelspace.core.processes import die_with
from reelspace.core.program import run_main
from reelspace.core.step_records import JournalEntry, read_journal
from reelspace.core.store import open_store
from reelspace.runs.record import RunRecord, write_record

PIPELINES = ("train_and_publish", "daily_update")
KIND_OF_EXIT: dict[int, type[ReelspaceError]] = {2: UserError, 75: TemporaryError}


def main() -> None:
    """Parse the arguments, run, print the journal."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pipeline", choices=PIPELINES)
    parser.add_argument("--store", required=True, help="directory or s3://bucket/prefix that holds all bytes")
    parser.add_argument("--tables", default="", help="directory of the input tables; empty when import_tables.paths names each file")
    parser.add_argument("--truth", default="", help="root of a generated world, read by evaluate only")
    parser.add_argument("--settings", default="", help="JSON file: one section per step")
    parser.add_argument("--argument", action="append", default=[], metavar="NAME=VALUE", help="another parameter of the pipeline")
    parser.add_argument("--work", required=True, type=Path, help="directory for kfp's own files")
    parser.add_argument("--run-id", default="", help="32 hex digits that name the run; empty: drawn")
    parser.add_argument("--log", default="", help="where the output of this command goes, for the record of the run")
    args = parser.parse_args()
    module = importlib.import_module(f"pipelines.{args.pipeline}")
    sections = read_sections(args.settings, module.STEPS)
    others = read_arguments(args.argument)
    if os.environ.get("REELSPACE_SUPERVISOR_PID"):
        die_with(int(os.environ["REELSPACE_SUPERVISOR_PID"]))
    args.work.mkdir(parents=True, exist_ok=True)
    with locked_directory(args.work), recorded(args, module.STEPS) as run_id:
        print(json.dumps({"event": "pipeline_done", "run": run_id, "steps": run_pipeline(args, module, {**sections, **others}, run_id)}))


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


def run_pipeline(args: argparse.Namespace, module: ModuleType, parameters: dict[str, str], run_id: str) -> list[dict[str, object]]:
    """Run every step in order; give the journal."""
    from kfp import local  # optional dependency of the `pipelines` extra

    store = open_store(args.store)
    scratch = args.work.resolve() / "tmp"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    os.environ |= {
        "REELSPACE_STORE": args.store,
        "REELSPACE_RUN_ID": run_id,
        "REELSPACE_SUPERVISOR_PID": str(os.getpid()),
        "TMPDIR": str(scratch),
    }
    warnings.filterwarnings("ignore", module="kfp")
    logging.getLogger().setLevel(logging.WARNING)
    pipeline = getattr(module, args.pipeline)
    local.init(runner=local.SubprocessRunner(use_venv=False), pipeline_root=str(args.work / "kfp"), raise_on_error=True)
    tables = str(Path(args.tables).resolve()) if args.tables else ""
    try:
        pipeline(tables_uri=tables, media_root=tables, truth_uri=str(Path(args.truth).resolve()) if args.truth else "", **parameters)
    except RuntimeError as error:
        raise failure(read_journal(store, run_id), module.STEPS, store.url) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        shutil.rmtree(args.work / "kfp", ignore_errors=True)
    entries = read_journal(store, run_id)
    return [asdict(entries[step]) for step in module.STEPS]


def failure(entries: dict[str, JournalEntry], steps: Sequence[str], store_url: str) -> ReelspaceError:
    """Turn the failed step's journal entry into its error; kfp itself only says that a task failed."""
    for entry in entries.values():
        if entry.exit_code:
            return KIND_OF_EXIT.get(entry.exit_code, InternalError)(f"step {entry.step}: {entry.message}")
    killed = next(step for step in steps if step not in entries)
    return TemporaryError(f"step {killed} was ended from outside and left no word; run again with the same store {store_url} to resume")


if __name__ == "__main__":
    sys.exit(run_main(main))
