"""Collections of 1, 2 and 4 shards of the same rows: equal answers of exact search, and what more shards cost."""

from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.search_peers.comparison import Comparison
from benchmarks.search_peers.contender import Contender, Figures
from benchmarks.search_peers.imported import client_of, import_rows, save_rows, searched, served
from benchmarks.search_peers.readings import Reading
from benchmarks.search_peers.reelspace import COLLECTION, serve_store
from benchmarks.search_peers.world import World
from reelspace.core.store import open_store
from reelspace.search.compute.build import IndexSettings
from reelspace.search.tables.formats import read_table
from reelspace.search.tools.import_rows import ImportPlan, import_into_store

SHARDS, NAME = "shards", "reelspace"
COUNTS: Final = (1, 2, 4)
CLIENTS: Final = 16
NUM_EXACT: Final = 200
Answers = Mapping[str, NDArray[Any]]


def shards_case(num: int) -> str:
    """Name the case of so many shards."""
    return f"{SHARDS} {num}"


def exact_case(num: int) -> str:
    """Name the case of exact search in so many shards."""
    return f"{shards_case(num)} exact"


def measure_shards(comparison: Comparison, world: World) -> None:
    """Compare the answers of flat indexes in each number of shards with those of one, then search the usual indexes in turns."""
    file = save_rows(comparison.new_folder(SHARDS, world.name) / "rows.npy", world.rows.vectors_ND)
    with comparison.noting_absence((SHARDS, world.name), "exact"):
        one_shard = None
        for num in COUNTS:
            found = _exact_answers(world, file, num, comparison.new_folder(SHARDS, world.name, f"exact-{num}"))
            one_shard = one_shard or found
            comparison.add(Reading(world.name, exact_case(num), NAME, 0, differences(found, one_shard)))
    with ExitStack() as stack:
        contenders = {}
        for num in COUNTS:
            with comparison.noting_absence((SHARDS, world.name), shards_case(num)):
                folder = comparison.new_folder(SHARDS, world.name, str(num))
                import_rows(file, str(folder / "data"), num)
                contenders[num] = served(world, str(folder / "data"), folder, stack)
        measure = partial(_measure, comparison.plan.duration_s)
        for turn in range(comparison.plan.rounds):
            for num, one in contenders.items():
                comparison.take_turns([one], [(shards_case(num), measure)], 1, turn)


def differences(found: Answers, wanted: Answers) -> Figures:
    """Count the queries whose ids differ, and give the largest difference of a score."""
    num_differing = int((found["ids"] != wanted["ids"]).any(axis=1).sum())
    largest = float(np.abs(found["scores"] - wanted["scores"]).max())
    return {"num_differing": num_differing, "score_difference": largest, "num_queries": len(found["ids"])}


def _exact_answers(world: World, file: Path, num_shards: int, folder: Path) -> Answers:
    data = folder / "data"
    data.mkdir()
    plan = ImportPlan(COLLECTION, num_shards=num_shards, index=IndexSettings(kind="flat"))
    import_into_store(open_store(str(data)), read_table(file), plan)
    with ExitStack() as stack:
        server = serve_store(str(data), folder, ())
        stack.callback(server.stop)
        child = client_of(server, "client", stack)
        child.ask("queries", {"queries": world.queries_QD})
        return child.ask("scored", num=min(NUM_EXACT, len(world.queries_QD)))[1]


def _measure(duration_s: float, contender: Contender) -> Figures:
    return searched(contender, CLIENTS, duration_s)
