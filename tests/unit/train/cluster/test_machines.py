"""Machines that share no disk train from the store: one is lost or all are stopped, and new machines with empty disks go on."""

import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.unit.train.cluster.machines import KEY, Machines, ends
from tests.unit.train.test_launcher import LIMIT_S, SETTINGS, Training
from tests.unit.train.worlds import write_world

# ZeRO stage 1: each process has files of its own.
PAIR = SETTINGS.model_copy(update={"num_processes": 2, "steps": 8, "checkpoint_every": 2})
PLAIN = PAIR.model_copy(update={"engine": "torch"})


def wait_for_checkpoint(machines: Machines, process: "subprocess.Popen[str]") -> None:
    deadline_s = time.monotonic() + LIMIT_S
    while not machines.files.checkpoints():
        assert process.poll() is None
        assert time.monotonic() < deadline_s
        time.sleep(0.05)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_two_machines_without_a_shared_disk_train_to_the_losses_of_one_and_a_new_pair_goes_on_where_they_were_stopped(
    s3_url: str, tmp_path: Path
):
    world = write_world(tmp_path, s3_url)
    whole = Training(world, tmp_path / "whole", PAIR)
    whole.finish()
    machines = Machines(world, tmp_path, PAIR)
    machines.describe()
    first = machines.start("first")
    wait_for_checkpoint(machines, first[0])
    for process in first:
        process.send_signal(signal.SIGTERM)
    codes, told = ends(first)
    assert codes == [75, 75], told
    assert {ending.exit_code for ending in machines.files.endings().values()} == {75}
    saved = machines.stored_steps()[-1]
    assert saved < PAIR.steps
    codes, told = ends(machines.start("second"))
    assert codes == [0, 0], told
    assert f'"resumed", "step": {saved}' in told
    assert machines.losses(tmp_path / "model") == whole.losses()
    assert machines.files.verdict().exit_code == 0  # type: ignore[union-attr]
    # Whoever is started again after the end has nothing to do.
    codes, told = ends(machines.start("third"))
    assert codes == [0, 0], told
    assert "resumed" not in told
    assert not (tmp_path / "third-0").exists()


@pytest.mark.long
def test_a_directory_store_is_the_disk_that_machines_share(tmp_path: Path):
    world = write_world(tmp_path)
    machines = Machines(world, tmp_path, PLAIN.model_copy(update={"steps": 4}))
    machines.describe()
    codes, told = ends(machines.start("shared"))
    assert codes == [0, 0], told
    assert sorted(machines.losses(tmp_path / "model")) == [1, 2, 3, 4]
    assert (Path(world.store) / "runs" / KEY / "state" / "checkpoints" / "step-00000002" / "torch.pt").is_file()
    assert not machines.files.checkpoints()
