"""Python programs that look at charts, each in an environment of its own from a lock with hashes, outside of the checkout."""

import hashlib
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

_UV = Path(__file__).resolve().parents[2] / ".tools" / "uv" / "bin" / "uv"


@dataclass(frozen=True, slots=True)
class Environment:
    """What `tests/charts/<name>.lock` names, in `~/.cache/reelspace-<name>` or the folder that REELSPACE_<NAME> says."""

    name: str

    @property
    def lock(self) -> Path:
        """What it is made from."""
        return Path(__file__).resolve().parent / f"{self.name}.lock"

    @property
    def folder(self) -> Path:
        """Where it lies."""
        return Path(os.environ.get(f"REELSPACE_{self.name.upper()}") or Path.home() / ".cache" / f"reelspace-{self.name}")

    @property
    def programs(self) -> Path:
        """The folder of its programs."""
        return self.folder / "venv" / "bin"

    def is_installed(self) -> bool:
        """Tell whether it is there and was installed from the lock of today."""
        stamp = self.folder / "installed"
        return stamp.is_file() and stamp.read_text() == self._digest()

    def install(self) -> None:
        """Install what the lock names, unless that is done."""
        if self.is_installed():
            return
        if not _UV.is_file():
            sys.exit(f"expected uv at {_UV}: make .tools/uv/bin/uv")
        self.folder.mkdir(parents=True, exist_ok=True)
        python = self.programs / "python"
        subprocess.run([_UV, "venv", "-q", "--clear", "--python", sys.executable, self.folder / "venv"], check=True)
        subprocess.run([_UV, "pip", "install", "-q", "--python", python, "--require-hashes", "-r", self.lock], check=True)
        (self.folder / "installed").write_text(self._digest())

    def _digest(self) -> str:
        return hashlib.sha256(self.lock.read_bytes()).hexdigest()
