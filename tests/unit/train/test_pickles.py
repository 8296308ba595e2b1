"""What the engines write passes the look through their pickles, and what calls anything else does not."""

from pathlib import Path
from typing import Any

import pytest
import torch

from reelspace.train.group import Group
from reelspace.train.pickles import foreign_names
from tests.unit.train.engines import SETTINGS, losses_of, make_engine

pytestmark = [pytest.mark.filterwarnings("ignore::FutureWarning"), pytest.mark.usefixtures("deepspeed_here")]


@pytest.mark.parametrize(
    "change",
    [
        {"engine": "torch"},
        *({"zero_stage": stage, "precision": precision} for stage in range(4) for precision in ("fp32", "bf16_autocast", "bf16")),
        {"zero_stage": 3, "precision": "bf16_all"},
        {"zero_stage": 2, "offload": "optimizer"},
        {"zero_stage": 3, "offload": "parameters"},
    ],
    ids=lambda change: "-".join(str(value) for value in change.values()),
)
def test_a_checkpoint_of_every_engine_stage_and_precision_calls_nothing_foreign(tmp_path: Path, change: dict[str, Any]):
    engine = make_engine(SETTINGS.model_copy(update=change), Group())
    losses_of(engine, Group(), 1)
    engine.save(tmp_path)
    assert list(tmp_path.rglob("*.pt"))
    assert foreign_names(tmp_path) == ""


class _Hidden:
    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("unpickled",))


def test_a_foreign_call_deep_in_a_state_is_found_and_other_files_are_not_read(tmp_path: Path):
    (tmp_path / "state.pt.txt").write_text("no pickle")
    (tmp_path / "deep").mkdir()
    torch.save({"weights": [torch.zeros(2), {"more": (1, _Hidden())}]}, tmp_path / "deep" / "state.pt")
    assert foreign_names(tmp_path) == "deep/state.pt calls builtins.print"
