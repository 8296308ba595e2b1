"""Tell what a step sees of the container it runs in, and end as it is told."""

import contextlib
import json
import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path

from pydantic import Field

from reelspace.core.errors import TemporaryError, UserError
from reelspace.core.settings import Settings, read
from reelspace.core.steps import StepRun, run_step


class ProbeSettings(Settings):
    """What is tried, and how the step ends."""

    addresses: dict[str, str] = Field({}, description="Addresses host:port, by name, that are called.")
    fails: str = Field("", description="How it ends: user, temporary, memory; empty: well.")
    sleeps_s: float = Field(0.0, ge=0, description="Seconds it waits first.")
    saves_s: float = Field(0.0, ge=0, description="Seconds it takes to save when it is told to end while it waits.")


def run(facts: str, settings: str) -> None:
    """Write facts.json."""
    parsed = read(ProbeSettings, settings)
    run_step("probe", __name__, settings=parsed, inputs={}, outputs={"facts": facts}, body=lambda step: _probe(step, parsed), cache=False)


def _probe(step: StepRun, settings: ProbeSettings) -> Mapping[str, object]:
    print(json.dumps({"event": "probing"}), flush=True)
    try:
        time.sleep(settings.sleeps_s)
    except SystemExit:
        time.sleep(settings.saves_s)
        print(json.dumps({"event": "saved"}), flush=True)
        raise
    if settings.fails == "user":
        raise UserError("the probe was told to find its input wrong")
    if settings.fails == "temporary":
        raise TemporaryError("the probe was told to try again")
    if settings.fails == "memory":
        blocks = []
        while True:
            blocks.append(bytearray(os.urandom(1 << 20)) * 64)
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    facts = {
        "user": os.getuid(),
        "group": os.getgid(),
        "capabilities": {name: status[name].strip() for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")},
        "no_new_privileges": status["NoNewPrivs"].strip(),
        "writable": [place for place in ("/", "/etc", "/usr", "/tmp", "/run", "/var") if _writes(place)],
        "reached": [name for name, address in settings.addresses.items() if _answers(address)],
        "memory_bytes": _memory_limit(),
        "cpus": _cpu_limit(),
        "variables": sorted(os.environ),
        "first_process": Path("/proc/1/cmdline").read_text().split("\0")[0],
        "interfaces": sorted(name for _, name in socket.if_nameindex()),
    }
    (step.output("facts") / "facts.json").write_text(json.dumps(facts))
    return {}


def _writes(place: str) -> bool:
    with contextlib.suppress(OSError):
        (Path(place) / "probe").write_text("")
        return True
    return False


def _answers(address: str) -> bool:
    host, _, port = address.rpartition(":")
    with contextlib.suppress(OSError), socket.create_connection((host, int(port)), timeout=2):
        return True
    return False


def _memory_limit() -> int | None:
    for name in ("memory/memory.limit_in_bytes", "memory.max"):
        with contextlib.suppress(OSError, ValueError):
            return int((Path("/sys/fs/cgroup") / name).read_text())
    return None


def _cpu_limit() -> float | None:
    folder = Path("/sys/fs/cgroup")
    with contextlib.suppress(OSError):
        return int((folder / "cpu/cpu.cfs_quota_us").read_text()) / int((folder / "cpu/cpu.cfs_period_us").read_text())
    with contextlib.suppress(OSError):
        quota, period = (folder / "cpu.max").read_text().split()
        return int(quota) / int(period)
    return None
