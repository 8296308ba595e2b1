"""The `reelspace` command: one thin file per command group, heavy rooms imported inside the commands."""

import sys

import typer

from reelspace.cli import demo, evaluate, explain, finetune, journey, pipeline, plan, search, serve, signals
from reelspace.core.program import run_main

app = typer.Typer(
    name="reelspace",
    help="Short videos and their crowd in one embedding space.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
)
app.add_typer(demo.app, name="demo")
app.add_typer(signals.app, name="signals")
app.add_typer(evaluate.app, name="evaluate")
app.add_typer(plan.app, name="plan")
app.add_typer(pipeline.app, name="pipeline")
app.add_typer(search.app, name="search")
app.add_typer(serve.app, name="serve")
app.command("run")(journey.run)
app.command("finetune")(finetune.finetune)
app.command("explain")(explain.explain)


def main() -> None:
    """Run the command line; errors of the tree become one line and their exit code."""
    sys.exit(run_main(lambda: app(standalone_mode=True)))
