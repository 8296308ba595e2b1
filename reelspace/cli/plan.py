"""`reelspace plan`: what a training takes, before it is paid for. Rooms load inside commands."""

from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(help="Plan before paying: memory, time, money.", no_args_is_help=True)
_MACHINES = "machines."


@app.callback()
def plan() -> None:
    """Plan before paying: memory, time, money."""


@app.command()
def train(
    preset: Annotated[str | None, typer.Option(help="Preset of the model, e.g. 10b.")] = None,
    gpus: Annotated[int, typer.Option(min=1, help="GPUs, one process each.")] = 8,
    gpu_memory: Annotated[str, typer.Option(help="Memory of a GPU, e.g. 80GiB.")] = "80GiB",
    file: Annotated[
        Path | None, typer.Option("--settings", help="JSON file of pretraining's settings, e.g. examples/plans/10b-64.json.")
    ] = None,
    batch_size: Annotated[int | None, typer.Option(min=2, help="Works per optimizer step, over all GPUs.")] = None,
    zero_stage: Annotated[int | None, typer.Option(min=0, max=3, help="ZeRO stage.")] = None,
    offload: Annotated[str | None, typer.Option(help="none, optimizer or parameters.")] = None,
    precision: Annotated[str | None, typer.Option(help="fp32, bf16_autocast, bf16 or bf16_all.")] = None,
    micro_batch: Annotated[int | None, typer.Option(min=1, help="Works that a GPU works through at a time; divides its share.")] = None,
    checkpoint_activations: Annotated[
        bool | None,
        typer.Option("--checkpoint-activations/--keep-activations", help="Compute activations anew on the way back, or keep them."),
    ] = None,
    grad_cache: Annotated[
        bool | None, typer.Option("--grad-cache/--no-grad-cache", help="Contrast the whole batch although it comes in parts.")
    ] = None,
    samples: Annotated[int | None, typer.Option(min=1, help="Works of the data; the settings' steps if not given.")] = None,
    epochs: Annotated[float, typer.Option(help="Times each work is seen.")] = 1.0,
    throughput: Annotated[
        float | None, typer.Option(help="Measured TFLOP/s of a GPU; the peak times an assumed share if not given.")
    ] = None,
    price: Annotated[float | None, typer.Option(help="USD for a GPU hour.")] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="Override a setting of pretraining, or of the machines: machines.peak_tflops=989.")
    ] = None,
    sweep: Annotated[
        bool, typer.Option("--sweep", help="Search GPUs, stage, offload, parts and checkpointing for the cheapest that fits.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON array of plans for machines.")] = False,
) -> None:
    """Tell whether a training fits its GPUs, and its time, storage and money; nothing is allocated."""
    import orjson

    from reelspace.core.errors import UserError
    from reelspace.core.settings import read
    from reelspace.train.plan.request import gib, read_settings
    from reelspace.train.plan.settings import PlanSettings

    texts = overrides or []
    asked = {
        "gpus": gpus,
        "gpu_memory_gib": gib(gpu_memory),
        "samples": samples,
        "epochs": epochs,
        "throughput": throughput,
        "price": price,
    }
    machines = read(PlanSettings, asked, [text.removeprefix(_MACHINES) for text in texts if text.startswith(_MACHINES)])
    options: dict[str, Any] = {
        "model": preset,
        "batch_size": batch_size,
        "zero_stage": zero_stage,
        "offload": offload,
        "precision": precision,
        "checkpoint_activations": checkpoint_activations,
        "grad_cache": grad_cache,
    }
    settings = read_settings(file, options, [text for text in texts if not text.startswith(_MACHINES)], micro_batch, machines)

    # After the settings are read, so that a typo is told at once.
    from reelspace.train.plan.plan import make_plan, smallest_change
    from reelspace.train.plan.sweep import sweep as search
    from reelspace.train.plan.table import as_json as json_of
    from reelspace.train.plan.table import lines

    plans = search(settings, machines) if sweep else [make_plan(settings, machines)]
    if as_json:
        typer.echo(orjson.dumps(json_of(plans), option=orjson.OPT_INDENT_2))
    else:
        typer.echo("\n\n".join("\n".join(lines(found)) for found in plans))
    if not plans[0].fits:
        change = smallest_change(plans[0])
        advice = f"the smallest change that fits: {change}" if change else "no single change fits; --sweep searches all of them together"
        raise UserError(f"expected a plan of at most {machines.gpu_memory_gib:g} GiB for each GPU, got one that does not fit; {advice}")
