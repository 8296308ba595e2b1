"""Writes to our server while it is searched, over an S3 store whose every PUT takes 30 ms longer; peers have no such store."""

from contextlib import ExitStack
from typing import Final

from benchmarks.search_peers.comparison import Comparison
from benchmarks.search_peers.contender import Contender
from benchmarks.search_peers.imported import client_of, import_rows, save_rows
from benchmarks.search_peers.readings import Reading
from benchmarks.search_peers.reelspace import serve_store
from benchmarks.search_peers.s3_server import BUCKET, start_s3, variables_of
from benchmarks.search_peers.servers import Written, write_in_turns
from benchmarks.search_peers.slow_puts import slow_puts
from benchmarks.search_peers.system import UNFILTERED
from benchmarks.search_peers.world import World

STORE, NAME = "store", "reelspace"
PUT_S: Final = 0.03
URL: Final = f"s3://{BUCKET}/benchmark"


def measure_slow_store(comparison: Comparison, world: World) -> None:
    """Import the rows into the store, and serve them through the proxy."""
    with ExitStack() as stack, comparison.noting_absence((STORE, world.name), NAME):
        s3 = start_s3(comparison.new_folder(STORE, world.name, "s3"))
        stack.callback(s3.stop)
        folder = comparison.new_folder(STORE, world.name, NAME)
        file = save_rows(folder / "rows.npy", world.rows.vectors_ND)
        import_rows(file, URL, variables=variables_of(s3.place["port"]))
        proxy = stack.enter_context(slow_puts(s3.place["port"], PUT_S))
        server = serve_store(URL, folder, (), variables_of(proxy.port))
        stack.callback(server.stop)
        contender = Contender(NAME, client_of(server, "reader", stack), world, server)
        contender.tune((UNFILTERED,))
        comparison.note_tuned((STORE,), contender)
        comparison.tuned[STORE, world.name] |= {"s3": s3.place["kind"], "put_s": PUT_S}
        write_in_turns(comparison, [Written(contender, client_of(server, "writer", stack))], STORE)
        comparison.add(Reading(world.name, f"{STORE} proxy", NAME, 0, {"num_puts": proxy.num_puts}))
