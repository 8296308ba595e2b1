"""chart-testing, as `charts/ct.yaml` configures it; `python -m tests.charts.ct` installs the two linters of YAML that it calls."""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.cluster.tools import binary, need_tools

from .environment import Environment
from .helm import CHARTS

LINTERS = Environment("ct")
_LIMIT_S = 60.0


def lint(*words: str, folder: Path, programs: Sequence[Path] = ()) -> "subprocess.CompletedProcess[str]":
    """Run `ct lint` offline; skips the test where ct or helm is not built.

    Args:
        words: more of the command line, such as the charts.
        folder: for links to programs and files of helm.
        programs: folders of further programs.
    """
    need_tools("ct", "helm")
    (folder / "helm").symlink_to(binary("helm"))
    own = {f"HELM_{name}_HOME": str(folder / name.lower()) for name in ("CACHE", "CONFIG", "DATA")}
    path = ":".join(map(str, (folder, *programs, os.environ.get("PATH", os.defpath))))
    return subprocess.run(
        [binary("ct"), "lint", f"--config={CHARTS / 'ct.yaml'}", *words],
        cwd=CHARTS.parent,
        env=os.environ | own | {"PATH": path},
        capture_output=True,
        text=True,
        timeout=_LIMIT_S,
        check=False,
    )


def need_linters() -> None:
    """Skip the test where yamllint and yamale are not installed."""
    if not LINTERS.is_installed():
        pytest.skip(f"yamllint and yamale are not in {LINTERS.folder}: .venv/bin/python -m tests.charts.ct puts them there")


if __name__ == "__main__":
    LINTERS.install()
