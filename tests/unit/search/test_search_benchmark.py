import asyncio
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest

from benchmarks.search_peers.absence import NotHere
from benchmarks.search_peers.bars import Bar, described, judge, table_of_bars
from benchmarks.search_peers.child import Child
from benchmarks.search_peers.comparison import Comparison
from benchmarks.search_peers.environment import PeerEnvironment
from benchmarks.search_peers.libraries import compare_libraries
from benchmarks.search_peers.load import run_load, run_tasks
from benchmarks.search_peers.pgvector import copy_bytes, vector_bytes
from benchmarks.search_peers.plan import Plan
from benchmarks.search_peers.processes import cpu_s, family, memory_bytes
from benchmarks.search_peers.readings import Reading, summaries, table
from benchmarks.search_peers.reelspace import messages, query_points
from benchmarks.search_peers.roster import Entry
from benchmarks.search_peers.system import FILTERS, Direct, Floats, K, Knob, Rows, Where, where_of
from benchmarks.search_peers.tuning import NUM_TUNING, Tuned, fastest, smallest
from benchmarks.search_peers.wire import read_message, write_message
from benchmarks.search_peers.world import exact, generated
from benchmarks.search_peers.writing import count_stale, write_steadily

PEER = Entry("faiss", "faiss_ivf", is_ours=True)
"""Runs in the environment of the tests, where faiss is at home."""


def small_rows(num: int, first: int = 0) -> Rows:
    draw = np.random.default_rng(num)
    vectors_ND = draw.standard_normal((num, 8)).astype(np.float32)
    return Rows(np.arange(first, first + num), vectors_ND, {key: draw.integers(0, FILTERS[key], num) for key in FILTERS})


class Exact:
    """A system of a few rows in a dictionary; `behind` inserts are not searched yet, and `lost` ids never."""

    def __init__(self, behind: int = 0, lost: Sequence[int] = ()) -> None:
        self._rows: dict[int, Floats] = {}
        self._behind, self._lost = behind, set(lost)
        self._lock = threading.Lock()

    def ladders(self, key: str) -> Sequence[Sequence[Knob]]:
        return [[{}]]

    def build(self, rows: Rows) -> None:
        self.insert(rows, wait=True)

    def set_knob(self, knob: Knob) -> None:
        pass

    def searcher(self) -> Direct:
        return Direct(self._search)

    def shared(self) -> None:
        pass

    def insert(self, rows: Rows, *, wait: bool) -> None:
        with self._lock:
            self._rows |= dict(zip(rows.ids_N.tolist(), rows.vectors_ND, strict=True))

    def reopen(self) -> None:
        pass

    def close(self) -> None:
        pass

    def _search(self, query_D: Floats, k: int, where: Where | None) -> list[int]:
        with self._lock:
            seen = list(self._rows.items())[: len(self._rows) - self._behind]
        near = sorted((float(((vector_D - query_D) ** 2).sum()), row) for row, vector_D in seen if row not in self._lost)
        return [row for _, row in near[:k]]


def test_the_smallest_setting_that_reaches_the_target_on_all_queries_is_taken():
    few = {1: 0.90, 2: 0.95, 3: 0.96, 4: 0.99}
    every = {2: 0.9499, 3: 0.955, 4: 0.99}
    tuned = smallest([{"ef": ef} for ef in few], 1000, lambda knob, num: few[knob["ef"]] if num == NUM_TUNING else every[knob["ef"]])
    assert tuned == Tuned({"ef": 3}, 0.955)
    assert tuned.reaches


@pytest.mark.parametrize("enough", range(16))
def test_few_of_many_settings_are_tried(enough):
    tried = []

    def recall_of(knob: Knob, num: int) -> float:
        tried.append((knob["ef"], num))
        return 0.96 if knob["ef"] >= enough else 0.9

    tuned = smallest([{"ef": ef} for ef in range(15)], 1000, recall_of)
    assert tuned == (Tuned({"ef": enough}, 0.96) if enough < 15 else Tuned({"ef": tuned.knob["ef"]}, 0.9))
    assert len(tried) <= 5


def test_without_a_setting_that_reaches_the_target_the_best_one_is_named_with_its_recall_on_all_queries():
    few = {1: 0.2, 2: 0.9, 3: 0.5}
    tuned = smallest([{"ef": ef} for ef in few], 1000, lambda knob, num: few[knob["ef"]] - (num == 1000) * 0.1)
    assert tuned.knob == {"ef": 2}
    assert tuned.recall == pytest.approx(0.8)
    assert not tuned.reaches


def tune(recalls: dict[str, float], seconds: dict[str, float]) -> Tuned:
    clock_s = 0.0

    def recall_of(knob: Knob, num: int) -> float:
        nonlocal clock_s
        clock_s += seconds[str(knob["way"])]
        return recalls[str(knob["way"])]

    return fastest([[{"way": way}] for way in recalls], 1000, recall_of, lambda: clock_s)


def test_of_several_ways_to_search_the_fastest_that_reaches_the_target_is_taken():
    seconds = {"hasty": 0.1, "graph": 3.0, "scan": 2.0, "slow": 9.0}
    assert tune({"hasty": 0.4, "graph": 0.96, "scan": 0.951, "slow": 1.0}, seconds).knob == {"way": "scan"}
    assert tune({"scan": 0.951, "hasty": 0.4, "graph": 0.96, "slow": 1.0}, seconds).knob == {"way": "scan"}
    assert tune({"hasty": 0.4, "slow": 0.6, "scan": 0.5}, seconds).knob == {"way": "slow"}


def readings_of(case: str, system: str, figure: str, values: Sequence[float], recall: float | None = None) -> list[Reading]:
    more = {} if recall is None else {"recall": recall}
    return [Reading("20k", case, system, turn, {figure: value, **more}) for turn, value in enumerate(values)]


def test_a_ratio_is_the_median_of_ratios_within_rounds_and_not_a_ratio_of_medians():
    readings = readings_of("c", "reelspace", "qps", (10.0, 200.0, 30.0)) + readings_of("c", "peer", "qps", (10.0, 100.0, 60.0))
    verdict = judge(Bar("", "c", "qps", "reelspace", ("peer",), at_least=1.01), "20k", readings)
    assert verdict.measured == (1.0, 0.5, 2.0)
    assert verdict.held is False


@pytest.mark.parametrize(("figure", "bound", "best"), [("qps", {"at_least": 0.5}, "fast"), ("p50_ms", {"at_most": 3.0}, "slow")])
def test_the_best_peer_is_the_largest_for_a_lower_bound_and_the_smallest_for_an_upper_one(figure, bound, best):
    readings = [
        reading
        for name, value in (("reelspace", 60.0), ("fast", 100.0), ("slow", 20.0))
        for reading in readings_of("c", name, figure, [value])
    ]
    verdict = judge(Bar("", "c", figure, "reelspace", ("fast", "slow"), **bound), "20k", readings)
    assert verdict.best == best
    assert verdict.held


def test_a_peer_below_the_target_of_recall_is_not_compared_with():
    readings = readings_of("c", "reelspace", "qps", [60.0], 0.96)
    readings += readings_of("c", "hasty", "qps", [1000.0], 0.10) + readings_of("c", "honest", "qps", [20.0], 0.95)
    bar = Bar("", "c", "qps", "reelspace", ("hasty", "honest"), at_least=3.0)
    assert (judge(bar, "20k", readings).best, judge(bar, "20k", readings).held) == ("honest", True)


def test_ours_below_the_target_of_recall_holds_no_bar():
    readings = readings_of("c", "reelspace", "qps", [60.0], 0.94) + readings_of("c", "peer", "qps", [20.0], 0.95)
    assert judge(Bar("", "c", "qps", "reelspace", ("peer",), at_least=1.0), "20k", readings).held is False


def test_a_missing_peer_leaves_a_bar_open_and_a_missing_system_of_ours_misses_it():
    bar = Bar("", "c", "qps", "reelspace", ("peer",), at_least=1.0)
    assert judge(bar, "20k", readings_of("c", "reelspace", "qps", [1.0])).held is None
    assert judge(bar, "20k", readings_of("c", "peer", "qps", [1.0])).held is False


def test_a_bar_may_compare_two_cases_of_one_system():
    readings = readings_of("quiet", "reelspace", "p99_ms", (1.0, 2.0)) + readings_of("writing", "reelspace", "p99_ms", (1.5, 5.0))
    bar = Bar("p99", "writing", "p99_ms", "reelspace", ("reelspace",), "quiet", at_most=2.0)
    assert judge(bar, "20k", readings).measured == (2.0, 1.5, 2.5)
    assert judge(bar, "20k", readings).held


def test_tables_give_median_and_spread_and_name_what_is_missed():
    readings = readings_of("c", "reelspace", "qps", (1234.4, 1000.0, 2000.0)) + readings_of("c", "peer", "p50_ms", [0.12345])
    assert summaries(readings)["20k"]["c"]["reelspace"]["qps"] == (1234.0, 1000.0, 2000.0)
    assert table(readings).split("\n") == [
        "20k, c     qps                  p50_ms",
        "reelspace  1,234 (1,000-2,000)  -",
        "peer       -                    0.123",
    ]
    verdict = judge(Bar("rate", "c", "qps", "reelspace", at_least=1500.0), "20k", readings)
    assert table_of_bars([verdict]).split("\n")[1].split()[-1] == "MISSED"
    assert described(verdict)["measured"] == [1234.0, 1000.0, 2000.0]


def test_messages_come_back_with_their_arrays():
    arrays = {"a": np.arange(6, dtype=np.int64).reshape(2, 3), "none": np.empty((0, 4), np.float32), "b": np.array([0.5, np.inf])}
    stream = BytesIO()
    write_message(stream, {"do": "x", "n": 3}, arrays)
    write_message(stream, {})
    stream.seek(0)
    header, read = read_message(stream)
    assert header == {"do": "x", "n": 3}
    assert {name: (array.dtype, array.tolist()) for name, array in read.items()} == {
        name: (array.dtype, array.tolist()) for name, array in arrays.items()
    }
    assert read_message(stream) == ({}, {})
    with pytest.raises(EOFError):
        read_message(stream)


def test_truth_under_a_condition_is_that_of_a_scan_over_the_rows_that_pass():
    rows, queries_QD = small_rows(3000), small_rows(50).vectors_ND
    for key in ("", *FILTERS):
        for number, query_D in enumerate(queries_QD):
            where = where_of(key, number)
            scores = {
                row: float(vector_D @ query_D)
                for row, vector_D in enumerate(rows.vectors_ND)
                if where is None or rows.payload[key][row] == where.value
            }
            best = sorted(scores, key=lambda row, scores=scores: -scores[row])[:K]
            assert exact(rows, queries_QD, key)[number].tolist() == best


def test_clients_begin_at_different_requests_and_short_answers_are_counted():
    asked: list[int] = []

    class Searcher:
        def search(self, request):
            asked.append(request)
            time.sleep(0.001)
            return range(K if request % 2 else K - 1)

    load = run_load([Searcher(), Searcher()], range(100), 0.1)
    assert len(load.seconds_Q) == len(asked)
    assert load.num_short == sum(request % 2 == 0 for request in asked)
    assert {0, 50} <= set(asked)
    assert load.wall_s == pytest.approx(0.1, rel=0.5)


def test_tasks_share_a_connection_and_wait_at_the_same_time():
    asked: list[int] = []

    class Searcher:
        async def search(self, request):
            asked.append(request)
            await asyncio.sleep(0.01)
            return range(K if request % 2 else K - 1)

    load = asyncio.run(run_tasks([Searcher()], range(100), 8, 0.1))
    assert len(load.seconds_Q) == len(asked) > 2 * 0.1 / 0.01
    assert load.num_short == sum(request % 2 == 0 for request in asked)
    assert asked[:8] == [number * 100 // 8 for number in range(8)]


def test_tasks_take_turns_at_several_connections():
    class Searcher:
        num = 0

        async def search(self, request):
            self.num += 1
            await asyncio.sleep(0.01)
            return range(K)

    connections = [Searcher(), Searcher()]
    load = asyncio.run(run_tasks(connections, range(100), 8, 0.1))
    assert [one.num for one in connections] == [len(load.seconds_Q) // 2] * 2


def test_writes_keep_their_rate_and_rows_are_found_afterwards():
    done = write_steadily(Exact(), small_rows(400), rows_per_s=2000, batch_rows=100, duration_s=10.0, wait=False)
    assert (done.num_rows, done.num_lost, len(done.visible_ms), len(done.acknowledged_ms)) == (400, 0, 4, 4)
    assert done.num_rows / done.wall_s == pytest.approx(2000, rel=0.1)


def test_writes_stop_when_their_time_is_over():
    done = write_steadily(Exact(), small_rows(1000), rows_per_s=1000, batch_rows=100, duration_s=0.25, wait=False)
    assert done.num_rows == 300


def test_a_row_that_no_search_finds_is_lost(monkeypatch):
    monkeypatch.setattr("benchmarks.search_peers.writing.FOUND_WITHIN_S", 0.02)
    done = write_steadily(Exact(lost=[199]), small_rows(300), rows_per_s=10_000, batch_rows=100, duration_s=10.0, wait=False)
    assert (done.num_lost, len(done.visible_ms)) == (1, 2)


@pytest.mark.parametrize(("system", "num_stale"), [(Exact(), 0), (Exact(behind=1), 20), (Exact(lost=[3, 7]), 2)])
def test_stale_rows_are_those_that_the_next_search_misses(system, num_stale):
    assert count_stale(system, small_rows(20)) == num_stale


def test_pgvector_gets_vectors_and_rows_in_its_own_binary_form():
    vectors_ND = np.array([[1.0, -2.0]], np.float32)
    assert bytes(vector_bytes(vectors_ND)) == bytes.fromhex("00020000 3f800000 c0000000")
    rows = Rows(np.array([7]), vectors_ND, {"category": np.array([3])})
    fields = "0003 00000008 0000000000000007 0000000c 000200003f800000c0000000 00000004 00000003"
    assert copy_bytes(rows) == b"PGCOPY\n\xff\r\n\0" + bytes(8) + bytes.fromhex(fields) + b"\xff\xff"


def test_our_query_asks_for_ids_alone_under_its_condition():
    message = query_points(np.ones(4, np.float32), 10, Where("category", 3)).SerializeToString()
    request = messages.QueryPoints.FromString(message)
    assert (request.limit, request.with_payload.enable, list(request.query.nearest.dense.data)) == (10, False, [1.0] * 4)
    assert [(one.field.key, one.field.match.integer) for one in request.filter.must] == [("category", 3)]


def test_a_go_program_is_built_once_and_without_go_the_reason_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    environment = PeerEnvironment(tmp_path)
    with pytest.raises(NotHere, match="no `go` on PATH"):
        environment.go_program("example.com/cmd/server", "v1")
    built = tmp_path / "server@v1" / "server"
    built.parent.mkdir()
    built.touch()
    assert environment.go_program("example.com/cmd/server", "v1") == built


def test_a_worker_that_dies_says_why(tmp_path):
    child = Child(Path(sys.executable), "no_such_system", {}, tmp_path / "log")
    with pytest.raises(NotHere, match="no_such_system"):
        child.ladders("")
    child.close()


def test_processor_time_and_memory_count_children(tmp_path):
    child = Child(Path(sys.executable), "faiss_ivf", {"directory": str(tmp_path / "data")}, tmp_path / "log")
    child.ladders("")
    (pid,) = set(family(child.pid)) & {child.pid}
    assert cpu_s(pid) > 0.0
    assert memory_bytes(pid) > 10 << 20
    child.close()


def test_a_bar_may_bound_what_ours_is_beyond_another():
    readings = readings_of("c", "reelspace", "cpu_us", (140.0, 130.0, 190.0)) + readings_of("c", "faiss", "cpu_us", (100.0, 100.0, 100.0))
    bar = Bar("", "c", "cpu_us", "reelspace", ("faiss",), beyond=True, at_most=40.0)
    assert judge(bar, "20k", readings).measured == (40.0, 30.0, 90.0)
    assert judge(bar, "20k", readings).held
    assert not judge(replace(bar, at_most=39.0), "20k", readings).held


def test_a_comparison_tunes_takes_turns_and_goes_on_without_who_is_not_here(tmp_path):
    plan = Plan(duration_s=0.05, rounds=2)
    comparison = Comparison(plan, PeerEnvironment(tmp_path / "peers"), tmp_path)
    world = generated(4000, 60, 10)
    compare_libraries(comparison, [PEER, Entry("absent", "no_such_system", is_ours=True)], world)
    assert {unit: list(systems) for unit, systems in comparison.not_here.items()} == {("embedded", "4k"): ["absent"]}
    cases = summaries(comparison.readings)["4k"]
    names = [f"embedded {key} {heat}" for key in FILTERS for heat in ("cold", "warm")]
    assert list(cases) == ["embedded build", "embedded", *names]
    assert all(cases[case]["faiss"]["recall"][0] >= 0.95 for case in cases if case != "embedded build")
    assert all(cases[case]["faiss"]["num_short"] == (0.0, 0.0, 0.0) for case in names)
    assert comparison.tuned["embedded", "4k"]["faiss"]["unfiltered"]["knob"]["nprobe"] >= 1
    assert [reading.round for reading in comparison.readings if reading.case == "embedded"] == [0, 1]
