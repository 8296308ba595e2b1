"""What the tests of pretrain and distill share: steps as processes of their own, on a small world."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reelspace.core.artifacts import Artifact, open_artifact, read_manifest_file
from reelspace.core.store import open_store
from reelspace.train.settings import AugmentSettings, TrainSettings
from tests.unit.train.worlds import World, write_world

LIMIT_S = 280.0
FILES = {"model.safetensors", "model.json", "tokenizer.json", "labels.parquet", "space.json", "train_log.jsonl", "summary.json"}
PRETRAIN = TrainSettings(
    model="tiny_student",
    engine="torch",
    steps=8,
    batch_size=8,
    checkpoint_every=2,
    log_every=1,
    augment=AugmentSettings(drop_picture=0.0),
)


@dataclass(frozen=True, slots=True)
class Place:
    """A store with the inputs of training, and the manifest files beside it."""

    world: World
    root: Path

    @classmethod
    def make(cls, root: Path, store_url: str | None = None) -> "Place":
        return cls(write_world(root, store_url), root)

    def manifest(self, name: str) -> Path:
        return self.root / f"{name}.json"

    def start(
        self, step: str, *manifests: str, settings: Mapping[str, Any], threads: int = 1, path: str | None = None
    ) -> "subprocess.Popen[str]":
        """Run a step in a process of its own, with another PATH where one is given."""
        arguments = [*(str(self.manifest(name)) for name in manifests), json.dumps(settings)]
        code = f"import sys; from reelspace.core.program import run_main; from reelspace.steps import {step}; "
        code += f"sys.exit(run_main(lambda: {step}.run(*sys.argv[1:])))"
        environment = {**os.environ, "REELSPACE_STORE": self.world.store, "OMP_NUM_THREADS": str(threads)}
        environment |= {} if path is None else {"PATH": path}
        return subprocess.Popen([sys.executable, "-c", code, *arguments], env=environment, stderr=subprocess.PIPE, text=True)

    def run(self, step: str, *manifests: str, settings: Mapping[str, Any], path: str | None = None) -> tuple[int, str]:
        """Run a step to its end; gives its exit code and what it wrote to stderr."""
        process = self.start(step, *manifests, settings=settings, path=path)
        _, told = process.communicate(timeout=LIMIT_S)
        return process.returncode, told

    def artifact(self, name: str) -> Artifact:
        store = open_store(self.world.store)
        return open_artifact(store, read_manifest_file(self.manifest(name)).id)


def logged(artifact: Artifact) -> list[tuple[int, float]]:
    """The steps of a training log and their losses."""
    rows = [json.loads(line) for line in artifact.read("train_log.jsonl").splitlines()]
    return [(row["step"], row["loss"]) for row in rows]
