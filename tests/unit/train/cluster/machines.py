"""What the tests of a training described in the store share: machines as processes, each with a disk of its own."""

import hashlib
import json
import os
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from reelspace.core.store import open_store
from reelspace.train.cluster.stored_job import StoredJob
from reelspace.train.cluster.training_files import TrainingFiles
from reelspace.train.settings import TrainSettings
from reelspace.train.train_log import LOG_FILE
from tests.unit.train.worlds import World

KEY = "a" * 64


@dataclass(frozen=True, slots=True)
class Machines:
    """A training under KEY in the world's store, and as many machines as are started for it."""

    world: World
    root: Path
    settings: TrainSettings

    @property
    def files(self) -> TrainingFiles:
        return TrainingFiles(open_store(self.world.store), KEY)

    def describe(self) -> None:
        job = StoredJob(kind="pretrain", shards=self.world.shards, labels=self.world.labels, pretrain=self.settings)
        self.files.write_job(job)

    def start(self, name: str, num_machines: int = 2, num_processes: int = 1) -> list["subprocess.Popen[str]"]:
        """Start machines whose disks are empty, below `name`; they find each other as in pods of a TrainJob."""
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        told = {"PET_NNODES": str(num_machines), "PET_NPROC_PER_NODE": str(num_processes), "PET_MASTER_ADDR": "127.0.0.1"}
        told |= {"PET_MASTER_PORT": str(port), "GLOO_SOCKET_IFNAME": "lo", "REELSPACE_STORE": self.world.store, "OMP_NUM_THREADS": "1"}
        return [self._start({**os.environ, **told, "PET_NODE_RANK": str(rank)}, f"{name}-{rank}") for rank in range(num_machines)]

    def losses(self, into: Path) -> dict[int, float]:
        """The log of the model in the store."""
        self.files.fetch_outputs(into)
        return {row["step"]: row["loss"] for row in map(json.loads, (into / LOG_FILE).read_text().splitlines())}

    def stored_steps(self) -> list[int]:
        """The checkpoints that the store lists; every file that their manifests name must be there, with its bytes."""
        store, steps = self.files.store, []
        for name, listed in self.files.checkpoints().items():
            blobs = {path: store.get(f"runs/{KEY}/state/training/blobs/{digest}") for path, digest in listed.items()}
            assert {path: hashlib.sha256(data).hexdigest() for path, data in blobs.items()} == listed
            manifest = json.loads(blobs.pop("manifest.json"))
            assert manifest["files"].keys() == blobs.keys()
            assert name == f"step-{manifest['step']:08d}"
            steps.append(manifest["step"])
        return sorted(steps)

    def _start(self, environment: dict[str, str], name: str) -> "subprocess.Popen[str]":
        scratch = self.root / name
        command = [sys.executable, "-m", "reelspace.train", "--job-from-store", KEY, "--scratch", str(scratch)]
        return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)


def ends(processes: list["subprocess.Popen[str]"], limit_s: float = 280.0) -> tuple[list[int], str]:
    """Exit codes of all, and what they told."""
    told = [process.communicate(timeout=limit_s)[1] for process in processes]
    return [process.returncode for process in processes], "\n".join(told)
