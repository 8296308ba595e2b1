"""`reelspace pipeline`: run pipelines of the checkout, and see how runs stand."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Pipelines of the checkout: list, compile, run, and look after runs.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="Name of the pipeline; `reelspace pipeline list` shows what there is.")]
StoreUrl = Annotated[str, typer.Option("--store", envvar="REELSPACE_STORE", help="Directory or s3://bucket/prefix that holds all bytes.")]
Work = Annotated[Path, typer.Option(help="Directory for scratch files and logs.")]
Tables = Annotated[Path | None, typer.Option(help="Directory of the input tables.")]
Truth = Annotated[Path | None, typer.Option(help="Root of a generated world, read by evaluate only.")]
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


@app.command()
def run(
    name: Name,
    store: StoreUrl,
    work: Work,
    tables: Tables = None,
    truth: Truth = None,
    settings: SettingsFile = None,
    argument: Arguments = None,
) -> None:
    """Run a pipeline on this machine, one process per step, and follow it; steps whose key is known are reused."""
    _follow(_given(name, store, work, (tables, truth, settings), argument or []), work)


@app.command()
def submit(
    name: Name,
    store: StoreUrl,
    work: Work,
    tables: Tables = None,
    truth: Truth = None,
    settings: SettingsFile = None,
    argument: Arguments = None,
) -> None:
    """Start a pipeline on this machine and leave it to itself; prints the id of the run."""
    import uuid

    from reelspace.runs.local import start_run

    run_id = uuid.uuid4().hex
    start_run(
        [*_given(name, store, work, (tables, truth, settings), argument or []), f"--run-id={run_id}"], work / "logs" / f"{run_id}.log"
    )
    typer.echo(run_id)


@app.command()
def status(
    store: StoreUrl,
    run: Annotated[str | None, typer.Argument(help="Id of a run or its beginning, or `last`; none: all runs, newest first.")] = None,
    as_json: AsJson = False,
) -> None:
    """Tell how runs stand, or one of them step by step."""
    from reelspace.core.store import open_store
    from reelspace.runs.record import find_record, read_records, step_states
    from reelspace.runs.table import records_table, shown, steps_table

    opened = open_store(store)
    if run is None:
        shown(records_table(read_records(opened)), as_json=as_json)
    else:
        record = find_record(opened, run)
        shown(steps_table(record, step_states(opened, record)), as_json=as_json)


@app.command()
def logs(run: Run, store: StoreUrl, follow: Annotated[bool, typer.Option("--follow", help="Go on while the run does.")] = False) -> None:
    """Print the log of a run that was started on this machine."""
    from reelspace.core.store import open_store
    from reelspace.runs.control import read_log
    from reelspace.runs.record import find_record

    for line in read_log(find_record(open_store(store), run), follow=follow):
        typer.echo(line, nl=False)


@app.command()
def cancel(run: Run, store: StoreUrl) -> None:
    """End a run of this machine; what its steps finished is kept, and what a training saved."""
    from reelspace.core.store import open_store
    from reelspace.runs.control import cancel_run

    typer.echo(cancel_run(open_store(store), run).run_id)


@app.command()
def retry(run: Run, store: StoreUrl) -> None:
    """Run again what a run ran, and follow it; finished steps are reused."""
    from reelspace.core.store import open_store
    from reelspace.runs.control import arguments_again
    from reelspace.runs.record import find_record

    record = find_record(open_store(store), run)
    _follow(arguments_again(record), Path(next(one for one in record.arguments if one.startswith("--work=")).partition("=")[2]))


def _given(name: str, store: str, work: Path, places: tuple[Path | None, Path | None, Path | None], arguments: Sequence[str]) -> list[str]:
    given = [name, f"--store={store if store.startswith('s3://') else Path(store).resolve()}", f"--work={work.resolve()}"]
    named = zip(("tables", "truth", "settings"), places, strict=True)
    given += [f"--{option}={place.resolve()}" for option, place in named if place is not None]
    return [*given, *(f"--argument={one}" for one in arguments)]


def _follow(given: Sequence[str], work: Path) -> None:
    import uuid

    from rich.console import Console

    from reelspace.runs.local import follow_run

    run_id = uuid.uuid4().hex
    console = Console()
    console.print(f"run {run_id}", highlight=False)
    follow_run([*given, f"--run-id={run_id}"], work / "logs" / f"{run_id}.log", console)
