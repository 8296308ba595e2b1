"""A plan as values of the chart vector-search: as many groups as a copy takes machines, as many servers each as there are copies."""

import math
from pathlib import Path
from typing import Any, Final

from reelspace.core.errors import UserError
from reelspace.search.planning.plan import SearchPlan

STORE_SECRET: Final = "store-keys"
KEYS_SECRET: Final = "api-keys"
"""As docs/guides/operate.md makes them."""
LEAST_GIB: Final = 2
HOST_GIB_OF_GPU: Final = 8


def chart_values(plan: SearchPlan) -> dict[str, Any]:
    """Give the values of the plan's best choice; collections are made with `shard_number` as the plan says.

    Raises:
        UserError: nothing reaches the recall.
    """
    if plan.best is None:
        raise UserError(f"expected an index type that reaches a recall of {plan.settings.recall:g} for chart values, none does")
    found, settings = plan.best.cluster, plan.settings
    on_gpu = found.processor == "gpu"
    gib = math.ceil(found.shards_per_machine * found.shard_bytes / (1 - settings.margin) / 2**30)
    memory = f"{HOST_GIB_OF_GPU if on_gpu else max(LEAST_GIB, gib)}Gi"
    scratch_gib = max(LEAST_GIB, math.ceil(found.shards_per_machine * found.shard_bytes * 2 / 2**30))
    cores = 2 if on_gpu else settings.cpu.cores
    resources = {
        "requests": {"cpu": str(cores), "memory": memory, "ephemeral-storage": "1Gi"},
        "limits": {"memory": memory, "ephemeral-storage": f"{scratch_gib + LEAST_GIB}Gi"},
    }
    return {
        "store": {"existingSecret": STORE_SECRET},
        "auth": {"existingSecret": KEYS_SECRET},
        "gateway": {"replicas": settings.gateways},
        "shards": {
            "groups": [{"name": f"g{number}"} for number in range(found.machines_per_copy)],
            "replicas": found.num_copies,
            "gpu": {"enabled": on_gpu},
            "resources": resources,
            "scratch": f"{scratch_gib}Gi",
        },
    }


def write_new(path: Path, text: bytes) -> None:
    """Write a file that must not be there yet.

    Raises:
        UserError: it is, or it cannot be written.
    """
    try:
        with path.open("xb") as file:
            file.write(text)
    except FileExistsError as error:
        raise UserError(f"{path} is there already: name another file") from error
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}") from error
