"""What every benchmark writes beside its figure, so that a result can be trusted and repeated."""

import json
import os
import platform
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"


def machine() -> dict[str, object]:
    """Describe this machine: processor, cores, memory in GiB, operating system."""
    cpuinfo = Path("/proc/cpuinfo").read_text()
    model = next((line.split(":", 1)[1].strip() for line in cpuinfo.splitlines() if line.startswith("model name")), platform.machine())
    memory_gib = round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    return {"processor": model, "cores": os.cpu_count(), "memory_gib": memory_gib, "system": platform.platform()}


def commit() -> str:
    """Give the commit of the checkout, with `+changes` when files differ from it; results, which change nothing that runs, do not count."""
    head = subprocess.run(["git", "rev-parse", "--short=12", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    changed = subprocess.run(
        ["git", "status", "--porcelain", "--", ".", ":!benchmarks/results"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()
    return f"{head}+changes" if changed else head


def stamp(seed: int | list[int], packages: tuple[str, ...]) -> dict[str, object]:
    """Give seed, machine, versions, commit and date."""
    return {
        "seed": seed,
        "machine": machine(),
        "versions": {"python": platform.python_version(), **{package: version(package) for package in packages}},
        "commit": commit(),
        "date": datetime.now(UTC).date().isoformat(),
    }


def write_result(figure: str, values: Mapping[str, object], *, seed: int | list[int], packages: tuple[str, ...]) -> Path:
    """Print one JSON object and write it to benchmarks/results/<figure>.json."""
    result = {"figure": figure, **values, **stamp(seed, packages)}
    path = save_result(result)
    print(json.dumps(result, ensure_ascii=False))
    return path


def save_result(result: Mapping[str, object]) -> Path:
    """Write a result to benchmarks/results/<its figure>.json, which is always whole: the old one or the new one."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{result['figure']}.json"
    written = path.with_suffix(".tmp")
    written.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n")
    written.replace(path)
    return path
