"""Every engine trains to the losses of the plain loop on one process, and goes on to the same bits."""

from pathlib import Path

import pytest

from tests.unit.train.engines import NUM_STEPS, relative_difference, run_processes
from tests.unit.train.parity import BAR, CASES, GRADIENT_BAR, measure


def test_engines_train_to_the_losses_of_plain_torch_on_one_process_and_on_two(tmp_path: Path):
    found = measure([case for case in CASES if case.is_sample], tmp_path)
    assert len(found) >= 10
    assert {name: difference for name, difference in found.items() if not difference <= BAR} == {}


def test_the_gradient_of_the_gathered_losses_on_four_processes_is_that_of_one(tmp_path: Path):
    [told] = run_processes(4, [{"gradient": True}], tmp_path)
    assert told["difference"] <= GRADIENT_BAR


@pytest.mark.parametrize("stage", [1, pytest.param(2, marks=pytest.mark.long), pytest.param(3, marks=pytest.mark.long)])
def test_a_training_goes_on_with_another_number_of_processes_to_the_losses_of_an_uninterrupted_one(stage: int, tmp_path: Path):
    parts = [(2, 0, 3), (1, 3, 6), (2, 6, NUM_STEPS)]
    losses = []
    for num, first, last in parts:
        task = {"settings": {"zero_stage": stage}, "first": first, "last": last, "save": str(tmp_path / f"after-{last}")}
        task |= {"load": str(tmp_path / f"after-{first}")} if first else {}
        [told] = run_processes(num, [task], tmp_path / str(last))
        losses += told["losses"]
    [straight] = run_processes(1, [{"settings": {"zero_stage": stage}}], tmp_path / "straight")
    assert relative_difference(losses, straight["losses"]) <= BAR
    assert [path.name for path in tmp_path.glob("universal-*")] == []
