"""`python -m tests.unit.train.engine_process RANK NUM FILE TASKS`: one of NUM processes that meet in FILE and do tasks on the small world.

TASKS is a JSON list. A task {"settings": {...}, "first": 0, "last": 10, "load": DIR, "save": DIR} takes steps, after and before a
checkpoint where one is named; {"gradient": true} compares gradients. Rank 0 prints one JSON object per task: {"losses": [...]}, or
{"difference": x}, how far the gradient of the objective over rows of all processes is from that over all rows in one.
"""

import json
import sys
import warnings
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from reelspace.train.engine import prepare
from reelspace.train.group import Group
from tests.unit.train.engines import NUM_STEPS, SETTINGS, batch_of, losses_of, make_engine, make_objective


def main() -> None:
    """Join the other processes, work, and tell."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    group = Group(int(sys.argv[1]), int(sys.argv[2]))
    dist.init_process_group("gloo", init_method=f"file://{sys.argv[3]}", rank=group.rank, world_size=group.world_size)
    for task in json.loads(sys.argv[4]):
        answer = {"difference": gradient_difference(group)} if task.get("gradient") else {"losses": steps(task, group)}
        if group.rank == 0:
            print(json.dumps(answer), flush=True)
    dist.barrier()
    dist.destroy_process_group()


def steps(task: dict[str, Any], group: Group) -> list[float]:
    """Take the steps of a task."""
    engine = make_engine(SETTINGS.model_copy(update=task["settings"]), group)
    if "load" in task:
        place = Path(task["load"])
        layout = (place / "layout").read_text()
        refusal = engine.refusal(layout)
        assert refusal is None, refusal
        engine.load(place, layout)
    losses = losses_of(engine, group, task.get("last", NUM_STEPS), task.get("first", 0))
    if "save" in task:
        place = Path(task["save"])
        place.mkdir(parents=True, exist_ok=True)
        group.barrier()
        engine.save(place)
        (place / "layout").write_text(engine.layout)
    return losses


def gradient_difference(group: Group) -> float:
    """Largest difference of any gradient element, relative to the largest element."""
    found = []
    for members in (Group(), group):
        objective = prepare(make_objective(), SETTINGS, members)
        loss, _ = objective(batch_of(0, members))
        loss.backward()
        found.append(torch.cat([members.mean(weight.grad).flatten() for weight in objective.parameters() if weight.grad is not None]))
    alone, together = found
    return float((alone - together).abs().max() / alone.abs().max())


if __name__ == "__main__":
    main()
