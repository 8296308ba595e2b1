"""The frame of benchmarks/serving.py: what is measured is what is judged, loads are counted right, and results are kept by section."""

import asyncio
import json
import os
import time
from pathlib import Path

import pytest

from benchmarks import record
from benchmarks.search_peers.bars import judge
from benchmarks.search_peers.readings import Reading
from benchmarks.serving_parts.bar_list import bars_of
from benchmarks.serving_parts.bed import GATEWAY, GRPC, HTTP, PASSING, TRITON, Bed, Place, metric, threads_cpu_s
from benchmarks.serving_parts.models import MODELS, Requests, requests_of
from benchmarks.serving_parts.plan import Plan
from benchmarks.serving_parts.results import Took, record_section
from benchmarks.serving_parts.sections import SECTIONS, Sitting
from benchmarks.serving_parts.sender import Loads, _overload
from reelspace.serving.infer_message import parse_message
from reelspace.serving.infer_request import parse_request
from reelspace.serving.signatures import EncoderSizes, text_signature, video_signature
from reelspace.serving.wire import HEAD_LENGTH
from tests.search.open_loop import Sender

PLAN = Plan(duration_s=0.1, warm_s=0.0, rounds=3, overload_s=0.1, clients=(1, 4))
OVERLOADED = {
    "full_per_s": 40.0,
    "per_s": 30.0,
    "num_refused": 100,
    "refused_p50_ms": 1.0,
    "refused_p99_ms": 60.0,
    "untold": 0,
    "num_other": 0,
    "recovery_s": 1.0,
}


class Told:
    """A process of the benchmark that says what it was told to, each time with other noise."""

    def __init__(self, per_s: float) -> None:
        self.asked: list[str] = []
        self._per_s = per_s

    def ask(self, do: str, name: str = "", **values: object) -> dict[str, float]:
        self.asked.append(do)
        if do == "overload":
            return dict(OVERLOADED)
        return {"num": 20, "per_s": self._per_s, "p50_ms": 1.0, "p99_ms": 2.0, "num_other": 0}


class ToldBed(Bed):
    """A bed of which nothing runs; a gateway that takes 0.02 s for 20 answers, and batches of four."""

    def requests(self, model: str, num_rows: int = 1) -> Requests:
        return Requests(MODELS[model], {}, [b""], [b""])

    def cpu_s(self, place: str) -> float:
        self.cpu = getattr(self, "cpu", 0.0) + 0.02
        return self.cpu

    def batches(self, model: str) -> tuple[float, float]:
        self.num = getattr(self, "num", 0) + 1
        return 4.0 * self.num, 1.0 * self.num


def told_sitting() -> Sitting:
    addresses = {HTTP: "http://a:1", GRPC: "a:2"}
    places = {name: Place(None if name == TRITON else 1, addresses) for name in (TRITON, GATEWAY, PASSING)}
    return Sitting(ToldBed(None, places, {}, Told(90.0), Told(100.0)), PLAN)  # type: ignore[arg-type]


@pytest.mark.parametrize("section", SECTIONS)
def test_every_bar_is_of_something_that_is_measured(section: str) -> None:
    sitting = told_sitting()
    SECTIONS[section](sitting)
    models = {one.data for one in sitting.readings}
    verdicts = [judge(bar, model, sitting.readings) for model in models for bar in bars_of(section, PLAN)]
    assert all(verdict.measured is not None for verdict in verdicts)
    assert len(verdicts) == len({(one.data, one.bar.what, one.bar.case) for one in verdicts})


def test_bars_are_held_or_missed_by_what_was_measured() -> None:
    sitting = told_sitting()
    held = {}
    for section, measure in SECTIONS.items():
        measure(sitting)
        held |= {(bar.what, bar.case): judge(bar, "text", sitting.readings).held for bar in bars_of(section, PLAN)}
    assert held["rows/s against bare at equal batches", "triton c=4"] is False  # 0.90
    assert held["CPU per request over http, ms", "gateway c=4"] is False  # 1 ms
    assert held["requests/s over grpc against Triton's", "gateway c=4"] is True
    assert held["goodput at 10 times, against the most", "overload http"] is False  # 0.75
    assert held["refusals, p99 in ms", "overload grpc"] is False
    assert held["p50 beyond bare, ms", "triton c=1"] is True


@pytest.mark.parametrize("num_rows", [1, 8])
@pytest.mark.parametrize("signature", [text_signature("t", EncoderSizes(8)), video_signature("v", EncoderSizes(8, 2, 16, 16, 1000))])
def test_requests_are_what_the_models_take_and_mean_the_same_over_both_faces(signature, num_rows):
    from tritonclient.grpc import service_pb2

    requests = requests_of(signature, num_rows)
    assert len(set(requests.bodies)) == len(requests.bodies) > 1
    for body, data in zip(requests.bodies, requests.messages, strict=True):
        http = parse_request(body, requests.headers[HEAD_LENGTH], signature).inputs
        grpc = parse_message(service_pb2.ModelInferRequest.FromString(data), signature).inputs
        assert {name: len(tensor) for name, tensor in http.items()} == dict.fromkeys(http, num_rows)
        assert all((http[name] == grpc[name]).all() for name in http)


def test_processor_time_is_that_of_all_threads_of_a_process() -> None:
    before_s, begun_s = threads_cpu_s(os.getpid()), time.process_time()
    while time.process_time() - begun_s < 0.2:
        pass
    assert threads_cpu_s(os.getpid()) - before_s == pytest.approx(0.2, abs=0.1)


def test_a_counter_is_summed_over_the_versions_of_one_model() -> None:
    text = 'n{model="a",version="1"} 3\nn{model="a",version="2"} 4.00\nn{model="b",version="1"} 9\nn_more{model="a"} 5\n# n{model="a"} 1\n'
    assert metric(text, "n", "a") == 7


class Line:
    """A server that answers four at a time, 20 ms each, and refuses everyone else at once."""

    def __init__(self) -> None:
        self.running = 0

    async def ask(self) -> tuple[int, str | None]:
        if self.running >= 4:
            return 429, "1"
        self.running += 1
        await asyncio.sleep(0.02)
        self.running -= 1
        return 200, None

    async def close(self) -> None: ...


def test_ten_times_what_a_server_can_answer_is_offered_and_its_answers_told_apart() -> None:
    found = asyncio.run(_overload(Sender(Line()), clients=4, duration_s=0.5, seed=0))
    assert 0.5 <= found["per_s"] / found["full_per_s"] <= 1.5
    assert found["num_refused"] > 5 * found["full_per_s"] * 0.5
    assert (found["num_other"], found["untold"]) == (0, 0)
    assert found["refused_p50_ms"] <= found["refused_p99_ms"]
    assert found["recovery_s"] < 5


def test_a_server_that_refuses_nobody_holds_no_bar_of_refusals() -> None:
    class Patient(Line):
        async def ask(self) -> tuple[int, str | None]:
            await asyncio.sleep(0.02)
            return 200, None

    found = asyncio.run(_overload(Sender(Patient()), clients=1, duration_s=0.1, seed=0))
    assert found["num_refused"] == 0
    readings = [Reading("text", "overload http", "offered", 0, found)]
    refusals = [bar for bar in bars_of("overload", PLAN) if bar.figure == "refused_p99_ms"]
    assert judge(refusals[0], "text", readings).held is False


def test_answers_that_are_none_of_200_are_counted_apart() -> None:
    class Failing(Line):
        async def ask(self) -> tuple[int, str | None]:
            await super().ask()
            return 503, None

    with asyncio.Runner() as runner:
        loads = Loads(runner)
        loads._senders["x"] = Sender(Failing())
        found = loads.busy("x", 2, 0.1)
    assert (found["num"], found["per_s"]) == (0, 0)
    assert found["num_other"] > 2


def test_a_section_keeps_its_result_when_another_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "RESULTS", tmp_path)
    readings = [Reading("text", "gateway c=1", "gateway http", turn, {"cpu_ms": float(turn)}) for turn in range(3)]
    record_section("gateway", PLAN, readings, [], Took(1.0, 0.5))
    record_section("overload", PLAN, [], [], Took(2.0, 9.0))
    sections = json.loads((tmp_path / "serving.json").read_text())["sections"]
    assert sections["gateway"]["figures"]["text"]["gateway c=1"]["gateway http"]["cpu_ms"] == [1.0, 0.0, 2.0]
    assert [(sections[name]["seconds"], sections[name]["load_before"]) for name in ("gateway", "overload")] == [(1, 0.5), (2, 9.0)]
