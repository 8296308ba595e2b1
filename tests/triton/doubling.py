"""A model repository with the doubling model, and what the process table says."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from reelspace.serving.signatures import Signature, TensorSpec, config_pbtxt

BACKENDS = Path(__file__).parent / "backends"


def write_doubling(repository: Path, name: str = "doubling", *, backend: str = "doubling", versions: Sequence[int] = (1,)) -> Path:
    signature = Signature(name, (TensorSpec("X", "FP32", (2,)),), (TensorSpec("Y", "FP32", (2,)),), max_batch=8)
    for version in versions:
        (repository / name / str(version)).mkdir(parents=True)
        (repository / name / str(version) / "data").touch()
    (repository / name / "config.pbtxt").write_text(config_pbtxt(signature, backend=backend) + "version_policy { all {} }\n")
    return repository


def descendants(pid: int) -> list[int]:
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    found = [pid]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found


def name_of(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text().strip()


def until(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()
