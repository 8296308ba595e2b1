"""What asking over a network costs: our server, with shards inside and on Triton, beside bare faiss over the same index."""

from contextlib import ExitStack
from functools import partial
from typing import Final

from benchmarks.search_peers.comparison import Case, Comparison
from benchmarks.search_peers.contender import Contender, Figures
from benchmarks.search_peers.imported import bare_faiss, import_rows, save_rows, searched, served
from benchmarks.search_peers.world import World

BATCH, FAISS = "batch", "faiss"
SINGLE_CLIENTS: Final = 64
BATCH_ROWS: Final = 64
BATCH_CLIENTS: Final = (1, 4)
SERVERS: Final = {"reelspace": (), "reelspace-triton": ("--triton",)}


def single_case() -> str:
    """Name the case of single queries."""
    return f"{BATCH} of 1 c={SINGLE_CLIENTS}"


def batches_case(clients: int) -> str:
    """Name the case of batches."""
    return f"{BATCH} of {BATCH_ROWS} c={clients}"


def measure_batches(comparison: Comparison, world: World) -> None:
    """Import the rows once, and search them through both servers and faiss."""
    with ExitStack() as stack:
        contenders = []
        folder = comparison.new_folder(BATCH, world.name)
        data = folder / "data"
        with comparison.noting_absence((BATCH, world.name), "import"):
            import_rows(save_rows(folder / "rows.npy", world.rows.vectors_ND), str(data))
        for name, options in SERVERS.items():
            with comparison.noting_absence((BATCH, world.name), name):
                contenders.append(served(world, str(data), comparison.new_folder(BATCH, world.name, name), stack, options, name))
        with comparison.noting_absence((BATCH, world.name), FAISS):
            contenders.append(bare_faiss(world, data, folder, stack))
        for one in contenders:
            comparison.note_tuned((BATCH,), one)
        comparison.take_turns(contenders, _cases(comparison.plan.duration_s), comparison.plan.rounds)


def _cases(duration_s: float) -> list[Case]:
    single = single_case(), partial(_single, duration_s)
    return [single, *((batches_case(clients), partial(_batches, duration_s, clients)) for clients in BATCH_CLIENTS)]


def _single(duration_s: float, contender: Contender) -> Figures:
    return searched(contender, SINGLE_CLIENTS, duration_s)


def _batches(duration_s: float, clients: int, contender: Contender) -> Figures:
    return contender.load_batches(BATCH_ROWS, clients if contender.server else 1, duration_s)
