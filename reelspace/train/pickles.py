"""Which names the pickles of a checkpoint may call: torch's own for tensors, and the three that DeepSpeed writes.

DeepSpeed reads its files with a full unpickler, which calls whatever a file names. A hash tells a damaged file, not a forged one
whose manifest was rewritten with it: so every file is looked through, without being unpickled, before an engine reads it.
"""

import pickle
from pathlib import Path

import torch

_OF_DEEPSPEED = frozenset(
    {
        "deepspeed.runtime.zero.config.ZeroStageEnum",
        "deepspeed.utils.tensor_fragment.fragment_address",
        "deepspeed.runtime.fp16.loss_scaler.LossScaler",
    }
)


def foreign_names(directory: Path) -> str:
    """Say which file below a directory would call what no checkpoint of ours calls; nothing if none would.

    Only pickles in torch's zip form, with the few instructions that torch.save writes, pass: any other is named as such.
    """
    for path in sorted(directory.rglob("*.pt")):
        name = path.relative_to(directory).as_posix()
        try:
            foreign = sorted(set(torch.serialization.get_unsafe_globals_in_checkpoint(path)) - _OF_DEEPSPEED)
        except (ValueError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
            return f"{name} is not what torch.save writes ({str(error)[:100]})"
        if foreign:
            return f"{name} calls {', '.join(foreign)}"
    return ""
