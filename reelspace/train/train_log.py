"""train_log.jsonl: one line of figures per logged step, carried along by the checkpoints so that each step is told once."""

import json
import math
import shutil
from collections.abc import Mapping
from pathlib import Path

LOG_FILE = "train_log.jsonl"


class TrainLog:
    """The log of the process that writes it; others pass it by."""

    def __init__(self, path: Path, *, is_writer: bool) -> None:
        self.path = path
        self._is_writer = is_writer

    def begin(self, earlier: Path | None) -> None:
        """Start empty, or with the log of a checkpoint."""
        if not self._is_writer:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text("")
        if earlier is not None:
            shutil.copyfile(earlier / self.path.name, self.path)

    def write(self, step: int, figures: Mapping[str, float]) -> None:
        """Add the line of a step; a figure that is not finite becomes null."""
        if not self._is_writer:
            return
        values = {name: value if math.isfinite(value) else None for name, value in figures.items()}
        with self.path.open("a") as file:
            file.write(json.dumps({"step": step, **values}) + "\n")
