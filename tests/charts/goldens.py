"""The minimal scenario of each chart as it was rendered when last looked at: `python -m tests.charts.goldens` writes `golden/` anew."""

import difflib
from collections.abc import Sequence
from pathlib import Path

import yaml  # type: ignore[import-untyped]

from .helm import CHARTS, render
from .workloads import Json

FOLDER = Path(__file__).resolve().parent / "golden"
SCENARIO = "minimal"
NAMES = sorted(path.parent.name for path in CHARTS.glob("*/Chart.yaml"))
_SHOWN = 60


class _Dumper(yaml.SafeDumper):  # type: ignore[misc]
    """Writes a text of several lines as one."""


_Dumper.add_representer(
    str, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)
)


def path_of(name: str) -> Path:
    """The file of a chart."""
    return FOLDER / f"{name}-{SCENARIO}.yaml"


def text_of(name: str) -> str:
    """What the file of a chart should hold: the objects in the order of helm, keys by name."""
    objects: Sequence[Json] = render(CHARTS / name, CHARTS / name / "ci" / f"{SCENARIO}-values.yaml")
    return str(yaml.dump_all(objects, Dumper=_Dumper, width=140))


def difference(name: str) -> str:
    """How the rendered chart differs from its file, cut where it is long; nothing if it does not."""
    there = path_of(name).read_text() if path_of(name).is_file() else ""
    lines = difflib.unified_diff(there.splitlines(), text_of(name).splitlines(), path_of(name).name, "rendered", lineterm="", n=6)
    return "\n".join([*lines][:_SHOWN])


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for one in NAMES:
        path_of(one).write_text(text_of(one))
