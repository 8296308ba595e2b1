"""DeepSpeed's universal checkpoints: a state whose pieces belong to one number of processes, cut anew for another."""

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from reelspace.core.errors import InternalError

_LAYOUT = re.compile(r"deepspeed-zero([0-3])-([1-9][0-9]*)")
_TOLD = 2_000


@dataclass(frozen=True, slots=True)
class Layout:
    """How DeepSpeed spreads a state over files: by ZeRO stage and number of processes."""

    stage: int
    world_size: int

    @classmethod
    def read(cls, text: str) -> Self | None:
        """Read what `str` gives; None: it is no layout of DeepSpeed."""
        found = _LAYOUT.fullmatch(text)
        return None if found is None else cls(int(found[1]), int(found[2]))

    def __str__(self) -> str:
        return f"deepspeed-zero{self.stage}-{self.world_size}"

    @property
    def family(self) -> int:
        """States of one family can be cut anew for each other: whole (stage 0), by optimizer state (1 and 2), by weights (3)."""
        return (0, 1, 1, 3)[self.stage]

    def fits(self, other: Self) -> bool:
        """Tell whether the state of another layout loads as it is: stage 0 spreads nothing."""
        return self == other or self.stage == other.stage == 0


def convert(source: Path, target: Path, stage: int) -> None:
    """Write the state in `source`, of one stage and any number of processes, as a universal checkpoint to `target`.

    Raises:
        InternalError: DeepSpeed's converter failed; its last words follow.
    """
    command = [sys.executable, "-m", "deepspeed.checkpoint.ds_to_universal", "--input_folder", str(source), "--output_folder", str(target)]
    command += ["--num_extract_workers", "1", "--num_merge_workers", "1"]
    if stage < 3:
        # What these stages leave out of their files the converter has as a default.
        command.append("--inject_missing_state")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise InternalError(f"the checkpoint {source} could not be cut for another number of processes: {done.stderr[-_TOLD:]}")
