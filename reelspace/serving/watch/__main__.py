"""`python -m reelspace.serving.watch --triton URL --models a,b`: watch models of a Triton, and load anew the ones that are lost.

With `--once` it looks once, changes nothing, and ends with 1 if a model is lost or Triton is away: a command for liveness probes.
"""

import argparse
import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack

import orjson

from reelspace.core.errors import UserError
from reelspace.core.program import run_main
from reelspace.core.settings import read
from reelspace.serving.watch.control import Addresses, TritonControl
from reelspace.serving.watch.liveness import IS_LOST, ModelEye, Outcome
from reelspace.serving.watch.page import telling
from reelspace.serving.watch.settings import WatchSettings
from reelspace.serving.watch.tally import Tally
from reelspace.serving.watch.watcher import Watcher


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line; `models` becomes a list."""
    parser = argparse.ArgumentParser(prog="python -m reelspace.serving.watch", description=__doc__, allow_abbrev=False)
    parser.add_argument("--triton", required=True, help="address of Triton's HTTP, http://host:port")
    parser.add_argument("--models", required=True, help="names of models, with commas between; a model not loaded is loaded")
    parser.add_argument("--metrics", help="address of Triton's metrics, http://host:port: tells lines of a dead model from long ones")
    parser.add_argument("--grpc", help="address of Triton's gRPC, host:port: loads over it hold up no other model")
    parser.add_argument("--once", action="store_true", help="look once, change nothing, end with 1 if a model is lost")
    parser.add_argument("--host", default="127.0.0.1", help="address of the port")
    parser.add_argument("--port", type=int, help="port for /metrics, /livez and /readyz; 0 takes a free one; none if not given")
    parser.add_argument("--set", action="append", default=[], help="override a setting, e.g. interval_s=0.5; may be given again")
    given = parser.parse_args(arguments)
    given.models = [name for name in given.models.split(",") if name]
    if not given.models:
        raise UserError("--models: expected names of models, with commas between, got none")
    for option, address in (("--triton", given.triton), ("--metrics", given.metrics or given.triton)):
        if not address.startswith(("http://", "https://")):
            raise UserError(f"{option}: expected http://host:port, got {address!r:.80}")
    return given


async def look_once(given: argparse.Namespace, settings: WatchSettings) -> bool:
    """Look at each model once, with a line on stdout for each version; tells whether all live or are only busy."""
    # Nothing is known of before: who executes nothing while a probe waits counts as lost.
    settings = settings.model_copy(update={"silent_s": settings.probe_timeout_s})
    async with TritonControl(Addresses(given.triton, given.metrics, given.grpc), settings) as control:
        found = await asyncio.gather(*(ModelEye(control, model, settings, time.monotonic).look() for model in given.models))
    for model, looks in zip(given.models, found, strict=True):
        for version, look in looks.items():
            sys.stdout.write(" ".join(filter(None, (model, version, look.outcome, look.why))) + "\n")
    outcomes = {look.outcome for looks in found for look in looks.values()}
    return not outcomes & (IS_LOST | {Outcome.AWAY})


async def watch(given: argparse.Namespace, settings: WatchSettings, tally: Tally) -> None:
    """Watch until SIGTERM or SIGINT."""
    loop = asyncio.get_running_loop()
    async with TritonControl(Addresses(given.triton, given.metrics, given.grpc), settings) as control:
        watching = loop.create_task(Watcher(control, given.models, settings, tally).run())
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, watching.cancel)
        with contextlib.suppress(asyncio.CancelledError):
            await watching


def main(arguments: Sequence[str]) -> int:
    """Watch, or look once, as the command line says; prints {"event": "ready", "port", "pid"} on stdout once it watches."""
    given = parse_arguments(arguments)
    settings = read(WatchSettings, {}, given.set)
    if given.once:
        return 0 if asyncio.run(look_once(given, settings)) else 1
    tally = Tally(given.models)
    with ExitStack() as stack:
        port = None if given.port is None else stack.enter_context(telling(tally, given.host, given.port))
        sys.stdout.write(orjson.dumps({"event": "ready", "port": port, "pid": os.getpid()}).decode() + "\n")
        sys.stdout.flush()
        asyncio.run(watch(given, settings, tally))
    return 0


if __name__ == "__main__":
    codes: list[int] = []
    code = run_main(lambda: codes.append(main(sys.argv[1:])))
    sys.exit(code or codes[0])
