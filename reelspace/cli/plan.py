"""`reelspace plan`: what a training or a search cluster takes, before it is paid for. Rooms load inside commands."""

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


@app.command()
def search(
    rows: Annotated[str | None, typer.Option(help="Rows of the collection, e.g. 1e9; needed unless --settings has them.")] = None,
    dimension: Annotated[int | None, typer.Option(min=1, help="Numbers of a vector.")] = None,
    recall: Annotated[float | None, typer.Option(help="Share of the 10 nearest that must be found.")] = None,
    rate: Annotated[float | None, typer.Option(help="Queries a second.")] = None,
    writes: Annotated[float | None, typer.Option(help="Rows written a second.")] = None,
    metric: Annotated[str | None, typer.Option(help="cosine, dot or euclid.")] = None,
    memory: Annotated[str | None, typer.Option(help="Memory of a machine without GPU, e.g. 128GiB.")] = None,
    gpu_memory: Annotated[str | None, typer.Option(help="Memory of a GPU, e.g. 24GB.")] = None,
    shards: Annotated[int | None, typer.Option(min=1, help="Shards; one for each machine that memory needs if not given.")] = None,
    replicas: Annotated[int | None, typer.Option(min=1, help="Least copies of every shard.")] = None,
    file: Annotated[
        Path | None, typer.Option("--settings", help="JSON file of the plan's settings, e.g. examples/plans/talk-search.json.")
    ] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="Override a setting of the plan: margin=0.3, gpu.usd_per_hour=0.6.")
    ] = None,
    show: Annotated[list[str] | None, typer.Option("--show", help="Show the arithmetic of this index type, too, e.g. ivf_pq64.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object for machines.")] = False,
    values: Annotated[
        Path | None, typer.Option("--values", help="Write values of the chart vector-search into this file, which must not exist.")
    ] = None,
) -> None:
    """Tell the index types, machines, requests and money of a search cluster, with the arithmetic."""
    import orjson

    from reelspace.core.errors import UserError
    from reelspace.search.planning.chart_values import chart_values, write_new
    from reelspace.search.planning.plan import make_plan
    from reelspace.search.planning.request import gb, kinds, read_settings, whole
    from reelspace.search.planning.table import as_json as json_of
    from reelspace.search.planning.table import lines

    options: dict[str, object] = {
        "rows": None if rows is None else whole("--rows", rows),
        "dimension": dimension,
        "recall": recall,
        "rate": rate,
        "writes": writes,
        "metric": metric,
        "shards": shards,
        "replicas": replicas,
        "cpu.memory_gb": None if memory is None else gb("--memory", memory),
        "gpu.memory_gb": None if gpu_memory is None else gb("--gpu-memory", gpu_memory),
    }
    shown = kinds("--show", show or [])
    plan = make_plan(read_settings(file, options, overrides or []))
    typer.echo(orjson.dumps(json_of(plan), option=orjson.OPT_INDENT_2) if as_json else "\n".join(lines(plan, shown)))
    if plan.best is None:
        why = "; ".join(f"{name}: {why}" for name, why in plan.impossible.items())
        raise UserError(f"expected an index type that reaches a recall of {plan.settings.recall:g}, none does or fits: {why}")
    if values is not None:
        write_new(values, orjson.dumps(chart_values(plan), option=orjson.OPT_INDENT_2) + b"\n")
        typer.echo(f"\nnext: helm install search charts/vector-search --values {values}", err=as_json)
