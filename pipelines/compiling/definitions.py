"""The pipelines of this checkout: `pipelines/<name>.py` with a pipeline function of that name."""

import ast
import difflib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from pipelines import resources
from reelspace.core.errors import SettingError

FOLDER = Path(__file__).resolve().parents[1]


def pipeline_names() -> tuple[str, ...]:
    """Give the names, sorted, without importing anything."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.py") if _defines_pipeline(path)))


def chosen_names(given: Iterable[str]) -> tuple[str, ...]:
    """Give the pipelines that are asked for, all when none is named.

    Raises:
        SettingError: a name is no pipeline; the message gives the nearest one and all.
    """
    names = pipeline_names()
    for name in given:
        if name not in names:
            near = difflib.get_close_matches(name.replace("-", "_"), names, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise SettingError(f"no pipeline {name!r}{hint} (there are {', '.join(names)})")
    return tuple(dict.fromkeys(given)) or names


def load_pipeline(name: str, profile: str) -> Any:
    """Build a pipeline anew for a profile and give the kfp component; a module imported before keeps the profile it was built for."""
    # kfp looks at the whole stack in every call on a task: above a deep one, or frames of runpy or importlib, that is most of the time.
    with ThreadPoolExecutor(1) as shallow:
        return shallow.submit(_build, FOLDER / f"{name}.py", profile).result()


def _build(path: Path, profile: str) -> Any:
    names: dict[str, Any] = {"__name__": f"pipelines.{path.stem}", "__file__": str(path)}
    with resources.profile(profile):
        exec(compile(path.read_text(), str(path), "exec"), names)  # noqa: S102 - a module of this checkout
    return names[path.stem]


def _defines_pipeline(path: Path) -> bool:
    functions = (node for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef) and node.name == path.stem)
    return any("dsl.pipeline" in ast.unparse(decorator) for function in functions for decorator in function.decorator_list)
