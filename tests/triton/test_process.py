import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from reelspace.core.errors import ServerUnavailable, SettingError
from reelspace.serving import triton
from reelspace.serving.triton import Ports, TritonProcess, repository_argument

from ..processes import is_running
from .doubling import BACKENDS, descendants, name_of, until, write_doubling

OWNER = """
import sys, time
from pathlib import Path
from reelspace.serving.triton import TritonProcess
server = TritonProcess.start([sys.argv[1]], ["doubling"], backends=Path(sys.argv[2]), log_path=Path(sys.argv[3]))
print(server.pid, server.http_port, flush=True)
try:
    time.sleep(60)
finally:
    server.stop()
"""
LISTEN = "0A"


def start(repository: Path, tmp_path: Path, **options: object) -> TritonProcess:
    return TritonProcess.start([repository], ["doubling"], backends=BACKENDS, log_path=tmp_path / "triton.log", **options)  # type: ignore[arg-type]


def infer(server: TritonProcess, x: list[float]) -> httpx.Response:
    body = {"inputs": [{"name": "X", "shape": [1, 2], "datatype": "FP32", "data": x}]}
    return httpx.post(f"{server.http_url}/v2/models/doubling/infer", json=body, timeout=10)


def listeners(pids: list[int]) -> set[tuple[str, int]]:
    """Addresses in hex and ports that the processes listen on, from the kernel's own tables."""
    inodes = set()
    for pid in pids:
        for link in Path(f"/proc/{pid}/fd").iterdir():
            try:
                target = os.readlink(link)
            except OSError:
                continue
            if target.startswith("socket:["):
                inodes.add(target[8:-1])
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pids[0]}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == LISTEN and fields[9] in inodes:
                address, port = fields[1].split(":")
                found.add((address, int(port, 16)))
    return found


class Traces:
    """What servers leave in a temporary directory of their own, and in /dev/shm under its names."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.names: set[str] = set()

    def watch(self) -> None:
        self.names |= {path.name for path in self.place.glob("reelspace-triton-*")}
        assert self.names

    def left(self) -> list[str]:
        regions = [path for path in Path("/dev/shm").iterdir() if path.name.startswith(tuple(self.names))] if self.names else []
        return [str(path) for path in (*self.place.glob("reelspace-triton-*"), *regions)]


@pytest.fixture
def traces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Traces:
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setenv("TMPDIR", str(place))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return Traces(place)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonProcess]:
    directory = tmp_path_factory.mktemp("triton")
    with start(write_doubling(directory / "repository"), directory) as running:
        yield running


def test_a_started_server_answers_and_a_bad_request_fails_alone(server: TritonProcess) -> None:
    assert infer(server, [1, 2.5]).json()["outputs"][0]["data"] == [2.0, 5.0]
    refused = infer(server, [-1, 0])
    assert (refused.status_code, refused.json()) == (400, {"error": "X: expected no negative number"})
    assert infer(server, [3, 4]).status_code == 200


def test_every_listening_port_is_on_the_loopback_interface_alone(server: TritonProcess) -> None:
    loopback = {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}
    found = listeners(descendants(server.pid))
    assert {port for _, port in found} == {server.http_port, server.grpc_port, server.metrics_port}
    assert {address for address, _ in found} <= loopback


def test_two_repositories_serve_side_by_side(tmp_path: Path) -> None:
    first, second = write_doubling(tmp_path / "a", "one"), write_doubling(tmp_path / "b", "two")
    with TritonProcess.start([first, second], ["one", "two"], backends=BACKENDS, log_path=tmp_path / "log") as running:
        running.probe("one")
        running.unload("two")
        with pytest.raises(ServerUnavailable, match="two"):
            running.probe("two")
        running.load("two")
        running.probe("two")


def test_nothing_is_left_after_stop(tmp_path: Path, traces: Traces) -> None:
    server = TritonProcess.start([write_doubling(tmp_path / "repository")], ["doubling"], backends=BACKENDS)
    pids = descendants(server.pid)
    assert "tritonserver" in [name_of(pid) for pid in pids]
    assert len(pids) == 3
    traces.watch()
    assert len(traces.left()) == 3
    server.stop()
    assert [pid for pid in pids if is_running(pid)] == []
    assert traces.left() == []


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_server_ends_with_its_owner_however_that_ends(tmp_path: Path, traces: Traces, number: signal.Signals) -> None:
    repository = write_doubling(tmp_path / "repository")
    command = [sys.executable, "-c", OWNER, str(repository), str(BACKENDS), str(tmp_path / "triton.log")]
    owner = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True)
    assert owner.stdout is not None
    with owner.stdout as lines:
        keeper, port = map(int, lines.readline().split())
    pids = descendants(keeper)
    assert len(pids) == 3
    traces.watch()
    os.killpg(owner.pid, number)
    owner.wait(20)
    assert until(lambda: not any(is_running(pid) for pid in pids), 15)
    assert until(lambda: traces.left() == [], 5)
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{port}/v2")


def test_server_killed_by_itself_takes_its_models_along(tmp_path: Path) -> None:
    server = start(write_doubling(tmp_path / "repository"), tmp_path)
    pids = descendants(server.pid)
    os.kill(next(pid for pid in pids if name_of(pid) == "tritonserver"), signal.SIGKILL)
    assert until(lambda: not any(is_running(pid) for pid in pids), 5)
    server.stop()


def test_a_probe_notices_a_dead_model_that_triton_calls_ready(tmp_path: Path) -> None:
    with start(write_doubling(tmp_path / "repository"), tmp_path) as server:
        assert infer(server, [666, 0]).status_code >= 400
        assert httpx.get(f"{server.http_url}/v2/models/doubling/ready").status_code == 200
        with pytest.raises(ServerUnavailable, match="a probe of model doubling failed"):
            server.probe("doubling")
        server.unload("doubling")
        server.load("doubling")
        server.probe("doubling")


def test_a_model_that_does_not_load_is_one_line_that_quotes_triton(tmp_path: Path, traces: Traces) -> None:
    repository = write_doubling(tmp_path / "repository", backend="absent")
    with pytest.raises(ServerUnavailable) as caught:
        start(repository, tmp_path)
    assert "Triton ended while starting: " in str(caught.value)
    assert "absent" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert traces.left() == []


def test_a_repository_that_is_not_there_is_named_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"model repository .*nowhere"):
        start(tmp_path / "nowhere", tmp_path)


@pytest.mark.parametrize("name", ["http", "grpc", "metrics"])
def test_a_port_taken_between_choice_and_use_is_chosen_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        number = taken.getsockname()[1]
        offered = iter([replace(Ports.free(), **{name: number}), Ports.free()])
        monkeypatch.setattr(triton.Ports, "free", lambda: next(offered))
        with start(write_doubling(tmp_path / "repository"), tmp_path) as server:
            assert number not in (server.http_port, server.grpc_port, server.metrics_port)
            server.probe("doubling")


def test_s3_repository_carries_the_endpoint_as_triton_wants_it() -> None:
    environment = {"REELSPACE_S3_ENDPOINT": "http://127.0.0.1:9000"}
    assert repository_argument("s3://bucket/a/b", environment) == "s3://http://127.0.0.1:9000/bucket/a/b"
    assert repository_argument("s3://bucket/a/b", {}) == "s3://bucket/a/b"
