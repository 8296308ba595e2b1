"""Compile every pipeline of `pipelines/` to `pipelines/compiled/<name>.yaml`, or check that the committed files are current.

`python kfp_compile.py` writes, `python kfp_compile.py --check` compares and exits with 1 when a file differs.
"""

import argparse
import importlib
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent
NAMES = ("train_and_publish", "finetune_head")


def compile_pipeline(name: str, target: Path) -> None:
    """Write the intermediate representation of `pipelines/<name>.py` to `target`."""
    from kfp import compiler  # optional dependency of the `pipelines` extra

    module = importlib.import_module(f"pipelines.{name}")
    compiler.Compiler().compile(getattr(module, name), str(target))


def main() -> int:
    """Compile or check; 0 when all is current."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare with the committed files instead of writing")
    check = parser.parse_args().check
    sys.path.insert(0, str(ROOT))
    stale = []
    for name in NAMES:
        committed = ROOT / "pipelines" / "compiled" / f"{name}.yaml"
        if not check:
            committed.parent.mkdir(exist_ok=True)
            compile_pipeline(name, committed)
            continue
        with tempfile.TemporaryDirectory() as scratch:
            fresh = Path(scratch) / f"{name}.yaml"
            compile_pipeline(name, fresh)
            if not committed.exists() or fresh.read_bytes() != committed.read_bytes():
                stale.append(str(committed.relative_to(ROOT)))
    if stale:
        print(f"not current: {', '.join(stale)}; run `make compile`", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
