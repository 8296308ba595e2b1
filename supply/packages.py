"""Pack charts so that the same tree gives the same bytes: `python -m supply.packages [--out dist/charts] [--helm PATH] [CHART ...]`.

Helm 4 writes no owner, one mode and the times of the files, which it packs in order; so it packs a copy in which all have one time.
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from reelspace.core.errors import UserError
from reelspace.core.program import run_main

ROOT: Final = Path(__file__).resolve().parents[1]
# The first day that every format of archives can name.
TIME_S: Final = 315_532_800
_LIMIT_S: Final = 60.0


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the packages, and their SHA-256 to stdout in the form of sha256sum."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("charts", nargs="*", metavar="CHART", help="names of charts (default: all)")
    parser.add_argument("--out", type=Path, default=Path("dist/charts"), help="folder for the packages (default: dist/charts)")
    parser.add_argument("--helm", default="helm", help="Helm 4, by name or path (default: helm)")
    args = parser.parse_args(arguments)
    for chart in charts(args.charts):
        made = package(chart, args.out, args.helm)
        sys.stdout.write(f"{hashlib.sha256(made.read_bytes()).hexdigest()}  {made}\n")


def charts(names: Sequence[str] = (), folder: Path = ROOT / "charts") -> list[Path]:
    """Give the folders of charts: all, or those named.

    Raises:
        UserError: a name is no chart's.
    """
    found = {path.parent.name: path.parent for path in sorted(folder.glob("*/Chart.yaml"))}
    if strange := sorted(set(names) - found.keys()):
        raise UserError(f"no chart {', '.join(strange)} in {folder}; expected some of {', '.join(found)}")
    return [found[name] for name in names or found]


def package(chart: Path, out: Path, helm: str) -> Path:
    """Pack one chart and give the file, `<name>-<version>.tgz`, which replaces one of the same name.

    Raises:
        UserError: there is no helm, it refuses, or it is too old to keep the times of files.
    """
    if shutil.which(helm) is None:
        raise UserError(f"expected Helm 4 on PATH, found no {helm}; --helm PATH, or make charts HELM=PATH, names another")
    with TemporaryDirectory() as folder:
        copy, made = Path(folder) / chart.name, Path(folder) / "made"
        shutil.copytree(chart, copy)
        for path in (copy, *copy.rglob("*")):
            os.utime(path, (TIME_S, TIME_S))
        _run_helm(helm, "package", str(copy), f"--destination={made}", home=Path(folder) / "home")
        (packed,) = made.glob("*.tgz")
        with tarfile.open(packed) as archive:
            late = [member.name for member in archive if member.mtime != TIME_S]
        if late:
            raise UserError(f"{helm} wrote the time of day into the package ({late[0]}): expected Helm 4, which keeps the times of files")
        out.mkdir(parents=True, exist_ok=True)
        return Path(shutil.copyfile(packed, out / packed.name))


def _run_helm(helm: str, *words: str, home: Path) -> None:
    """Run it without what the user's own configuration says."""
    own = {f"HELM_{name}_HOME": str(home / name.lower()) for name in ("CACHE", "CONFIG", "DATA")}
    surroundings = {name: value for name, value in os.environ.items() if not name.startswith("HELM_")}
    ended = subprocess.run([helm, *words], env=surroundings | own, capture_output=True, text=True, timeout=_LIMIT_S, check=False)
    if ended.returncode:
        raise UserError(f"{helm} {words[0]}: {ended.stderr}")


if __name__ == "__main__":
    sys.exit(run_main(main))
