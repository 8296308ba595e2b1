"""What a machine needs so that Triton and its models run on it. Every check takes its world, so that a broken one can be shown to it."""

import os
import re
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Final

from reelspace.core.errors import SettingError
from reelspace.serving.doctor.finding import Finding, fail, ok, warn
from reelspace.serving.runtime import BACKENDS, PYTHON, TritonRuntime, find_libpython, library_directories
from reelspace.serving.triton import SHARED_MEMORY_BYTES

MIN_GLIBC: Final = (2, 35)
MIN_VERSIONS: Final[Mapping[str, tuple[int, ...]]] = {
    "nvidia-pytriton": (0, 7, 0),
    "onnxruntime": (1, 22),
    "tokenizers": (0, 21),
    "tritonclient": (2, 51),
}
FIRST_WRONG_NUMPY: Final = 2
FEW_SHARED_BYTES: Final = 64 << 20
NOT_STARTED: Final = re.compile(r"error while loading shared libraries.*|version `GLIBC\S* not found.*|cannot execute.*")
INSTALL: Final = "pip install 'reelspace[serving]'"


def check_machine(num_models: int = 3) -> list[Finding]:
    """Look at what is installed here.

    Args:
        num_models: models that Triton will have, each with a region of shared memory.
    """
    return [
        check_libpython(list(library_directories())),
        check_runtime(BACKENDS),
        check_numpy(metadata.version("numpy")),
        check_glibc(os.confstr("CS_GNU_LIBC_VERSION") or "none"),
        check_shared_memory(Path("/dev/shm"), num_models),
        check_clients(_installed),
    ]


def check_libpython(directories: Sequence[Path]) -> Finding:
    """Look for the library that a model's process is linked against."""
    try:
        return ok("libpython", str(find_libpython(directories)))
    except SettingError:
        places = ", ".join(str(one) for one in dict.fromkeys(directories)) or "no directory"
        return fail("libpython", f"no libpython{PYTHON}.so.1.0 in {places}", f"apt-get install libpython{PYTHON}")


def check_runtime(backends: Path, prepare: Callable[[Path, Path], TritonRuntime] = TritonRuntime.prepare) -> Finding:
    """Put a Triton together as a start does, and let the program of a model's process begin."""
    with tempfile.TemporaryDirectory(prefix="reelspace-doctor-") as place:
        try:
            runtime = prepare(Path(place), backends)
        except SettingError as error:
            what, _, do = str(error).rpartition(";")
            return fail("triton", what or do.strip(), do.strip() if what else INSTALL)
        return check_stub(runtime.backends / "python" / "triton_python_backend_stub", runtime.environment(os.environ))


def check_stub(stub: Path, environment: Mapping[str, str]) -> Finding:
    """Start the program of a model's process without a model: what hinders it shows before it reads its arguments."""
    try:
        ended = subprocess.run(
            [str(stub)], env=dict(environment), capture_output=True, text=True, errors="replace", timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return fail("triton", f"the program of models for Python {PYTHON} does not start: {error}", INSTALL)
    hindered = NOT_STARTED.search(ended.stderr)
    if hindered is not None:
        seen = f"the program of models for Python {PYTHON} does not start: {hindered[0]}"
        return fail("triton", seen, f"install what it names, on Debian: apt-get install libpython{PYTHON}")
    return ok("triton", f"its program of models starts with Python {PYTHON}")


def check_numpy(version: str) -> Finding:
    """Look for the numpy under which this Triton hands over wrong numbers without a word."""
    if int(version.partition(".")[0]) < FIRST_WRONG_NUMPY:
        return ok("numpy", version)
    return fail("numpy", f"{version}: models would get wrong numbers, silently", "pip install 'numpy<2'")


def check_glibc(told: str) -> Finding:
    """Compare the C library with the one that Triton is built for."""
    found = re.search(r"glibc (\d+)\.(\d+)", told)
    wanted = ".".join(map(str, MIN_GLIBC))
    if found is None or (int(found[1]), int(found[2])) < MIN_GLIBC:
        return fail("glibc", f"{told}, Triton needs {wanted}", "use a newer system, Debian 12 or Ubuntu 22.04 at least")
    return ok("glibc", f"{told.removeprefix('glibc ')}, at least {wanted}")


def check_shared_memory(place: Path, num_models: int) -> Finding:
    """Look at the room for the regions through which Triton hands tensors to models."""
    check, more = "shared memory", "docker run --shm-size=1g, or mount an emptyDir with medium: Memory there"
    try:
        free = shutil.disk_usage(place).free
    except OSError as error:
        return fail(check, f"{place}: {error.strerror or error}", more)
    seen = f"{place} has {free >> 20} MiB free"
    if free < num_models * SHARED_MEMORY_BYTES:
        return fail(check, f"{seen}, {num_models} models need {num_models * SHARED_MEMORY_BYTES >> 20} MiB to start", more)
    if free < FEW_SHARED_BYTES:
        return warn(check, f"{seen}, large batches may not fit", more)
    return ok(check, seen)


def check_ports(host: str, ports: Iterable[int]) -> list[Finding]:
    """Look whether servers could listen on ports."""
    return [_check_port(host, port) for port in ports]


def check_clients(version_of: Callable[[str], str | None]) -> Finding:
    """Compare what serving is built on with the versions it was made for.

    Args:
        version_of: gives the version of an installed package, None where it is not.
    """
    found = {name: version_of(name) for name in MIN_VERSIONS}
    missing = [name for name, version in found.items() if version is None]
    if missing:
        return fail("packages", f"not installed: {', '.join(missing)}", INSTALL)
    old = [f"{name} {version}" for name, version in found.items() if _numbers(version or "") < MIN_VERSIONS[name]]
    if old:
        return fail("packages", f"too old: {', '.join(old)}", f"{INSTALL} --upgrade")
    return ok("packages", ", ".join(f"{name} {version}" for name, version in found.items()))


def _check_port(host: str, port: int) -> Finding:
    check = f"port {port}"
    with socket.socket() as listener:
        # As servers do: what was closed a moment ago is free.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            return fail(check, f"cannot listen on {host}:{port}: {error.strerror or error}", "choose another port, or end who has it")
    return ok(check, f"free on {host}")


def _installed(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version.partition("+")[0])[:3])
