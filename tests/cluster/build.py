"""Build the programs of the test clusters from Go modules: `python -m tests.cluster.build [TOOL...]`, all of them by default.

Each is pinned by a go.mod and go.sum of its own under `mods/`, which are read and never written. What is built already from the
same pins is left alone, so a build that was ended goes on where it stopped. The folder of the binaries
(`~/.cache/reelspace-cluster/bin`, or REELSPACE_CLUSTER_BIN) is all that tests need; `gomod`, `gocache` and `sources` beside it may go.
"""

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from .tools import MODS, TOOLS, Tool, bin_folder, binary, data_folder

_TOLD_CHARACTERS = 3000


class BuildFailed(Exception):
    """A program could not be built; the message has what Go said."""


def build(tool: Tool) -> bool:
    """Build one tool unless that is done; tell whether it had to be.

    Raises:
        BuildFailed: Go is absent, a module cannot be had or does not match its pins, or the compiler refuses.
    """
    with _only_one_builder():
        if is_built(tool):
            return False
        folder = _own_sources(tool) if tool.missing else MODS / tool.pins
        _compile(tool, folder)
        _copy_data(tool)
        _stamp(tool).parent.mkdir(exist_ok=True)
        _stamp(tool).write_text(pins_digest(tool))
        return True


def is_built(tool: Tool) -> bool:
    """Tell whether the binary is there and was made from the pins of today."""
    stamp = _stamp(tool)
    return binary(tool.name).is_file() and stamp.is_file() and stamp.read_text() == pins_digest(tool)


def pins_digest(tool: Tool) -> str:
    """SHA-256 of all that a tool's binary is made of: its row of the table, go.mod, go.sum and a source of ours beside them."""
    digest = hashlib.sha256(repr(tool).encode())
    folder = MODS / tool.pins
    for path in (folder / "go.mod", folder / "go.sum", *sorted(folder.glob("*.go"))):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def main(names: Sequence[str]) -> int:
    """Build the named tools one after the other; 1 when one of them failed, 2 when a name is unknown."""
    if unknown := sorted(set(names) - set(TOOLS)):
        print(f"unknown: {', '.join(unknown)}; there are {', '.join(TOOLS)}", file=sys.stderr)
        return 2
    failed = [name for name in names or TOOLS if not _told(TOOLS[name])]
    if failed:
        print(f"not built: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def _told(tool: Tool) -> bool:
    start_s = time.monotonic()
    try:
        built = build(tool)
    except BuildFailed as error:
        print(f"{tool.name}: {error}", file=sys.stderr, flush=True)
        return False
    size_mib = binary(tool.name).stat().st_size / 2**20
    done = f"built in {time.monotonic() - start_s:.0f} s" if built else "is built"
    print(f"{tool.name} {tool.version}: {done}, {size_mib:.0f} MiB", flush=True)
    return True


def _compile(tool: Tool, folder: Path) -> None:
    bin_folder().mkdir(parents=True, exist_ok=True)
    part = binary(f".{tool.name}.part")
    linked = " ".join(("-s", "-w", *(f"-X {variable}" for variable in tool.variables)))
    _go(folder, "build", "-ldflags", linked, "-o", str(part), tool.package)
    part.rename(binary(tool.name))


def _copy_data(tool: Tool) -> None:
    for inside, name in tool.data.items():
        source = _module_folder(tool) / inside
        target = data_folder(tool.name) / name
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(source, target)


def _own_sources(tool: Tool) -> Path:
    """Copy the module, with the files that its published form lacks: Go builds nothing else with a file more."""
    folder = _home() / "sources" / tool.name
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(_module_folder(tool), folder)
    for name, stand_in in tool.missing.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes((folder / stand_in).read_bytes() if stand_in else b"")
    return folder


def _module_folder(tool: Tool) -> Path:
    # Asked for inside the pins, so that the download is held against their go.sum.
    told = _go(MODS / tool.pins, "mod", "download", "-json", f"{tool.module}@{tool.version}")
    return Path(json.loads(told)["Dir"])


def _go(folder: Path, *words: str) -> str:
    if shutil.which("go") is None:
        raise BuildFailed("no program `go` on the path: install Go 1.26.8 or newer")
    home = _home()
    settings = {
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
        "CGO_ENABLED": "0",
        "GOFLAGS": "-trimpath -buildvcs=false -mod=readonly -modcacherw",
        "GOMODCACHE": str(home / "gomod"),
        "GOCACHE": str(home / "gocache"),
    }
    ended = subprocess.run(["go", *words], cwd=folder, env=os.environ | settings, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise BuildFailed(f"go {words[0]} in {folder}: {ended.stderr[-_TOLD_CHARACTERS:].strip()}")
    return ended.stdout


@contextmanager
def _only_one_builder() -> Iterator[None]:
    _home().mkdir(parents=True, exist_ok=True)
    with (_home() / "build.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _stamp(tool: Tool) -> Path:
    return _home() / "built" / tool.name


def _home() -> Path:
    return bin_folder().parent


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
