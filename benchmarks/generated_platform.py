"""A generated platform without media, and the labels that the steps make of it; its truth is read only afterwards, by the benchmark."""

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from reelspace.core.artifacts import Artifact, open_artifact, read_manifest_file
from reelspace.core.store import open_store
from reelspace.demo.generate import generate
from reelspace.demo.presets import world_preset
from reelspace.steps import import_tables, preprocess_signals


@dataclass(frozen=True, slots=True)
class LabelledPlatform:
    """Where the platform lies, what was made of it, and how long the step preprocess_signals took."""

    world: Path
    tables: Artifact
    labels: Artifact
    wall_s: float
    cpu_s: float


def label_platform(place: Path, preset: str, seed: int, settings: Mapping[str, object]) -> LabelledPlatform:
    """Generate a platform below `place` and run import_tables and preprocess_signals on it."""
    world = place / "world"
    made = world_preset(preset, seed)
    generate(made.model_copy(update={"parts": made.parts - {"media"}}), world)
    os.environ["REELSPACE_STORE"] = str(place / "store")
    tables, labels = str(place / "tables.json"), str(place / "labels.json")
    import_tables.run(str(world), tables, str(place / "media.json"), "{}")
    start_s, start_cpu_s = time.monotonic(), time.process_time()
    preprocess_signals.run(tables, labels, json.dumps(settings))
    wall_s, cpu_s = time.monotonic() - start_s, time.process_time() - start_cpu_s
    store = open_store(str(place / "store"))
    artifacts = (open_artifact(store, read_manifest_file(path).id) for path in (tables, labels))
    return LabelledPlatform(world, *artifacts, wall_s, cpu_s)
