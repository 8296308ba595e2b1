"""Signs of life: every process touches its file each step; the launcher ends a training in which one has fallen silent."""

import time
from dataclasses import dataclass
from pathlib import Path

SILENT_S = 60.0
START_S = 300.0


def beat(run: Path, rank: int) -> None:
    """Say that this process is alive."""
    (run / f"heartbeat-{rank}").touch()


@dataclass(frozen=True, slots=True)
class Watch:
    """Watches the processes of one launch, started at `started_at` (seconds since the epoch)."""

    run: Path
    num_processes: int
    started_at: float

    def silent_rank(self, now: float | None = None) -> int | None:
        """Give a process that has been silent too long: SILENT_S after its last sign, START_S before its first."""
        now = time.time() if now is None else now
        for rank in range(self.num_processes):
            path = self.run / f"heartbeat-{rank}"
            last = path.stat().st_mtime if path.exists() else 0.0
            if now > (last + SILENT_S if last >= self.started_at else self.started_at + START_S):
                return rank
        return None
