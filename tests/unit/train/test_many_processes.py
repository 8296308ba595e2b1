"""Trainings of several processes, on one machine and on two that share a run directory: one is killed or frozen, and all go on."""

import os
import signal
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest

from reelspace.train.heartbeat import SILENT_S
from tests.processes import is_running
from tests.unit.train.test_launcher import LIMIT_S, SETTINGS, Training, wait_for
from tests.unit.train.worlds import World, write_world

PAIR = SETTINGS.model_copy(update={"num_processes": 2})
# Where no losses are compared: it starts sooner.
PLAIN_PAIR = PAIR.model_copy(update={"engine": "torch"})
# From the moment of the fault to the launcher's exit.
END_S = 60.0
LOOPBACK = "0100007F"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return write_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def whole(world: World, tmp_path_factory: pytest.TempPathFactory) -> dict[int, float]:
    """The losses of two processes that nobody disturbed."""
    training = Training(world, tmp_path_factory.mktemp("whole"), PAIR)
    training.finish()
    return training.losses()


def family_of(pid: int) -> list[int]:
    """A process and all it started."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(FileNotFoundError, ProcessLookupError):  # it ended meanwhile
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
    family = [pid]
    for member in family:
        family += [child for child, parent in parents.items() if parent == member]
    return family


def listening_addresses(pids: list[int]) -> set[str]:
    """The hexadecimal addresses, as the kernel lists them, where the processes listen."""
    links = [os.readlink(link) for pid in pids for link in Path(f"/proc/{pid}/fd").iterdir() if link.is_symlink()]
    inodes = {link.removeprefix("socket:[").removesuffix("]") for link in links if link.startswith("socket:[")}
    rows = [line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]]
    return {row[1].partition(":")[0] for row in rows if row[3] == "0A" and row[9] in inodes}


def ended(process: "subprocess.Popen[str]", since_s: float, limit_s: float = END_S) -> str:
    """What a launcher said that exited 75 in time."""
    _, told = process.communicate(timeout=LIMIT_S)
    taken_s = time.monotonic() - since_s
    assert process.returncode == 75, told
    assert taken_s < limit_s, told
    print(f"ended {taken_s:.1f} s after the fault")
    return told


def test_a_killed_process_of_two_ends_the_other_with_exit_75_and_the_relaunch_resumes_to_equal_losses(
    world: World, tmp_path: Path, whole: dict[int, float]
):
    training = Training(world, tmp_path, PAIR)
    process = training.start()
    wait_for(lambda: training.checkpoints() == [4], process)
    workers = training.worker_pids()
    assert sorted(workers) == [0, 1]
    assert listening_addresses(family_of(process.pid)) <= {LOOPBACK}
    os.kill(workers[1], signal.SIGKILL)
    told = ended(process, time.monotonic())
    assert "ended from outside; run again" in told
    assert training.exit_record()["exit_code"] == 75
    assert not any(is_running(pid) for pid in workers.values())
    training.finish()
    assert training.losses() == whole


def freeze(training: Training, *options: str) -> tuple["subprocess.Popen[str]", list[int]]:
    """Start a training and stop its second process once it has saved; gives the launcher and all workers."""
    process = training.start(*options)
    wait_for(lambda: training.checkpoints() == [4], process)
    workers = training.worker_pids()
    os.kill(workers[1], signal.SIGSTOP)
    return process, list(workers.values())


def test_a_frozen_process_of_two_ends_the_training_when_its_silence_is_over(world: World, tmp_path: Path):
    process, workers = freeze(Training(world, tmp_path, PLAIN_PAIR), "--silent-s", "5")
    told = ended(process, time.monotonic(), 5 + END_S - SILENT_S)
    assert "gave no sign of life for 5 s: ended; run again to go on" in told
    assert not any(is_running(pid) for pid in workers)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_with_the_default_limit_a_frozen_process_of_two_ends_the_training_within_a_minute_and_the_relaunch_resumes_to_equal_losses(
    world: World, tmp_path: Path, whole: dict[int, float]
):
    training = Training(world, tmp_path, PAIR)
    process, workers = freeze(training)
    told = ended(process, time.monotonic())
    assert f"gave no sign of life for {SILENT_S:.0f} s" in told
    assert not any(is_running(pid) for pid in workers)
    training.finish()
    assert training.losses() == whole


def machines(training: Training) -> list["subprocess.Popen[str]"]:
    """Start a launcher on each of two machines that share the run directory."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    told = {"PET_NNODES": "2", "PET_NPROC_PER_NODE": "1", "PET_MASTER_ADDR": "127.0.0.1", "PET_MASTER_PORT": str(port)}
    training.environment |= told | {"GLOO_SOCKET_IFNAME": "lo"}
    started = []
    for rank in range(2):
        training.environment["PET_NODE_RANK"] = str(rank)
        started.append(training.start())
    return started


def test_two_machines_train_to_the_losses_of_one_with_as_many_processes(world: World, tmp_path: Path, whole: dict[int, float]):
    training = Training(world, tmp_path, PAIR)
    for process in machines(training):
        _, told = process.communicate(timeout=LIMIT_S)
        assert process.returncode == 0, told
    assert training.losses() == whole
    assert training.exit_record()["exit_code"] == 0


def lose(training: Training, lost: int) -> str:
    """Start two machines and kill all of one once they have saved; gives what the other said."""
    both = machines(training)
    wait_for(lambda: training.checkpoints() == [4], both[lost])
    for pid in reversed(family_of(both[lost].pid)):
        os.kill(pid, signal.SIGKILL)
    told = ended(both[1 - lost], time.monotonic())
    both[lost].communicate()
    return told


def test_a_machine_that_is_lost_ends_the_other_with_exit_75(world: World, tmp_path: Path):
    assert "run again to go on from the last checkpoint" in lose(Training(world, tmp_path, PLAIN_PAIR), 1)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_two_machines_go_on_to_equal_losses_when_started_again_after_the_first_was_lost(
    world: World, tmp_path: Path, whole: dict[int, float]
):
    training = Training(world, tmp_path, PAIR)
    assert "run again to go on from the last checkpoint" in lose(training, 0)
    for process in machines(training):
        _, told = process.communicate(timeout=LIMIT_S)
        assert process.returncode == 0, told
    assert training.losses() == whole
