"""Core is light: it loads without the heavy libraries and without the rooms above it."""

import subprocess
import sys
from pathlib import Path

import reelspace.core

MODULES = sorted(f"reelspace.core.{path.stem}" for path in Path(reelspace.core.__path__[0]).glob("*.py") if path.stem != "__init__")
HEAVY = ("torch", "faiss", "polars", "pyarrow", "deepspeed", "rich", "typer", "pydantic_settings", "minio", "kfp", "fastapi")


def loaded_by(modules: list[str]) -> set[str]:
    code = f"import sys\nfor name in {modules!r}: __import__(name)\nprint('\\n'.join(sys.modules))"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


def test_core_loads_without_heavy_libraries() -> None:
    modules = [name for name in MODULES if not name.endswith("s3_store")]
    assert {name.split(".")[0] for name in loaded_by(modules)} & set(HEAVY) == set()


def test_core_loads_no_other_room() -> None:
    ours = {name for name in loaded_by(MODULES) if name.startswith("reelspace")}
    assert ours <= {"reelspace", "reelspace.core", *MODULES}


def test_settings_errors_and_log_load_without_numpy() -> None:
    assert "numpy" not in loaded_by(["reelspace.core.settings", "reelspace.core.errors", "reelspace.core.log"])
