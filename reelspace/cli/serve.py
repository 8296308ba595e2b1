"""`reelspace serve`: keep a journey's servers up, and change which versions serve. Rooms load inside commands so that help stays fast."""

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reelspace.cli import serve_doctor
from reelspace.cli.triton_options import Backends, DrainS, GrpcPort, Host, HttpPort, LoadS, MetricsPort, ProbePort

if TYPE_CHECKING:
    from reelspace.serving.rollout.promoter import World
    from reelspace.serving.rollout.state import Rollout

app = typer.Typer(invoke_without_command=True)
app.command("doctor")(serve_doctor.doctor)

Model = Annotated[str, typer.Argument(help="Name of the model, e.g. text_encoder.")]
StoreUrl = Annotated[str, typer.Option("--store", envvar="REELSPACE_STORE", help="Directory or s3://bucket/prefix that holds all bytes.")]
Tritons = Annotated[list[str], typer.Option("--triton", help="host:port of Triton's gRPC; give it again for each replica.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object for machines.")]


@app.callback()
def serve(
    context: typer.Context,
    out: Annotated[Path | None, typer.Option(help="Output directory of `reelspace run` or `reelspace demo run`.")] = None,
) -> None:
    """Keep Triton and the gateway of a finished journey up until Ctrl-C; or one of the commands."""
    if context.invoked_subcommand is not None:
        return
    from reelspace.core.errors import UserError
    from reelspace.demo.servers import serve_until_interrupted

    if out is None:
        raise UserError("expected --out DIR, or a command; `reelspace serve --help` lists them")
    serve_until_interrupted(out)


@app.command()
def encoders(
    store: StoreUrl,
    host: Host = "127.0.0.1",
    http_port: HttpPort = 8000,
    grpc_port: GrpcPort = 8001,
    metrics_port: MetricsPort = 8002,
    port: ProbePort = 8003,
    load_s: LoadS = 600.0,
    drain_s: DrainS = 0.0,
    backends: Backends = None,
) -> None:
    """Run a Triton server with the encoders that are promoted until Ctrl-C or SIGTERM; its probes are real inferences."""
    from reelspace.gateway.triton_app import TritonPlan, run_triton
    from reelspace.serving.runtime import BACKENDS
    from reelspace.serving.triton import Ports

    ports = Ports(http_port, grpc_port, metrics_port)
    run_triton(TritonPlan(store, "encoders", None, host, port, ports, backends or BACKENDS, load_s, drain_s))


@app.command()
def publish(
    artifact: Annotated[str, typer.Argument(help="Id of an exported repository, as `export` gives it.")],
    store: StoreUrl,
    as_json: AsJson = False,
) -> None:
    """Copy exported models into the store's repository as the next version of each, for `promote`; what serves stays."""
    import orjson

    from reelspace.core.artifacts import open_artifact
    from reelspace.core.store import open_store
    from reelspace.search.scheduling.promoted_encoders import PromotedEncoders
    from reelspace.search.scheduling.repository import publish_encoders
    from reelspace.serving.rollout.version_folders import VersionFolders

    opened = open_store(store)
    serving = PromotedEncoders(opened).versions()
    versions = publish_encoders(opened, open_artifact(opened, artifact), serving)
    for model in versions.keys() & serving.keys():
        # Nothing is known of the new version yet: a Triton that starts is not to load it.
        VersionFolders(opened, model).name([serving[model]])
    typer.echo(orjson.dumps(versions) if as_json else "\n".join(f"{model} {version}" for model, version in sorted(versions.items())))


@app.command()
def promote(
    model: Model,
    version: Annotated[int, typer.Argument(min=1, help="Version in the store's repository that is to serve.")],
    store: StoreUrl,
    triton: Tritons,
    canary: Annotated[str, typer.Option(help="Largest share of requests that it gets before all, at most 10%.")] = "10%",
    settings: Annotated[list[str] | None, typer.Option("--set", help="Override a gate, e.g. min_agreement=0.95.")] = None,
    as_json: AsJson = False,
) -> None:
    """Load a version beside the one that serves, compare them on live requests, and flip; or roll back, and end with 2.

    Where a promoter was killed, the same command goes on.
    """
    import orjson

    from reelspace.core.settings import read
    from reelspace.serving.rollout.gates import Gates
    from reelspace.serving.rollout.promote import Order, line
    from reelspace.serving.rollout.promote import promote as promote_version
    from reelspace.serving.rollout.promoter import Pace

    order = Order(model, version, _share(canary), read(Gates, {}, settings or []))
    with _world(store, triton) as world:
        ended = promote_version(world, order, Pace(), _tell)
    typer.echo(orjson.dumps(ended.model_dump(mode="json")) if as_json else line(ended))


@app.command()
def rollback(model: Model, store: StoreUrl, triton: Tritons, as_json: AsJson = False) -> None:
    """Have the version serve that served before the newest rollout, whether that is under way or done."""
    import orjson

    from reelspace.serving.rollout.promote import line, roll_back
    from reelspace.serving.rollout.promoter import Pace

    with _world(store, triton) as world:
        ended = roll_back(world, model, Pace(), _tell)
    typer.echo(orjson.dumps(ended.model_dump(mode="json")) if as_json else line(ended))


@app.command()
def status(
    store: StoreUrl,
    model: Annotated[str | None, typer.Argument(help="Name of the model; every one that was rolled out if not given.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show the newest rollout of models: its stage, what gateways saw of it, and why it was rolled back."""
    import orjson

    from reelspace.core.errors import UserError
    from reelspace.core.store import open_store
    from reelspace.serving.rollout.promote import line, rolled_out_models
    from reelspace.serving.rollout.promote import status as status_of

    opened = open_store(store)
    found = [one for one in (status_of(opened, name) for name in ([model] if model else rolled_out_models(opened))) if one is not None]
    if model and not found:
        raise UserError(f"there was never a rollout of {model} in {store}")
    if as_json:
        typer.echo(orjson.dumps([one.as_json() for one in found]))
        return
    typer.echo("\n".join(line(one.rollout, one.evidence) for one in found) or "no rollouts")


@contextmanager
def _world(store: str, tritons: list[str]) -> Iterator["World"]:
    from reelspace.core.errors import UserError
    from reelspace.core.store import open_store
    from reelspace.search.scheduling.promoted_encoders import PromotedEncoders
    from reelspace.serving.rollout.model_control import GrpcControl
    from reelspace.serving.rollout.promoter import World

    for address in tritons:
        if not re.fullmatch(r"[A-Za-z0-9.-]+:[0-9]{1,5}", address):
            raise UserError(f"--triton: expected host:port of Triton's gRPC, got {address!r:.80}")
    opened = open_store(store)
    with ExitStack() as stack:
        yield World(opened, [stack.enter_context(GrpcControl(address)) for address in tritons], PromotedEncoders(opened))


def _share(text: str) -> float:
    from reelspace.core.errors import UserError
    from reelspace.serving.rollout.state import MAX_CANARY

    try:
        share = float(text.removesuffix("%")) / 100 if text.endswith("%") else float(text)
    except ValueError:
        share = 0.0
    if not 0 < share <= MAX_CANARY:
        raise UserError(f"--canary: expected more than 0 and at most {MAX_CANARY:.0%}, got {text!r:.40}")
    return share


def _tell(rollout: "Rollout", waits_for: str) -> None:
    from reelspace.core.log import log

    log("rollout", model=rollout.model, version=rollout.candidate, stage=rollout.stage, reason=rollout.reason, waits_for=waits_for)
