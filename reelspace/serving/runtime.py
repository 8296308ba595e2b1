"""The tritonserver of the nvidia-pytriton wheel, made startable: a private directory with what it needs in its places."""

import importlib.util
import os
import shutil
import sys
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from reelspace.core.errors import SettingError

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
BACKENDS = Path(__file__).resolve().parents[2] / "backends"


@dataclass(frozen=True, slots=True)
class TritonRuntime:
    """Where the parts of a startable tritonserver lie."""

    binary: Path
    backends: Path
    caches: Path
    library_path: tuple[Path, ...]

    @classmethod
    def prepare(cls, directory: Path, backends: Path = BACKENDS) -> "TritonRuntime":
        """Fill a private directory: the wheel's python backend with this interpreter's stub beside it, and our own backends.

        The wheel's own directory stays as installed: several environments may share its files by hard links.

        Raises:
            SettingError: the wheel, its stub for this Python, libpython or our backends are missing; names what to install.
        """
        wheel = _wheel()
        stub = wheel / "python_backend_stubs" / PYTHON / "triton_python_backend_stub"
        if not stub.is_file():
            have = ", ".join(sorted(path.name for path in stub.parents[1].iterdir()))
            raise SettingError(f"this Triton has no stub for Python {PYTHON}, only for {have}; use one of those")
        python_backend = directory / "backends" / "python"
        shutil.copytree(wheel / "backends" / "python", python_backend)
        shutil.copy(stub, python_backend)
        (python_backend / stub.name).chmod(0o755)
        binary = wheel / "bin" / "tritonserver"
        if not os.access(binary, os.X_OK):
            # Some installers drop the run bit.
            binary = Path(shutil.copy(binary, directory / "tritonserver"))
            binary.chmod(0o755)
        _link_own_backends(backends, directory / "backends")
        libraries = directory / "lib"
        libraries.mkdir()
        libpython = find_libpython(library_directories())
        (libraries / libpython.name).symlink_to(libpython)
        return cls(binary, directory / "backends", wheel / "caches", (libraries, wheel.parents[1] / "nvidia_pytriton.libs"))

    def environment(self, base: Mapping[str, str]) -> dict[str, str]:
        """Give the server's environment: this interpreter's environment first, the libraries in reach of the stubs."""
        values = dict(base)
        own = os.pathsep.join(str(path) for path in self.library_path)
        values["PATH"] = os.pathsep.join(part for part in (str(Path(sys.executable).parent), base.get("PATH", os.defpath)) if part)
        values["LD_LIBRARY_PATH"] = os.pathsep.join(part for part in (own, base.get("LD_LIBRARY_PATH", "")) if part)
        # An interpreter inside the stub finds its packages by PATH; a PYTHONHOME of another Python would break it.
        values.pop("PYTHONHOME", None)
        return values


def library_directories() -> Iterator[Path]:
    """Give the directories that may hold libpython: the running interpreter's own, then the system's."""
    for name in ("LIBDIR", "LDLIBRARY_DIR"):
        value = sysconfig.get_config_var(name)
        if value:
            yield Path(value)
            yield Path(value) / str(sysconfig.get_config_var("MULTIARCH") or "")
    yield Path(sys.base_prefix) / "lib"
    yield Path("/usr/lib/x86_64-linux-gnu")
    yield Path("/usr/lib64")
    yield Path("/usr/local/lib")


def find_libpython(directories: Iterator[Path] | Sequence[Path]) -> Path:
    """Find the shared library of this interpreter's Python, which the stub is linked against."""
    name = f"libpython{PYTHON}.so.1.0"
    tried = list(dict.fromkeys(directories))
    for directory in tried:
        if (directory / name).is_file():
            return directory / name
    places = ", ".join(str(directory) for directory in tried)
    raise SettingError(f"Triton needs {name}, not found in {places}; install it: apt-get install libpython{PYTHON}")


def _wheel() -> Path:
    # find_spec, not import: importing pytriton would start its own logging and look for a GPU.
    spec = importlib.util.find_spec("pytriton")
    if spec is None or spec.origin is None:
        raise SettingError("Triton is not installed: expected the package nvidia-pytriton; pip install 'reelspace[serving]'")
    return Path(spec.origin).parent / "tritonserver"


def _link_own_backends(source: Path, target: Path) -> None:
    found = sorted(path.parent for path in source.glob("*/model.py"))
    if not found:
        raise SettingError(f"expected Triton backends <name>/model.py in {source}, found none; name their directory")
    for backend in found:
        (target / backend.name).symlink_to(backend)
