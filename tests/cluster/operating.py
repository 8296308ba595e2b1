"""The commands of docs/guides/operate.md, run as they stand: `helm`, `kubectl` and `reelspace` are those of the tests."""

import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from .control_plane import Cluster
from .tools import binary

ROOT = Path(__file__).resolve().parents[2]
GUIDE = ROOT / "docs" / "guides" / "operate.md"
_LIMIT_S = 600.0


def chapters() -> dict[str, list[str]]:
    """Give the commands of every chapter by its heading; lines that go on are one."""
    found: dict[str, list[str]] = {}
    for part in GUIDE.read_text().split("\n## ")[1:]:
        heading = part.partition("\n")[0]
        blocks = re.findall(r"```sh\n(.*?)```", part, re.DOTALL)
        found[heading] = [line for block in blocks for line in block.replace("\\\n", " ").splitlines() if line]
    return found


@contextmanager
def shell(cluster: Cluster, folder: Path) -> Iterator["Shell"]:
    """A shell in a folder with the files that the guide speaks of, with the programs of the tests first on its path."""
    with TemporaryDirectory() as programs:
        kubectl = f"{binary('kubectl')} --kubeconfig={cluster.kubeconfig()} --namespace={cluster.namespace}"
        commands = {"kubectl": kubectl, "helm": str(binary("helm")), "reelspace": f"{ROOT}/.venv/bin/python -m reelspace.cli"}
        for name, command in commands.items():
            path = Path(programs) / name
            path.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
            path.chmod(0o755)
        (folder / "charts").symlink_to(ROOT / "charts")
        own = {f"HELM_{name}_HOME": f"{programs}/{name.lower()}" for name in ("CACHE", "CONFIG", "DATA")}
        own |= {"KUBECONFIG": str(cluster.kubeconfig()), "HELM_NAMESPACE": cluster.namespace}
        own |= {"PATH": f"{programs}:{os.environ['PATH']}"}
        yield Shell(folder, own)


class Shell:
    """Runs commands of the guide."""

    def __init__(self, folder: Path, variables: dict[str, str]) -> None:
        self._folder = folder
        self.variables = variables

    def run(self, command: str) -> str:
        """Run a line of the guide to its end, and give what it printed; AssertionError where it fails."""
        ended = subprocess.run(
            ["/bin/bash", "-euo", "pipefail", "-c", command],
            cwd=self._folder,
            env=os.environ | self.variables,
            capture_output=True,
            text=True,
            timeout=_LIMIT_S,
            check=False,
        )
        assert ended.returncode == 0, f"{shlex.quote(command)}: {ended.stderr}{ended.stdout}"
        return ended.stdout
