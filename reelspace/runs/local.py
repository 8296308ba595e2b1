"""Starts a pipeline by a child process, which is followed, goes on by itself, or hands the run over to another place and ends.

The library never imports kfp: `python -m pipelines.run` of the checkout does, in a process of its own.
"""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson
from rich.console import Console

from reelspace.core.artifacts import Artifact, open_artifact
from reelspace.core.errors import ReelspaceError, UserError
from reelspace.core.processes import child, stop
from reelspace.core.step_records import JournalEntry
from reelspace.core.store import open_store
from reelspace.runs.outcome import error_of_exit

CHECKOUT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class PipelineRun:
    """A finished run: its steps in order and their artifacts by name."""

    store_url: str
    steps: tuple[JournalEntry, ...]

    def artifact(self, name: str) -> Artifact:
        """Open an output of the run, e.g. "vectors"."""
        ids = {output: artifact_id for step in self.steps for output, artifact_id in step.outputs.items()}
        return open_artifact(open_store(self.store_url), ids[name])


def run_pipeline(
    out: Path,
    sections: Mapping[str, object],
    *,
    tables: Path | None,
    truth: Path | None = None,
    console: Console,
    pipeline: str = "train_and_publish",
    arguments: Mapping[str, str] | None = None,
) -> PipelineRun:
    """Run a pipeline on this machine and print one line per finished step.

    Args:
        out: holds store/, work/ and logs/.
        sections: settings per step.
        tables: directory of the input tables; None when `import_tables.paths` names each file.
        truth: root of a generated world, read by evaluate only.
        console: where progress goes; everything else goes to logs/pipeline.log.
        arguments: parameters of the pipeline that are neither places nor settings.

    Raises:
        UserError, TemporaryError, InternalError: as the failed step ended.
    """
    check_checkout()
    settings = out / "settings.json"
    settings.write_bytes(orjson.dumps(sections, option=orjson.OPT_INDENT_2))
    store_url = str((out / "store").resolve())
    given = [pipeline, "--store", store_url, "--work", str((out / "work").resolve()), "--settings", str(settings.resolve())]
    given += ["--tables", str(tables.resolve())] if tables else []
    given += ["--truth", str(truth.resolve())] if truth else []
    given += [f"--argument={name}={value}" for name, value in (arguments or {}).items()]
    return PipelineRun(store_url, follow_run(given, out / "logs" / "pipeline.log", console))


def follow_run(given: Sequence[str], log: Path, console: Console) -> tuple[JournalEntry, ...]:
    """Run `pipelines.run` with these arguments, print one line per finished step, and give what the steps did.

    Raises:
        UserError, TemporaryError, InternalError: as the failed step ended.
    """
    check_checkout()
    log.parent.mkdir(parents=True, exist_ok=True)
    environment = dict(os.environ) | {"REELSPACE_SUPERVISOR_PID": str(os.getpid()), "PYTHONUNBUFFERED": "1"}
    process = child(_command(given, log), cwd=CHECKOUT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        done = _follow(process, log, console)
    finally:
        code = stop(process) if process.poll() is None else process.returncode
        if process.stdout is not None:
            process.stdout.close()
    if not done:
        raise _failure(code, log)
    return done


def start_run(given: Sequence[str], log: Path) -> None:
    """Start `pipelines.run` with these arguments as a process that outlives this one."""
    check_checkout()
    log.parent.mkdir(parents=True, exist_ok=True)
    environment = {name: value for name, value in os.environ.items() if name != "REELSPACE_SUPERVISOR_PID"} | {"PYTHONUNBUFFERED": "1"}
    with log.open("wb") as output:
        subprocess.Popen(
            _command(given, log),
            cwd=CHECKOUT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )


def hand_over(given: Sequence[str], log: Path) -> None:
    """Let `pipelines.run` with these arguments hand a run over to a place that goes on by itself, and wait until it has.

    Raises:
        UserError, TemporaryError, InternalError: it was not taken; the log says more.
    """
    check_checkout()
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        command = [*_command(given, log), "--detach"]
        code = subprocess.run(command, cwd=CHECKOUT, stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=False).returncode
    if code:
        raise _failure(code, log)


def checkout_program(name: str, given: Sequence[str]) -> int:
    """Run a program of the checkout with our terminal as its own; gives its exit code."""
    check_checkout()
    return subprocess.run([sys.executable, name, *given], cwd=CHECKOUT, check=False).returncode


def check_checkout() -> None:
    """Refuse to run from an installed wheel, which has no pipelines."""
    if not (CHECKOUT / "pipelines" / "run.py").is_file():
        raise UserError(f"expected the checkout's pipelines/ folder beside the package at {CHECKOUT}; run from a checkout of reelspace")


def _command(given: Sequence[str], log: Path) -> list[str]:
    return [sys.executable, "-m", "pipelines.run", *given, f"--log={log.resolve()}"]


def _follow(process: "subprocess.Popen[bytes]", log_path: Path, console: Console) -> tuple[JournalEntry, ...]:
    """Copy the child's output to the log, show each finished step, give the journal once it is printed."""
    done: tuple[JournalEntry, ...] = ()
    with log_path.open("wb") as log, console.status("starting the pipeline") as status:
        for line in process.stdout or ():
            log.write(line)
            log.flush()
            event = _event(line)
            if event.get("event") == "progress":
                status.update(_progress_text(event))
            elif event.get("event") == "step" and event["exit_code"] == 0:
                console.print(f"  {event['step']:<20} {event['seconds']:6.1f} s{'  reused' if event['reused'] else ''}", highlight=False)
                status.update("...")
            elif event.get("event") == "pipeline_done":
                done = tuple(JournalEntry(**entry) for entry in orjson.loads(line)["steps"])
    process.wait()
    return done


def _progress_text(event: Mapping[str, object]) -> str:
    figures = "  ".join(
        f"{name} {value}" for name, value in event.items() if name not in ("at", "event", "what", "done", "total", "seconds")
    )
    return f"{event['what']}: {event['done']} of {event['total']}  {figures}"


def _event(line: bytes) -> dict[str, object]:
    text = line.strip()
    if not text.startswith(b'{"'):
        return {}
    try:
        event = orjson.loads(text)
    except orjson.JSONDecodeError:
        return {}
    return event if isinstance(event, dict) else {}


def _failure(code: int, log_path: Path) -> ReelspaceError:
    lines = log_path.read_text(errors="replace").strip().splitlines()
    last = next((line.strip() for line in reversed(lines) if line.strip()), "no output")
    return error_of_exit(code)(f"{last.removeprefix('error: ')} (log: {log_path})")
