"""An image with the Python of these tests, its standard library, kfp without what it depends on, and the libraries that those load."""

import importlib.util
import re
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from pathlib import Path

from .images import write_image

# Not of the standard library, or of no use in a pod.
_LEFT_OUT = frozenset({"site-packages", "test", "tests", "__pycache__", "idlelib", "ensurepip", "lib2to3", "tkinter", "turtledemo"})
LIBRARY = re.compile(r"(?:=> )?(/\S+) \(0x")
"""A path in what `ldd` prints."""


def write_python_image(path: Path, name: str) -> Path:
    """Write an image in which `python3 -m kfp.dsl.executor_main` runs."""
    standard, program = Path(sysconfig.get_path("stdlib")), Path(sys.executable).resolve()
    # Where it lies here: Python looks for it where it was built to be.
    files = {str(file): file for file in files_in(standard)}
    spec = importlib.util.find_spec("kfp")
    assert spec is not None, "kfp is installed for development"
    (kfp,) = spec.submodule_search_locations or ()
    files |= {f"{standard}/site-packages/kfp/{file.relative_to(kfp)}": file for file in files_in(Path(kfp))}
    loaded = [program, *(file for file in files.values() if file.suffix == ".so")]
    files |= {library: Path(library) for library in _libraries(loaded)}
    return write_image(path, name, {**files, "/bin/python3": program}, ())


def files_in(folder: Path) -> Iterator[Path]:
    """Give the files below a folder that a pod has use for."""
    for file in sorted(folder.rglob("*")):
        if file.is_file() and not _LEFT_OUT & set(file.relative_to(folder).parts):
            yield file


def _libraries(programs: Iterable[Path]) -> set[str]:
    """Give the paths of the shared libraries that programs load, the loader's own among them."""
    told = subprocess.run(["ldd", *map(str, programs)], capture_output=True, text=True, check=True).stdout
    return set(LIBRARY.findall(told))
