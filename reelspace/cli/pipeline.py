"""`reelspace pipeline`: run pipelines of the checkout, and see how runs stand."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from reelspace.runs.where import REMOTE, Where

app = typer.Typer(help="Pipelines of the checkout: list, compile, run, and look after runs.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="Name of the pipeline; `reelspace pipeline list` shows what there is.")]
StoreUrl = Annotated[str, typer.Option("--store", envvar="REELSPACE_STORE", help="Directory or s3://bucket/prefix that holds all bytes.")]
Work = Annotated[Path, typer.Option(help="Directory for scratch files and logs.")]
WherePlace = Annotated[Where, typer.Option(help="What runs the steps: processes or containers of this machine, Argo, Kubeflow Pipelines.")]
PlaceFile = Annotated[Path | None, typer.Option("--place", help="JSON file: settings of that place.")]
Tables = Annotated[str | None, typer.Option(help="Directory of the input tables, as the steps see it, or s3://bucket/prefix.")]
Truth = Annotated[str | None, typer.Option(help="Root of a generated world, as the steps see it; read by evaluate only.")]
SettingsFile = Annotated[Path | None, typer.Option("--settings", help="JSON file: one section per step.")]
Arguments = Annotated[list[str] | None, typer.Option("--argument", help="NAME=VALUE of another parameter of the pipeline.")]
Run = Annotated[str, typer.Argument(help="Id of a run or its beginning; `last` is the newest.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("list")
def list_pipelines() -> None:
    """Show the pipelines with their parameters."""
    from reelspace.runs.local import checkout_program

    raise typer.Exit(checkout_program("kfp_compile.py", ["list"]))


@app.command("compile", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def compile_pipelines(context: typer.Context) -> None:
    """Compile pipelines; takes what `python kfp_compile.py` takes."""
    from reelspace.runs.local import checkout_program

    raise typer.Exit(checkout_program("kfp_compile.py", context.args))


@dataclass(frozen=True, slots=True)
class _Asked:
    """What to run, with what and where: arguments of `pipelines.run`, and the folder of the logs."""

    given: tuple[str, ...]
    work: Path
    where: Where


def _with_options(command: Callable[[_Asked], None]) -> Callable[..., None]:
    """Give a command the options that say what to run, with what and where."""

    def asking(
        name: Name,
        store: StoreUrl,
        work: Work,
        where: WherePlace = "process",
        place: PlaceFile = None,
        tables: Tables = None,
        truth: Truth = None,
        settings: SettingsFile = None,
        argument: Arguments = None,
    ) -> None:
        files = {"settings": settings, "place": place}
        given = [name, f"--store={_seen(store, 'process')}", f"--work={work.resolve()}", f"--where={where}"]
        given += [f"--{option}={file.resolve()}" for option, file in files.items() if file is not None]
        given += [f"--{option}={_seen(root, where)}" for option, root in (("tables", tables), ("truth", truth)) if root is not None]
        command(_Asked((*given, *(f"--argument={one}" for one in argument or [])), work, where))

    # By hand: a wrapper that says what it wraps is taken for that by typer.
    asking.__name__, asking.__doc__ = command.__name__, command.__doc__
    return asking


@app.command()
@_with_options
def run(asked: _Asked) -> None:
    """Run a pipeline and follow it; steps whose key is known are reused."""
    _follow(asked.given, asked.work)


@app.command()
@_with_options
def submit(asked: _Asked) -> None:
    """Start a pipeline and leave it to itself; prints the id of the run."""
    import uuid

    from reelspace.runs.local import hand_over, start_run

    run_id = uuid.uuid4().hex
    start = hand_over if asked.where in REMOTE else start_run
    start([*asked.given, f"--run-id={run_id}"], asked.work / "logs" / f"{run_id}.log")
    typer.echo(run_id)


@app.command()
def status(
    store: StoreUrl,
    run: Annotated[str | None, typer.Argument(help="Id of a run or its beginning, or `last`; none: all runs, newest first.")] = None,
    as_json: AsJson = False,
) -> None:
    """Tell how runs stand, or one of them step by step."""
    from reelspace.core.store import open_store
    from reelspace.runs.control import live_steps, settled, settled_all
    from reelspace.runs.record import find_record, read_records, step_states
    from reelspace.runs.table import records_table, shown, steps_table

    opened = open_store(store)
    if run is None:
        shown(records_table(settled_all(opened, read_records(opened))), as_json=as_json)
    else:
        record = settled(opened, find_record(opened, run))
        shown(steps_table(record, step_states(opened, record), live_steps(record)), as_json=as_json)


@app.command()
def logs(run: Run, store: StoreUrl, follow: Annotated[bool, typer.Option("--follow", help="Go on while the run does.")] = False) -> None:
    """Print the log of a run: of one that was started on this machine, or that another place runs."""
    from reelspace.core.store import open_store
    from reelspace.runs.control import read_log
    from reelspace.runs.record import find_record

    for line in read_log(find_record(open_store(store), run), follow=follow):
        typer.echo(line, nl=False)


@app.command()
def cancel(run: Run, store: StoreUrl) -> None:
    """End a run; what its steps finished is kept, and what a training saved."""
    from reelspace.core.store import open_store
    from reelspace.runs.control import cancel_run

    typer.echo(cancel_run(open_store(store), run).run_id)


@app.command()
def retry(run: Run, store: StoreUrl) -> None:
    """Run again what a run ran, and follow it; finished steps are reused."""
    from reelspace.core.store import open_store
    from reelspace.runs.control import arguments_again, retry_there, settled
    from reelspace.runs.record import find_record

    opened = open_store(store)
    record = settled(opened, find_record(opened, run))
    given = arguments_again(record)
    if again := retry_there(opened, record):
        typer.echo(f"run {again.run_id}")
        logs(again.run_id, store, follow=True)
        return
    _follow(given, Path(next(one for one in record.arguments if one.startswith("--work=")).partition("=")[2]))


def _seen(root: str, where: Where) -> str:
    """Give a directory as the steps see it: on this machine from the root on, elsewhere as it was said."""
    return root if where in REMOTE or "://" in root else str(Path(root).resolve())


def _follow(given: Sequence[str], work: Path) -> None:
    import uuid

    from rich.console import Console

    from reelspace.runs.local import follow_run

    run_id = uuid.uuid4().hex
    console = Console()
    console.print(f"run {run_id}", highlight=False)
    follow_run([*given, f"--run-id={run_id}"], work / "logs" / f"{run_id}.log", console)
