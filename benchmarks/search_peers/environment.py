"""The peers' own environment: pinned packages and programs in a cache directory, installed when first asked for."""

import os
import shutil
import subprocess
import venv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.search_peers.absence import NotHere

DEFAULT_FOLDER: Final = Path.home() / ".cache" / "reelspace-benchmarks"
BASE: Final = ("numpy==1.26.4", "orjson==3.13.0")
_TAIL_LINES: Final = 3


@dataclass(frozen=True, slots=True)
class PeerEnvironment:
    """A folder with a virtual environment and programs built from source."""

    folder: Path

    @property
    def python(self) -> Path:
        """The interpreter that has the peers' packages."""
        return self.folder / "venv" / "bin" / "python"

    def site_packages(self) -> Path:
        """Give the folder of the installed packages."""
        return next((self.folder / "venv" / "lib").glob("python*/site-packages"))

    def require(self, requirements: Sequence[str]) -> None:
        """Install packages, at once when they are there.

        Raises:
            NotHere: pip refused.
        """
        stamp = self.folder / "venv" / "installed.txt"
        if not self.python.exists():
            venv.create(self.folder / "venv", with_pip=True)
        wanted = [*BASE, *requirements]
        installed = stamp.read_text().split("\n") if stamp.exists() else []
        if set(wanted) <= set(installed):
            return
        _run([str(self.python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *wanted], dict(os.environ))
        stamp.write_text("\n".join(sorted({*installed, *wanted} - {""})))

    def go_program(self, package: str, version: str) -> Path:
        """Build a Go program of that version from source (minutes), or give the one built before.

        Raises:
            NotHere: there is no Go, or the build failed.
        """
        name = package.rsplit("/", 1)[1]
        place = self.folder / f"{name}@{version}"
        if not (place / name).exists():
            go = shutil.which("go")
            if go is None:
                raise NotHere(f"{name} is built by Go, and there is no `go` on PATH")
            place.mkdir(parents=True, exist_ok=True)
            _run(["nice", "-n", "19", go, "install", f"{package}@{version}"], os.environ | {"GOBIN": str(place)})
        return place / name


def _run(command: list[str], environment: dict[str, str]) -> None:
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().split("\n")[-_TAIL_LINES:]
        raise NotHere(f"`{' '.join(command[:4])} ...` failed: {' | '.join(lines)}")
