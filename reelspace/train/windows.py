"""Which works a model trains on: time windows of uploads, less a share that is never trained on and can be asked about later.

Legend: N works.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import AwareDatetime, Field, TypeAdapter, model_validator

from reelspace.core.rng import uniform_BN
from reelspace.core.settings import Settings

Flags = NDArray[np.bool_]
Ids = NDArray[np.int64]


class Window(Settings):
    """Works uploaded from `since` on and before `until`."""

    since: AwareDatetime | None = Field(None, description="First upload time; None: from the beginning.")
    until: AwareDatetime | None = Field(None, description="Uploads at this time and later are outside; None: no end.")
    held_out: float = Field(0.0, ge=0, lt=1, description="Share of the works, chosen by their ids once for ever, that does not train.")

    @model_validator(mode="after")
    def _ordered(self) -> "Window":
        if self.since is not None and self.until is not None and self.until <= self.since:
            raise ValueError(f"until is {self.until.isoformat()}, expected a time after since = {self.since.isoformat()}")
        return self

    def contains(self, moment: datetime) -> bool:
        """Tell whether a work that was uploaded at that moment is inside."""
        return (self.since is None or moment >= self.since) and (self.until is None or moment < self.until)


def inside_N(window: Window, created_at_N: Sequence[datetime]) -> Flags:
    """Tell which works are inside a window, held out or not."""
    return np.array([window.contains(moment) for moment in created_at_N], dtype=np.bool_)


def trains_N(windows: Sequence[Window], created_at_N: Sequence[datetime], ids_N: Ids) -> Flags:
    """Tell which works train under some windows: those inside one that does not hold them out."""
    draws_N = uniform_BN(0, 0, ids_N, "held out", 1)[:, 0] if len(ids_N) else np.zeros(0)
    trains = np.zeros(len(ids_N), dtype=np.bool_)
    for window in windows:
        trains |= inside_N(window, created_at_N) & (draws_N >= window.held_out)
    return trains


def windows_of(trained_with: Mapping[str, Any]) -> tuple[Window, ...] | None:
    """Read in a model's manifest what it trained on; None where its settings do not speak of it.

    Args:
        trained_with: settings in the manifest of a teacher or student.
    """
    # A public checkpoint that is the teacher itself has trained on none of the works.
    if "train_until" not in trained_with or trained_with.get("encoder_role") == "teacher":
        return None
    if replay := trained_with.get("replay"):
        return TypeAdapter(tuple[Window, ...]).validate_python((*replay["seen"], replay["new"]))
    return (TypeAdapter(Window).validate_python({"until": trained_with["train_until"]}),)
