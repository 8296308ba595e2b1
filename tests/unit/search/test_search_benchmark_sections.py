"""The sections of benchmarks/search.py that measure us beside bare faiss and over a slow store, and how results are recorded."""

import http.server
import json
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import urllib3

import reelspace.search
from benchmarks.search import SECTIONS_OF
from benchmarks.search_peers.bar_list import bars_of
from benchmarks.search_peers.comparison import Comparison, section_of
from benchmarks.search_peers.contender import Contender
from benchmarks.search_peers.environment import PeerEnvironment
from benchmarks.search_peers.growth import GROWTH, growth_case, plot_growth
from benchmarks.search_peers.imported import bare_faiss, save_rows
from benchmarks.search_peers.plan import Plan
from benchmarks.search_peers.readings import Reading
from benchmarks.search_peers.results import record_unit
from benchmarks.search_peers.shard_counts import differences
from benchmarks.search_peers.slow_puts import slow_puts
from benchmarks.search_peers.system import K, Rows
from benchmarks.search_peers.tuning import Tuned
from benchmarks.search_peers.world import SIFT, World, generated
from reelspace.core.store import open_store
from reelspace.search.compute.build import IndexSettings
from reelspace.search.tables.formats import read_table
from reelspace.search.tools.import_rows import ImportPlan, import_into_store


def empty_world() -> World:
    rows = Rows(np.arange(0), np.empty((0, 8), np.float32), {})
    return World("0k", rows, rows.vectors_ND, rows, {})


class Answering:
    """A worker that answers as it was told; many clients share connections."""

    def __init__(self, rates: dict[int, float]) -> None:
        self._rates = rates

    def ask(self, do: str, connections: int = 1, **values: object) -> tuple[dict[str, float | bool], dict[str, np.ndarray]]:
        load = {"wall_s": 100 / self._rates[connections], "client_cpu_s": 1.0, "num_short": 0}
        return {"shares": True, **load}, {"seconds": np.full(100, 0.001)}


@pytest.mark.parametrize(("rates", "best"), [({1: 100.0, 4: 200.0}, 4), ({1: 200.0, 4: 100.0}, 1)])
def test_each_server_gets_the_number_of_connections_with_the_most_answers(rates, best):
    one = Contender("any", Answering(rates), empty_world(), tuned={"": Tuned({}, 0.96)})
    one.choose_connections(0.1)
    assert one.connections == best


@pytest.mark.parametrize("unit", [(section, data) for data, sections in SECTIONS_OF.items() for section in sections])
def test_every_section_bounds_cases_of_its_own(unit):
    bars = bars_of(unit, Plan())
    assert all(section_of(bar.case) == unit[0] for bar in bars)
    assert bool(bars) is (unit[1] != SIFT)


def comparison_with(tmp_path: Path, *readings: Reading) -> Comparison:
    return Comparison(Plan(), PeerEnvironment(tmp_path / "peers"), tmp_path, list(readings))


def test_a_section_that_runs_alone_takes_the_place_of_its_own_result_and_leaves_the_others(tmp_path, monkeypatch):
    monkeypatch.setattr("benchmarks.record.RESULTS", tmp_path)
    first, second, other = (
        Reading(data, "live quiet", "reelspace", 0, {"qps": qps}) for data, qps in (("1k", 5.0), ("1k", 7.0), ("2k", 9.0))
    )
    batch = Reading("1k", "batch of 1", "reelspace", 0, {"qps": 3.0})
    for readings, unit in (
        ([first, batch], ("live", "1k")),
        ([batch], ("batch", "1k")),
        ([other], ("live", "2k")),
        ([second], ("live", "1k")),
    ):
        record_unit(comparison_with(tmp_path, *readings), unit, [], 1.0)
    found = json.loads((tmp_path / "search.json").read_text())
    figures = {(section, data): one["figures"] for section, sets in found["sections"].items() for data, one in sets.items()}
    assert figures == {
        ("live", "1k"): {"live quiet": {"reelspace": {"qps": [7.0] * 3}}},
        ("live", "2k"): {"live quiet": {"reelspace": {"qps": [9.0] * 3}}},
        ("batch", "1k"): {"batch of 1": {"reelspace": {"qps": [3.0] * 3}}},
    }
    assert {"commit", "date", "machine", "plan", "seconds"} <= set(found["sections"]["batch"]["1k"])


def test_growth_is_drawn_from_what_was_measured(tmp_path):
    def drawn(cpu_us: float) -> bytes:
        figures = [("reelspace", 20, 300.0), ("reelspace", 40, cpu_us), ("faiss", 20, 100.0), ("faiss", 40, 110.0)]
        readings = [Reading(GROWTH, growth_case(num * 1000), system, 0, {"cpu_us": value}) for system, num, value in figures]
        plot_growth(readings, (20_000, 40_000), tmp_path / "growth.svg")
        return (tmp_path / "growth.svg").read_bytes()

    assert drawn(400.0) == drawn(400.0) != drawn(500.0)


class Counting(http.server.BaseHTTPRequestHandler):
    """A store that keeps what it is sent, and gives it back."""

    protocol_version = "HTTP/1.1"
    kept: ClassVar[dict[str, bytes]] = {}

    def do_PUT(self) -> None:
        self.kept[self.path] = self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(b"")

    def do_GET(self) -> None:
        self._answer(self.kept[self.path])

    def log_message(self, format: str, *args: object) -> None:
        pass

    def _answer(self, data: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def test_the_proxy_holds_back_answers_to_puts_alone_and_changes_no_byte():
    store = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Counting)
    threading.Thread(target=store.serve_forever, daemon=True).start()
    sent = np.random.default_rng(0).bytes(300_000)
    with slow_puts(store.server_port, 0.15) as proxy, urllib3.HTTPConnectionPool("127.0.0.1", proxy.port, maxsize=1) as pool:
        seconds = []
        for method, body in (("PUT", sent), ("GET", None), ("PUT", b"PUT "), ("GET", None)):
            begun_s = time.perf_counter()
            answer = pool.request(method, f"/{len(seconds) // 2}", body=body)
            seconds.append(time.perf_counter() - begun_s)
            assert answer.data == (b"" if method == "PUT" else Counting.kept[f"/{(len(seconds) - 1) // 2}"])
        assert pool.num_connections == 1
        assert proxy.num_puts == 2
    store.shutdown()
    store.server_close()
    assert Counting.kept == {"/0": sent, "/1": b"PUT "}
    assert min(seconds[0::2]) >= 0.15 > max(seconds[1::2])


def test_answers_of_several_shards_are_compared_by_ids_and_scores():
    one = {"ids": np.array([[1, 2], [3, 4]]), "scores": np.array([[0.9, 0.8], [0.7, 0.6]])}
    other = {"ids": np.array([[1, 2], [4, 3]]), "scores": np.array([[0.9, 0.8], [0.7, 0.5]])}
    assert differences(one, one) == {"num_differing": 0, "score_difference": 0.0, "num_queries": 2}
    assert differences(other, one) == {"num_differing": 1, "score_difference": pytest.approx(0.1), "num_queries": 2}


def test_bare_faiss_searches_the_index_of_a_generation_as_the_engine_does(tmp_path):
    world = generated(3000, 40, 1)
    settings = IndexSettings(flat_below=100, recall_target=0.96, num_recall_queries=200)
    file = save_rows(tmp_path / "rows.npy", world.rows.vectors_ND)
    data = tmp_path / "data"
    data.mkdir()
    store = open_store(str(data))
    import_into_store(store, read_table(file), ImportPlan("items", index=settings))
    with ExitStack() as stack:
        bare = bare_faiss(world, data, tmp_path, stack)
        answers = bare.child.ask("scored", num=40)[1]
        batches = bare.load_batches(16, 1, 0.05)
        assert batches["vectors_per_s"] > 0
        assert batches["cpu_us"] > 0
    with reelspace.search.open(data) as db:
        hits = [db.collection("items").search(query_D, limit=K) for query_D in world.queries_QD]
    assert answers["ids"].tolist() == [[hit.id for hit in found] for found in hits]
    np.testing.assert_allclose(answers["scores"], [[hit.score for hit in found] for found in hits], atol=1e-6)
    assert bare.tuned[""].recall >= 0.9
