"""`reelspace demo`: the generated micro platform and the journey over it. Rooms load inside commands so that help stays fast."""

from datetime import date
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="The generated short-video platform and the journey over it.", no_args_is_help=True)

Seed = Annotated[int, typer.Option(min=0, help="Seed of the generated world.")]
Out = Annotated[Path, typer.Option(help="Output directory.")]


@app.command()
def generate(
    out: Out,
    preset: Annotated[str, typer.Option(help="demo (600 works), daily (720), apps (3,000) or tables (no media).")] = "demo",
    seed: Seed = 0,
    num_works: Annotated[int | None, typer.Option(min=1, help="Another number of works.")] = None,
    media: Annotated[bool, typer.Option(help="Draw the media files too.")] = True,
) -> None:
    """Generate tables, media and the truth behind them."""
    from reelspace.demo.generate import generate as generate_world
    from reelspace.demo.presets import world_preset

    settings = world_preset(preset, seed=seed, num_works=num_works)
    if not media:
        settings = settings.model_copy(update={"parts": settings.parts - {"media"}})
    generate_world(settings, out)


@app.command()
def stream(
    world: Annotated[Path, typer.Option(help="A world written by `demo generate`.")],
    out: Out,
    first: Annotated[str, typer.Option("--from", help="First day, YYYY-MM-DD.")],
    last: Annotated[str, typer.Option("--to", help="Last day, YYYY-MM-DD.")],
) -> None:
    """Release the days of a world one by one into another directory."""
    from reelspace.demo.stream import stream as stream_world

    stream_world(world, out, date.fromisoformat(first), date.fromisoformat(last))


@app.command()
def run(
    out: Out = Path("demo-out"),
    preset: Annotated[str, typer.Option(help="Journey preset.")] = "demo",
    seed: Seed = 0,
) -> None:
    """Walk the whole journey: generate, train, distil, evaluate, export, index, serve, ask, measure."""
    from reelspace.demo.journey import run_demo

    run_demo(out, preset=preset, seed=seed)


@app.command()
def day(out: Out = Path("demo-day"), seed: Seed = 0) -> None:
    """Train on the days before, serve, let one more day with two new topics arrive, and update what serves."""
    from reelspace.demo.daily import run_daily

    run_daily(out, seed=seed)


@app.command()
def serve(out: Out = Path("demo-out")) -> None:
    """Keep Triton and the gateway of a finished journey up until Ctrl-C."""
    from reelspace.demo.servers import serve_until_interrupted

    serve_until_interrupted(out)
