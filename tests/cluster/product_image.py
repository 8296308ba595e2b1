"""An image with what the images `search` and `serving` hold for vector search: Python, their packages, Triton, and reelspace itself."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from importlib.metadata import Distribution, distribution
from pathlib import Path

from reelspace.serving.runtime import BACKENDS, find_libpython, library_directories

from .images import write_image
from .python_image import LIBRARY, files_in

ROOT = Path(__file__).resolve().parents[2]
IMAGE = "localhost/reelspace/python-search:0.1.0"
_LOCKED = re.compile(r"^([A-Za-z0-9._-]+)==", re.MULTILINE)


def write_product_image(path: Path) -> Path:
    """Write it as an archive of `docker save`; the wheel's files lie where this machine's Python looks for them."""
    standard, program = Path(sysconfig.get_path("stdlib")), Path(sys.executable).resolve()
    packages = f"{standard}/site-packages"
    files = {str(file): file for file in files_in(standard)}
    for name in [*_LOCKED.findall((ROOT / "requirements" / "search.lock").read_text()), "nvidia-pytriton"]:
        files |= {f"{packages}/{inside}": file for inside, file in _files_of(distribution(name))}
    files |= {f"{packages}/{inside}": file for inside, file in _files_of(distribution("reelspace")) if ".dist-info/" in inside}
    for folder in (ROOT / "reelspace", BACKENDS):
        files |= {f"{packages}/{file.relative_to(folder.parent)}": file for file in files_in(folder)}
    # What the libssl of the system loads by itself.
    ssl = [*Path("/usr/lib").glob("*/ossl-modules/*.so"), Path("/usr/lib/ssl/openssl.cnf")]
    files |= {str(file): file for file in ssl if file.is_file()}
    libpython = find_libpython(library_directories())
    # Triton starts a model's process by a shell.
    programs = {f"/bin/{name}": Path(shutil.which(name) or name) for name in ("bash", "sh")}
    own = [file for file in files.values() if ".so" in file.name or file.name in ("tritonserver", "triton_python_backend_stub")]
    files |= programs | {str(libpython): libpython, "/bin/python3": program}
    files |= {library: Path(library) for library in _libraries([program, libpython, *programs.values(), *own])}
    return write_image(path, IMAGE, files, ())


def _files_of(found: Distribution) -> Iterator[tuple[str, Path]]:
    for file in found.files or ():
        place = Path(str(found.locate_file(file)))
        if ".." not in file.parts and "__pycache__" not in file.parts and place.is_file():
            yield str(file), place


def _libraries(programs: Iterable[Path]) -> set[str]:
    """Give the paths of the system's shared libraries that programs load, the loader's own among them."""
    own = Path(sysconfig.get_path("purelib"))
    places = os.pathsep.join(map(str, [*own.glob("*.libs"), Path(str(sysconfig.get_config_var("LIBDIR")))]))
    environment = os.environ | {"LD_LIBRARY_PATH": places}
    words = list(map(str, programs))
    told = subprocess.run(["ldd", *words], capture_output=True, text=True, check=False, env=environment).stdout
    return {found for found in LIBRARY.findall(told) if not Path(found).is_relative_to(own.parents[2])}
