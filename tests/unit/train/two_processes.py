"""`python -m tests.unit.train.two_processes RANK FILE`: one of two processes that train the small world with every engine setting.

Rank 0 prints JSON: the losses per ZeRO stage, and how far the gradient of the gathered loss is from that of one process.
"""

import json
import sys
import warnings

import torch
import torch.distributed as dist

from reelspace.train.batches import make_batch
from reelspace.train.deepspeed_engine import DeepSpeedEngine
from reelspace.train.engine import connect
from reelspace.train.group import Group
from reelspace.train.word_masks import make_masks
from tests.unit.train.engines import NUM_STEPS, SETTINGS, losses_of, make_objective, world

STAGES = (0, 1, 2)


def gradient_difference(group: Group) -> float:
    """Largest difference of any gradient element between rows of two processes and all rows in one, relative to the largest element."""
    found = []
    data, tokenizer = world()
    masks = make_masks(data, tokenizer, SETTINGS)
    for members in (Group(), group):
        objective = make_objective()
        connect(objective, members)
        loss, _ = objective(make_batch(data, tokenizer, SETTINGS, 0, members.rank, members.world_size, masks))
        loss.backward()
        found.append(torch.cat([members.mean(weight.grad).flatten() for weight in objective.parameters() if weight.grad is not None]))
    alone, together = found
    return float((alone - together).abs().max() / alone.abs().max())


def main() -> None:
    """Join the other process, train, and tell."""
    warnings.simplefilter("ignore", FutureWarning)
    torch.set_num_threads(1)
    group = Group(int(sys.argv[1]), 2)
    dist.init_process_group("gloo", init_method=f"file://{sys.argv[2]}", rank=group.rank, world_size=2)
    difference = gradient_difference(group)
    losses = {}
    for stage in STAGES:
        settings = SETTINGS.model_copy(update={"zero_stage": stage})
        losses[stage] = losses_of(DeepSpeedEngine(make_objective(), settings, group), group, NUM_STEPS)
    if group.rank == 0:
        print(json.dumps({"losses": losses, "gradient_difference": difference}))
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
