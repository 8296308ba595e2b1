"""Run a pipeline: by kfp's local runner, one process or container per step, or in a place that goes on by itself, which is followed.

`python -m pipelines.run NAME --store DIR --tables DIR --work DIR [--truth DIR] [--settings JSON-FILE] [--argument NAME=VALUE]...
[--where process|podman|argo|kfp] [--place JSON-FILE] [--detach]`

Artifacts carry manifests only, bytes live in the store, so a second run reuses every step whose key is known. The output is the same in
every place: the JSON lines of the steps, and a last one with what they did; exit codes are those of the step that failed.
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
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipelines.compiling.build import parameters_of
from pipelines.compiling.definitions import pipeline_names
from pipelines.places import Run, container_module, remote_module
from pipelines.steps import steps_of
from reelspace.core.errors import ArtifactMissing, ReelspaceError, SettingError, TemporaryError
from reelspace.core.locks import locked_directory
from reelspace.core.processes import die_with
from reelspace.core.program import run_main
from reelspace.core.step_records import read_journal
from reelspace.core.store import Store, open_store
from reelspace.runs.control import read_log, settled
from reelspace.runs.outcome import error_of_exit, failure
from reelspace.runs.record import EXIT_CANCELLED, RunRecord, read_record, write_record
from reelspace.runs.where import REMOTE, WHERE

PLACES = ("tables_uri", "media_root")
"""Parameters that may be left out: tables_uri is, where import_tables.paths names each file."""


def main() -> None:
    """Parse the arguments, run, print the journal."""
    args = _parser().parse_args()
    pipeline = getattr(importlib.import_module(f"pipelines.{args.pipeline}"), args.pipeline)
    steps = steps_of(pipeline)
    given = {**read_places(args), **read_sections(args.settings, steps), **read_arguments(args.argument)}
    check_parameters(pipeline, given)
    if os.environ.get("REELSPACE_SUPERVISOR_PID"):
        die_with(int(os.environ["REELSPACE_SUPERVISOR_PID"]))
    empty = {name: "" for name in PLACES if name in parameters_of(pipeline)}
    run, store = Run(_record(args, steps), empty | given, args.store, args.work), open_store(args.store)
    args.work.mkdir(parents=True, exist_ok=True)
    with recorded(store, run.record):
        if args.where in REMOTE:
            remote = run_there(run, store, detach=args.detach)
            if args.detach:
                print(json.dumps({"event": "pipeline_started", "run": run.record.run_id, "remote": remote.remote}))
                return
        else:
            with locked_directory(args.work):
                run_here(run, pipeline, store)
    entries = read_journal(store, run.record.run_id)
    print(json.dumps({"event": "pipeline_done", "run": run.record.run_id, "steps": [asdict(entries[step]) for step in steps]}))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pipeline", choices=pipeline_names())
    parser.add_argument("--store", required=True, help="directory or s3://bucket/prefix that holds all bytes")
    parser.add_argument("--tables", default="", help="directory of the input tables; empty when import_tables.paths names each file")
    parser.add_argument("--truth", default="", help="root of a generated world, read by evaluate only")
    parser.add_argument("--settings", default="", help="JSON file: one section per step")
    parser.add_argument("--argument", action="append", default=[], metavar="NAME=VALUE", help="another parameter of the pipeline")
    parser.add_argument("--work", required=True, type=Path, help="directory for kfp's own files")
    parser.add_argument("--where", choices=WHERE, default="process", help="what runs the steps (default: processes of this machine)")
    parser.add_argument("--place", default="", help="JSON file: settings of that place")
    parser.add_argument("--detach", action="store_true", help="end once the run is handed over to a place that goes on by itself")
    parser.add_argument("--run-id", default="", help="32 hex digits that name the run; empty: drawn")
    parser.add_argument("--log", default="", help="where the output of this command goes, for the record of the run")
    return parser


def _record(args: argparse.Namespace, steps: Sequence[str]) -> RunRecord:
    if args.detach and args.where not in REMOTE:
        raise SettingError(f"--detach: expected a place that goes on by itself ({', '.join(sorted(REMOTE))}), got {args.where}")
    given = [f"--{name}={getattr(args, name)}" for name in ("store", "tables", "truth", "settings", "work", "where", "place")]
    arguments = [args.pipeline, *given, *(f"--argument={one}" for one in args.argument)]
    record = RunRecord.begin(args.run_id or uuid.uuid4().hex, args.pipeline, steps, arguments, args.log)
    return record.at(args.where, read_file(args.place, "--place"))


@contextmanager
def recorded(store: Store, record: RunRecord) -> Iterator[None]:
    """Keep the record of a run while the block runs it, or hands it over; an end that is written already stays."""
    write_record(store, record)
    try:
        yield
    except ReelspaceError as error:
        known = read_record(store, record.run_id)
        if known.exit_code is None:
            write_record(store, known.ended(error.exit_code, str(error)))
        raise
    known = read_record(store, record.run_id)
    if not known.is_remote:
        write_record(store, known.ended(0))


def read_file(path: str, what: str) -> str:
    """Read a file of settings; "" where none is named.

    Raises:
        ArtifactMissing: it is not there.
    """
    if path and not Path(path).is_file():
        raise ArtifactMissing(f"{what} {path}: no such file")
    return Path(path).read_text() if path else ""


def read_places(args: argparse.Namespace) -> dict[str, str]:
    """Give the places of the input as parameters; those that are not given are left out, those of other machines stay as they are."""
    is_here = args.where not in REMOTE
    tables, truth = (str(Path(one).resolve()) if one and is_here and "://" not in one else one for one in (args.tables, args.truth))
    return {name: place for name, place in (("tables_uri", tables), ("media_root", tables), ("truth_uri", truth)) if place}


def check_parameters(pipeline: Any, given: Collection[str]) -> None:
    """Refuse parameters that the pipeline has not, and the lack of those it must be given.

    Raises:
        SettingError: names them.
    """
    known = parameters_of(pipeline)
    if unknown := sorted(set(given) - set(known)):
        raise SettingError(f"the pipeline has no parameter {', '.join(unknown)}; it has {', '.join(sorted(known))}")
    missing = [name for name, one in known.items() if name not in (*given, *PLACES) and not one.get("isOptional")]
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
    sections = json.loads(read_file(path, "--settings") or "{}")
    for name in sections:
        if name not in steps:
            raise SettingError(f"settings: expected one section per step, got {name!r}; steps are {', '.join(steps)}")
    return {f"{name}_settings": json.dumps(section) for name, section in sections.items()}


def run_here(run: Run, pipeline: Any, store: Store) -> None:
    """Run every step in order, as processes or containers of this machine.

    Raises:
        ReelspaceError: as the failed step ended.
    """
    from kfp import local  # optional dependency of the `pipelines` extra

    scratch = run.work.resolve() / "tmp"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    os.environ |= {**run.environment, "REELSPACE_SUPERVISOR_PID": str(os.getpid()), "TMPDIR": str(scratch)}
    warnings.filterwarnings("ignore", module="kfp")
    logging.getLogger().setLevel(logging.WARNING)
    local.init(runner=local.SubprocessRunner(use_venv=False), pipeline_root=str(run.work / "kfp"), raise_on_error=True)
    try:
        with container_module().containers(run) if run.record.where == "podman" else nullcontext():
            pipeline(**run.parameters)
    except RuntimeError as error:
        raise failure(read_journal(store, run.record.run_id), run.record.steps, store.url) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        shutil.rmtree(run.work / "kfp", ignore_errors=True)


def run_there(run: Run, store: Store, *, detach: bool) -> RunRecord:
    """Hand a run over to its place and follow it to its end; give its record.

    Raises:
        ReelspaceError: as the failed step ended; TemporaryError when the run was cancelled.
    """
    record = run.record.known_as(remote_module(run.record.where).start(run))
    write_record(store, record)
    if detach:
        return record
    told = set()
    for line in read_log(record, follow=True):
        sys.stdout.write(line)
        sys.stdout.flush()
        told |= {step for step in record.steps if line.startswith('{"') and f'"step": "{step}"' in line}
    entries = read_journal(store, record.run_id)
    for step in record.steps:
        # Its pod, and its log with it, may have gone before it was read.
        if step in entries and step not in told:
            print(json.dumps({"event": "step", "seconds": entries[step].wall_seconds, **asdict(entries[step])}))
    ended = settled(store, record)
    if ended.exit_code == EXIT_CANCELLED:
        raise TemporaryError(f"run {record.run_id} was cancelled; `reelspace pipeline retry {record.run_id}` goes on")
    if ended.exit_code:
        raise error_of_exit(ended.exit_code)(ended.message)
    return ended


if __name__ == "__main__":
    sys.exit(run_main(main))
