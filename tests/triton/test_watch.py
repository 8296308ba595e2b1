"""A model whose process is killed answers again within seconds, others do not notice; one that is only busy is left alone."""

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from reelspace.serving.doctor.triton import TritonPatient
from reelspace.serving.triton import TritonProcess
from reelspace.serving.watch.__main__ import main
from reelspace.serving.watch.process import watching

from .doubling import BACKENDS, descendants, until, write_doubling

REPAIRED_S = 10.0
DOUBLE = [1.0, 2.5]
SLOWER = [888.0, 1.0]


def stubs_of(triton: TritonProcess, model: str) -> list[int]:
    """Give the processes of a model: Triton names the instance in the command line."""
    return [pid for pid in descendants(triton.pid) if f"{model}_0_0".encode() in command_line(pid)]


def stub_of(triton: TritonProcess, model: str) -> int:
    [stub] = stubs_of(triton, model)
    return stub


def command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def infer(client: httpx.Client, model: str, x: Sequence[float] = DOUBLE) -> httpx.Response:
    body = {"inputs": [{"name": "X", "shape": [1, 2], "datatype": "FP32", "data": list(x)}]}
    return client.post(f"/v2/models/{model}/infer", json=body)


@dataclass
class Traffic:
    """Requests to one model, one after the other, and how they were answered."""

    url: str
    model: str
    x: Sequence[float] = tuple(DOUBLE)
    statuses: list[int] = field(default_factory=list)
    _ended: threading.Event = field(default_factory=threading.Event)

    def send(self) -> None:
        with httpx.Client(base_url=self.url, timeout=60, trust_env=False) as client:
            while not self._ended.wait(0.005):
                self.statuses.append(infer(client, self.model, self.x).status_code)

    def end(self) -> None:
        self._ended.set()


@contextmanager
def traffic(triton: TritonProcess, model: str, x: Sequence[float] = DOUBLE, num_clients: int = 1) -> Iterator[list[Traffic]]:
    senders = [Traffic(triton.http_url, model, x) for _ in range(num_clients)]
    threads = [threading.Thread(target=one.send) for one in senders]
    for thread in threads:
        thread.start()
    try:
        yield senders
    finally:
        for one in senders:
            one.end()
        for thread in threads:
            thread.join(60)


@dataclass
class Watching:
    page: httpx.Client
    log: Path

    def counted(self, name: str) -> float:
        lines = (line.rpartition(" ") for line in self.page.get("/metrics").text.splitlines())
        return next((float(value) for series, _, value in lines if series == name), 0.0)

    def looks(self, outcome: str) -> float:
        return self.counted(f'reelspace_model_looks_total{{model="one",outcome="{outcome}"}}')

    def repairs(self, model: str = "one") -> float:
        return self.counted(f'reelspace_model_repairs_total{{model="{model}",outcome="repaired"}}')

    def is_up(self, model: str = "one") -> bool:
        return self.counted(f'reelspace_model_up{{model="{model}"}}') == 1

    def events(self) -> list[str]:
        return [json.loads(line)["event"] for line in self.log.read_text().splitlines()]


@contextmanager
def watched(triton: TritonProcess, log: Path, models: Sequence[str] = ("one", "two"), **settings: float) -> Iterator[Watching]:
    words = [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
    words += ["--port", "0", "--metrics", f"http://127.0.0.1:{triton.metrics_port}", "--grpc", triton.grpc_address]
    with watching(triton.http_url, models, log, *words) as port, httpx.Client(trust_env=False) as page:
        page.base_url = httpx.URL(f"http://127.0.0.1:{port}")
        running = Watching(page, log)
        assert until(lambda: all(running.is_up(model) for model in models), 15)
        yield running
    assert "Traceback" not in log.read_text()


def once(url: str, **settings: float) -> tuple[int, str]:
    """Look once, as a liveness probe does."""
    words = [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
    told = io.StringIO()
    with contextlib.redirect_stdout(told):
        code = main(["--triton", url, "--models", "one,two", "--once", *words])
    return code, told.getvalue()


@pytest.fixture(scope="module")
def triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonProcess]:
    folder = tmp_path_factory.mktemp("watched")
    repository = write_doubling(write_doubling(folder / "repository", "one"), "two")
    with TritonProcess.start([repository], ["one", "two"], backends=BACKENDS, log_path=folder / "triton.log") as running:
        yield running


def killed_and_back_s(triton: TritonProcess) -> float:
    """Kill the process of `one`; give the seconds until it answers."""
    os.kill(stub_of(triton, "one"), signal.SIGKILL)
    begun_s = time.monotonic()
    with httpx.Client(base_url=triton.http_url, timeout=30, trust_env=False) as client:
        assert until(lambda: infer(client, "one").status_code == 200, 30)
    return time.monotonic() - begun_s


def check_kills(triton: TritonProcess, log: Path, num_kills: int) -> list[float]:
    """Kill so often, with clients on both models; the other model answers every request, by the same process."""
    other = stub_of(triton, "two")
    with watched(triton, log) as watch, traffic(triton, "two") as beside, traffic(triton, "one", num_clients=3) as struck:
        times_s = []
        for _ in range(num_kills):
            times_s.append(killed_and_back_s(triton))
            assert until(lambda: watch.is_up(), 10)
        # What the dead process had in its line fails after the repair, too.
        assert until(lambda: all(one.statuses[-1:] == [200] for one in struck), 10)
        assert watch.repairs() == num_kills
        assert watch.repairs("two") == 0
        assert watch.events().count("model_loaded_anew") == num_kills
    assert stub_of(triton, "two") == other
    assert set(beside[0].statuses) == {200}
    assert len(beside[0].statuses) > 50 * num_kills
    return times_s


def test_a_killed_model_answers_again_and_the_other_one_never_fails(triton: TritonProcess, tmp_path: Path) -> None:
    assert len(check_kills(triton, tmp_path / "log", 1)) == 1


@pytest.mark.long
@pytest.mark.timeout(900)
def test_twenty_killed_models_answer_again_within_ten_seconds_each(triton: TritonProcess, tmp_path: Path) -> None:
    times_s = check_kills(triton, tmp_path / "log", 20)
    print(f"back after {sorted(round(one, 2) for one in times_s)} s")
    assert max(times_s) < REPAIRED_S


def test_a_model_whose_line_is_longer_than_a_probe_waits_is_busy_and_keeps_its_process(triton: TritonProcess, tmp_path: Path) -> None:
    before = stub_of(triton, "one")
    quick: dict[str, Any] = {"interval_s": 0.1, "probe_timeout_s": 0.05, "silent_s": 10.0}
    with watched(triton, tmp_path / "log", **quick) as watch, traffic(triton, "one", SLOWER, num_clients=12) as clients:
        assert until(lambda: watch.looks("busy") >= 3, 30)
        assert [watch.looks(outcome) for outcome in ("dead", "failed", "silent")] == [0, 0, 0]
        assert watch.repairs() == 0
    assert stub_of(triton, "one") == before
    assert {status for one in clients for status in one.statuses} == {200}


@pytest.mark.long
def test_a_frozen_model_is_replaced(triton: TritonProcess, tmp_path: Path) -> None:
    frozen = stub_of(triton, "one")
    with watched(triton, tmp_path / "log", silent_s=1.0, probe_timeout_s=1.0):
        os.kill(frozen, signal.SIGSTOP)
        try:
            assert until(lambda: any(stub != frozen for stub in stubs_of(triton, "one")), 30)
            with httpx.Client(base_url=triton.http_url, timeout=30, trust_env=False) as client:
                assert until(lambda: infer(client, "one").status_code == 200, 10)
        finally:
            if command_line(frozen):
                os.kill(frozen, signal.SIGCONT)


@pytest.mark.long
def test_a_dead_process_is_noticed_though_another_one_answers_every_probe(tmp_path: Path) -> None:
    repository = write_doubling(tmp_path / "repository", "one")
    config = repository / "one" / "config.pbtxt"
    config.write_text(config.read_text().replace("count: 1", "count: 2"))
    with TritonProcess.start([repository], ["one"], backends=BACKENDS, log_path=tmp_path / "triton.log") as triton:
        stubs = [pid for pid in descendants(triton.pid) if b"one_0_" in command_line(pid)]
        assert len(stubs) == 2
        with watched(triton, tmp_path / "log", ["one"]) as watch, traffic(triton, "one", num_clients=3):
            os.kill(stubs[0], signal.SIGKILL)
            assert until(lambda: watch.repairs() == 1, 20)
            assert until(lambda: watch.is_up(), 10)


@pytest.mark.long
def test_of_two_versions_the_living_one_answers_every_request_while_the_other_one_is_replaced(tmp_path: Path) -> None:
    repository = write_doubling(tmp_path / "repository", "one", versions=(1, 2))
    with TritonProcess.start([repository], ["one"], backends=BACKENDS, log_path=tmp_path / "triton.log") as triton:
        killed, _ = stubs_of(triton, "one")
        os.kill(killed, signal.SIGKILL)
        with httpx.Client(base_url=triton.http_url, timeout=30, trust_env=False) as client:
            answers = [infer(client, f"one/versions/{version}").status_code == 200 for version in (1, 2)]
        living = 1 + answers.index(True)
        with traffic(triton, f"one/versions/{living}") as beside, watched(triton, tmp_path / "log", ["one"]) as watch:
            assert watch.repairs() == 1
        # What is replaced may still be ending.
        assert until(lambda: len(stubs_of(triton, "one")) == 2, 10)
        assert killed not in stubs_of(triton, "one")
        assert (sorted(answers), set(beside[0].statuses)) == ([False, True], {200})


@pytest.mark.long
def test_a_model_that_someone_unloaded_is_loaded_again(triton: TritonProcess, tmp_path: Path) -> None:
    with watched(triton, tmp_path / "log") as watch:
        triton.unload("one")
        assert until(lambda: watch.repairs() == 1, 10)
        triton.probe("one")


def test_a_single_look_ends_with_one_for_a_dead_model_and_with_zero_for_a_busy_one(triton: TritonProcess) -> None:
    assert once(triton.http_url) == (0, "one 1 answered\ntwo 1 answered\n")
    # Three batches of 0.8 s are before the probe, so one is executed while it waits.
    with traffic(triton, "one", SLOWER, num_clients=24) as clients:
        assert until(lambda: all(one.statuses for one in clients), 20)
        code, told = once(triton.http_url, probe_timeout_s=1.2)
        assert (code, told.splitlines()[0].split()[:3]) == (0, ["one", "1", "busy"]), told
    os.kill(stub_of(triton, "one"), signal.SIGKILL)
    command = [sys.executable, "-m", "reelspace.serving.watch", "--triton", triton.http_url, "--models", "one,two", "--once"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stderr) == (1, "")
    assert (ended.stdout.splitlines()[0].split()[:3], ended.stdout.splitlines()[1]) == (["one", "1", "dead"], "two 1 answered")
    with TritonPatient(triton.http_url) as patient:
        assert [one.level for one in patient.check_models([("one", "1"), ("two", "1")])[0]] == ["fail", "ok"]
    triton.unload("one")
    assert once(triton.http_url)[1].splitlines()[0] == "one absent it is not loaded"
    triton.load("one")
    assert once(triton.http_url)[0] == 0


def test_a_single_look_at_a_triton_that_is_away_ends_with_one() -> None:
    code, told = once("http://127.0.0.1:9")
    assert (code, told.split()[:2]) == (1, ["one", "away"])
