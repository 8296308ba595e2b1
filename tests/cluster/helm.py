"""Releases of the project's charts on a test cluster."""

import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from .control_plane import Cluster
from .tools import binary

CHARTS = Path(__file__).resolve().parents[2] / "charts"
_LIMIT_S = 600.0


@dataclass(frozen=True, slots=True)
class Release:
    """A release of one chart in the namespace of a cluster's view."""

    cluster: Cluster
    chart: str
    name: str

    def install(self, *values: Path, sets: Mapping[str, object] | None = None, wait_s: float = 180.0) -> None:
        """Install it, and wait until all of it is ready."""
        self._changed("install", values, sets or {}, wait_s)

    def upgrade(self, *values: Path, sets: Mapping[str, object] | None = None, wait_s: float = 300.0) -> None:
        """Go over to other values, and wait until all of it is ready."""
        self._changed("upgrade", values, sets or {}, wait_s)

    def refused_upgrade(self, *values: Path, sets: Mapping[str, object] | None = None) -> str:
        """Give why an upgrade, which must fail, is refused."""
        ended = self._run("upgrade", self.name, CHARTS / self.chart, *_values(values, sets or {}))
        assert ended.returncode, f"upgrade of {self.name} was not refused"
        return ended.stderr

    def rollback(self, revision: int, wait_s: float = 180.0) -> None:
        """Go back to an earlier revision."""
        self._done("rollback", self.name, str(revision), "--wait", f"--timeout={wait_s:.0f}s")

    def uninstall(self) -> None:
        """Remove it."""
        self._done("uninstall", self.name, "--wait", "--timeout=120s")

    def test(self, limit_s: float = 180.0) -> str:
        """Run its tests, and give what was told."""
        return self._done("test", self.name, "--logs", f"--timeout={limit_s:.0f}s")

    def _changed(self, verb: str, values: tuple[Path, ...], sets: Mapping[str, object], wait_s: float) -> None:
        self._done(verb, self.name, CHARTS / self.chart, *_values(values, sets), "--wait", f"--timeout={wait_s:.0f}s")

    def _done(self, *words: str | Path) -> str:
        ended = self._run(*words)
        assert ended.returncode == 0, f"helm {' '.join(map(str, words))}: {ended.stderr}{ended.stdout}"
        return ended.stdout

    def _run(self, *words: str | Path) -> "subprocess.CompletedProcess[str]":
        with TemporaryDirectory() as folder:
            own = {f"HELM_{name}_HOME": f"{folder}/{name.lower()}" for name in ("CACHE", "CONFIG", "DATA")}
            own |= {"KUBECONFIG": str(self.cluster.kubeconfig()), "HELM_NAMESPACE": self.cluster.namespace}
            command = [binary("helm"), *words]
            return subprocess.run(command, env=os.environ | own, capture_output=True, text=True, timeout=_LIMIT_S, check=False)


def _values(files: tuple[Path, ...], sets: Mapping[str, object]) -> list[str]:
    return [*(f"--values={file}" for file in files), *(f"--set-json={path}={json.dumps(value)}" for path, value in sets.items())]
