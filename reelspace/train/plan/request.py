"""From what is asked on a command line to settings: sizes, files, and how a batch is cut."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from reelspace.core.errors import UserError
from reelspace.core.settings import read
from reelspace.model.presets import preset
from reelspace.train.plan.settings import PlanSettings
from reelspace.train.settings import TrainSettings

_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(GiB|GB|TiB)?\s*")
_GIB = {"GiB": 1.0, "GB": 1e9 / 2**30, "TiB": 1024.0, None: 1.0}


def gib(text: str) -> float:
    """Read a size of memory, such as 80GiB or 85.9GB.

    Raises:
        UserError: it is no size.
    """
    found = _SIZE.fullmatch(text)
    if found is None:
        raise UserError(f"--gpu-memory: expected a size such as 80GiB, got {text!r}")
    return float(found[1]) * _GIB[found[2]]


def read_settings(
    file: Path | None, options: Mapping[str, object], overrides: Sequence[str], micro_batch: int | None, machines: PlanSettings
) -> TrainSettings:
    """Read pretraining's settings: a file's, those of options that are not None, overrides, and the cut of the batch.

    Without a batch_size the batch is one part of `micro_batch` works, or one work, for every GPU; without a vocabulary_size it is the
    preset's.

    Raises:
        UserError: a setting is wrong, or the batch cannot be cut so; names it.
    """
    text = "{}" if file is None else _text_of(file)
    given = [f"{name}={_as_json(value)}" for name, value in options.items() if value is not None]
    settings = read(TrainSettings, text, [*given, *overrides])
    unset = {"batch_size": max(2, (micro_batch or 1) * machines.gpus), "vocabulary_size": preset(settings.model).vocabulary_size}
    values = settings.model_dump(mode="json", exclude_unset=True)
    values |= {name: value for name, value in unset.items() if name not in settings.model_fields_set}
    if micro_batch is not None:
        parts, rest = divmod(values["batch_size"], machines.gpus * micro_batch)
        if rest:
            raise UserError(
                f"batch_size is {values['batch_size']}, expected a multiple of {machines.gpus} GPUs times --micro-batch {micro_batch}"
            )
        values["micro_batches"] = parts
    return read(TrainSettings, values)


def _as_json(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _text_of(file: Path) -> str:
    try:
        return file.read_text()
    except OSError as error:
        raise UserError(f"--settings: expected a readable JSON file, got {file}: {error.strerror}") from error
