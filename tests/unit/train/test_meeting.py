"""How machines find each other: what is wrong is said in one line, soon, and says what to do."""

import json
import os
import socket
import threading
import time
from pathlib import Path

import pytest

from reelspace.core.errors import ReelspaceError, TemporaryError, UserError
from reelspace.train.launcher import EXIT_FILE, launch
from reelspace.train.meeting import Meeting, lost_connection
from reelspace.train.roster import Ending, cause
from tests.unit.train.test_launcher import Training
from tests.unit.train.worlds import World, write_world


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def test_a_port_that_is_taken_is_named_at_once():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        start_s = time.monotonic()
        with pytest.raises(TemporaryError, match=rf"PET_MASTER_PORT is {port}, expected a free port.*choose another"):
            Meeting(0, "127.0.0.1", port).check(60)
        assert time.monotonic() - start_s < 5


def test_machine_0_leaves_its_port_free():
    port = free_port()
    Meeting(0, "127.0.0.1", port).check(5)
    socket.create_server(("127.0.0.1", port)).close()


@pytest.mark.parametrize(("rank", "host"), [(0, "no-such-host.invalid"), (1, "no-such-host.invalid"), (1, "127.0.0.1")])
def test_an_address_where_nobody_answers_is_named_after_the_limit(rank: int, host: str):
    port = free_port()
    start_s = time.monotonic()
    with pytest.raises(TemporaryError, match=rf"PET_MASTER_ADDR={host} PET_MASTER_PORT={port} for 1 s .*see that the address"):
        Meeting(rank, host, port).check(1)
    assert time.monotonic() - start_s < 10


def test_a_machine_that_starts_first_waits_for_machine_0():
    port, found = free_port(), threading.Event()

    def come() -> None:
        Meeting(1, "127.0.0.1", port).check(30)
        found.set()

    thread = threading.Thread(target=come)
    thread.start()
    assert not found.wait(0.5)
    with socket.create_server(("127.0.0.1", port)):
        thread.join(30)
    assert found.is_set()


def test_a_machine_that_is_told_to_stop_waits_no_longer():
    with pytest.raises(TemporaryError, match="stopped before the machines had found each other"):
        Meeting(1, "127.0.0.1", free_port()).check(300, lambda: True)


@pytest.mark.parametrize(
    ("name", "text"), [("PET_MASTER_PORT", "65536"), ("PET_MASTER_PORT", "http"), ("PET_MASTER_PORT", "-1"), ("PET_NODE_RANK", "one")]
)
def test_a_variable_that_is_no_number_in_range_is_refused_by_name(name: str, text: str):
    with pytest.raises(UserError, match=rf"{name} is '{text}', expected a number from"):
        Meeting.read({name: text})


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return write_world(tmp_path_factory.mktemp("world"))


@pytest.mark.parametrize("mistake", ["port taken", "wrong address"])
def test_a_training_whose_machines_cannot_meet_exits_75_before_a_process_is_started(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mistake: str
):
    training = Training(world, tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1] if mistake == "port taken" else free_port()
        variables = {"PET_NNODES": "2", "PET_NODE_RANK": "0", "PET_MASTER_PORT": str(port)}
        variables["PET_MASTER_ADDR"] = "127.0.0.1" if mistake == "port taken" else "no-such-host.invalid"
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(ReelspaceError):
            launch(training.write_config(), training.run, meeting_s=1)
    record = json.loads((training.run / EXIT_FILE).read_text())
    assert record["exit_code"] == 75
    assert "PET_MASTER_PORT" in record["message"]
    assert training.worker_pids() == {}


def test_the_loss_of_another_process_is_told_from_a_bug():
    wrapped = ValueError("step failed")
    wrapped.__cause__ = RuntimeError("[../gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]:4242")
    assert isinstance(lost_connection(wrapped), TemporaryError)
    assert lost_connection(RuntimeError("mat1 and mat2 shapes cannot be multiplied")) is None
    assert lost_connection(OSError("Connection reset by peer")) is None


def test_a_wrong_input_on_another_machine_is_the_cause_of_a_lost_process_here(tmp_path: Path):
    lost, own_bug = Ending(75, "TemporaryError", "lost"), Ending(70, "InternalError", "bug")
    (tmp_path / "machine-1").mkdir()
    assert cause(lost, tmp_path) == lost
    own_bug.write(tmp_path / "machine-1" / "exit-0.json")
    assert cause(lost, tmp_path) == lost
    wrong = Ending(2, "UserError", "batch_size is 9", 3.0)
    wrong.write(tmp_path / "machine-1" / "exit-1.json")
    assert cause(lost, tmp_path) == wrong
    assert cause(own_bug, tmp_path) == own_bug
    assert cause(Ending(0), tmp_path) == Ending(0)
    assert os.listdir(tmp_path) == ["machine-1"]
