"""The checkpoints of a training that runs, kept in the store while it goes on."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

from reelspace.core.errors import SettingError, StoreUnavailable
from reelspace.core.log import log
from reelspace.core.steps import StepRun
from reelspace.train.checkpoint_manifest import MANIFEST_FILE, read_manifest, sha256_of
from reelspace.train.job import CHECKPOINTS

_POLL_S = 0.5


@dataclass
class StoredCheckpoints:
    """Follows a training's run directory, which is the state of a step; in a directory store that is the place itself.

    Only whole checkpoints are stored, under the hashes of their manifests.
    """

    run: StepRun
    _seen: tuple[str, ...] = ()
    _is_failing: bool = False

    def follow(self, process: "subprocess.Popen[bytes]") -> None:
        """Store every checkpoint that appears, until the process ends."""
        while True:
            try:
                process.wait(_POLL_S)
            except subprocess.TimeoutExpired:
                present = tuple(directory.name for directory in self._present())
                if present != self._seen:
                    self._seen = present
                    self.store()
            else:
                return

    def store(self) -> str:
        """Store the checkpoints there are; gives what stood against it, which is told once until a store succeeds again."""
        sets = {directory.name: files for directory in self._present() if (files := self._files(directory))}
        try:
            left_out = self.run.save_state_sets(sets)
        except (SettingError, StoreUnavailable) as error:
            if not self._is_failing:
                log("checkpoint_not_stored", reason=str(error), training="goes on", next_try="with the next checkpoint")
            self._is_failing = True
            return str(error)
        self._is_failing = False
        for name, problem in left_out.items():
            # The training itself drops old ones.
            if (self.run.state / CHECKPOINTS / name).is_dir():
                log("checkpoint_left_out", checkpoint=name, reason=problem)
        return ""

    def _present(self) -> list[Path]:
        return sorted((self.run.state / CHECKPOINTS).glob("step-*"))

    def _files(self, directory: Path) -> dict[str, str]:
        """Give the hashes of a checkpoint's files by their path in the state; nothing if it is gone, or no checkpoint."""
        try:
            files = {**read_manifest(directory).files, MANIFEST_FILE: sha256_of(directory / MANIFEST_FILE)}
        except (OSError, ValueError):
            return {}
        return {(directory / name).relative_to(self.run.state).as_posix(): sha256 for name, sha256 in files.items()}
