"""`reelspace serve doctor`: is this installation of serving sound. Rooms load inside the command so that help stays fast."""

from pathlib import Path
from typing import Annotated

import typer


def doctor(
    store: Annotated[
        str | None, typer.Option(envvar="REELSPACE_STORE", help="Directory or s3://bucket/prefix with what was promoted.")
    ] = None,
    triton: Annotated[str | None, typer.Option(help="Address of a running Triton's HTTP, http://host:port.")] = None,
    keys: Annotated[Path | None, typer.Option(help="The gateway's file of keys.")] = None,
    port: Annotated[list[int] | None, typer.Option(min=1, max=65_535, help="Port that a server shall take; give it again.")] = None,
    host: Annotated[str, typer.Option(help="Address that servers shall listen on.")] = "127.0.0.1",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object for machines.")] = False,
) -> None:
    """Check an installation of serving: a line for each check with what was seen and what to do next; ends with 1 if one fails."""
    import orjson

    from reelspace.core.errors import UserError
    from reelspace.gateway.doctor import Installation, examine

    if triton is not None and not triton.startswith(("http://", "https://")):
        raise UserError(f"--triton: expected http://host:port, got {triton!r:.80}")
    installation = Installation(store, triton, keys, host, tuple(port or ()))
    findings = examine(installation)
    if as_json:
        typer.echo(orjson.dumps({"findings": [one.as_json() for one in findings], "left_out": installation.left_out}))
    else:
        counts = ", ".join(f"{sum(one.level == level for one in findings)} {level}" for level in ("ok", "warn", "fail"))
        more = f"; {' '.join(installation.left_out)} would let more be looked at" if installation.left_out else ""
        typer.echo("\n".join([*(one.line for one in findings), counts + more]))
    if any(one.level == "fail" for one in findings):
        raise typer.Exit(1)
