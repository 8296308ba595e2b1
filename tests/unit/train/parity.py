"""The table of parity: every engine, stage and way to save memory, on one process and on two, against the plain loop on one."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.unit.train.engines import NUM_STEPS, relative_difference, run_processes

# Float sums in another order; ten steps of rounding.
BAR = 5e-6
GRADIENT_BAR = 1e-6
_PLAIN = ("micro_batches", "precision")


@dataclass(frozen=True, slots=True)
class Case:
    """One row of the table."""

    name: str
    num_processes: int
    settings: dict[str, Any] = field(default_factory=dict)
    is_sample: bool = False
    """Whether the ordinary tests run it; all rows run in benchmarks/training_parity.py."""

    @property
    def plain(self) -> dict[str, Any]:
        """The settings of what it must equal: the same losses in one process of plain torch, nothing cached, recomputed or offloaded."""
        if self.settings.get("grad_cache"):
            return {"engine": "torch"}
        return {"engine": "torch", **{name: value for name, value in self.settings.items() if name in _PLAIN}}


def _cases() -> list[Case]:
    ways: list[tuple[str, dict[str, Any], tuple[int, ...]]] = [
        ("", {}, (0, 1, 2, 3)),
        (", accumulation 2", {"micro_batches": 2}, (0, 1, 2, 3)),
        (", activation checkpointing", {"checkpoint_activations": True}, (1, 2, 3)),
        (", GradCache 2", {"micro_batches": 2, "grad_cache": True}, (0, 1, 2, 3)),
        (", optimizer on the CPU", {"offload": "optimizer"}, (1, 2, 3)),
        (", optimizer and weights on the CPU", {"offload": "parameters"}, (3,)),
        (
            ", GradCache 2, checkpointing, all on the CPU",
            {"micro_batches": 2, "grad_cache": True, "checkpoint_activations": True, "offload": "parameters"},
            (3,),
        ),
    ]
    sample = {(1, ""), (3, ""), (2, ", accumulation 2"), (3, ", GradCache 2, checkpointing, all on the CPU")}
    cases = [
        Case(f"ZeRO-{stage}{name}", num, {"zero_stage": stage, **settings}, (stage, name) in sample or (num, name) == (1, ""))
        for num in (1, 2)
        for name, settings, stages in ways
        for stage in stages
    ]
    for name, settings, _ in ways[:4]:
        cases.append(Case(f"torch DDP{name}", 2, {"engine": "torch", **settings}, name in ("", ", GradCache 2")))
    return cases


CASES = _cases()


def measure(cases: Sequence[Case], place: Path) -> dict[tuple[str, int], float]:
    """Give the largest relative difference of the losses of ten steps, by name and number of processes."""
    plains = {str(case.plain): case.plain for case in cases}
    answers = run_processes(1, [{"settings": settings} for settings in plains.values()], place / "plain")
    expected = {name: answer["losses"] for name, answer in zip(plains, answers, strict=True)}
    assert all(len(losses) == NUM_STEPS for losses in expected.values())
    found = {}
    for num in (1, 2):
        own = [case for case in cases if case.num_processes == num]
        answers = run_processes(num, [{"settings": case.settings} for case in own], place / str(num)) if own else []
        for case, answer in zip(own, answers, strict=True):
            found[case.name, num] = relative_difference(answer["losses"], expected[str(case.plain)])
    return found
