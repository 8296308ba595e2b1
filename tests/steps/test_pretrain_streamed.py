"""Pretraining that reads its works from the shards gives the very weights of one that holds them in memory."""

import json
from pathlib import Path

from tests.steps.training_steps import PRETRAIN, Place, logged

ARGUMENTS = ("pretrain", "shards", "labels", "teacher")
SETTINGS = {**PRETRAIN.model_dump(mode="json"), "order": "shuffled", "steps": 5}


def test_works_read_from_the_shards_train_the_weights_of_works_in_memory(tmp_path: Path):
    held, streamed = Place.make(tmp_path / "held"), Place.make(tmp_path / "streamed")
    code, told = held.run(*ARGUMENTS, settings={**SETTINGS, "reading": {"prefetch": 0}})
    assert code == 0, told
    reading = {"memory_mib": 0, "cache": str(tmp_path / "cache"), "prefetch": 2}
    code, told = streamed.run(*ARGUMENTS, settings={**SETTINGS, "reading": reading})
    assert code == 0, told
    assert logged(streamed.artifact("teacher")) == logged(held.artifact("teacher"))
    assert streamed.artifact("teacher").read("model.safetensors") == held.artifact("teacher").read("model.safetensors")
    cached = [path for path in (tmp_path / "cache").glob("*/?/*") if path.name != ".size"]
    # Two whole batches of eight in each epoch of twenty works, and half of a third epoch.
    assert 16 <= len(cached) <= 20
    shares = [json.loads(line)["data_wait_share"] for line in streamed.artifact("teacher").read("train_log.jsonl").splitlines()]
    assert all(0 <= share <= 1 for share in shares)
