"""The steps of a fine-tuning one after the other in this process: what `reelspace finetune` runs."""

import json
import os
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

from reelspace.core.artifacts import open_artifact, read_manifest_file
from reelspace.core.errors import OutputOccupied
from reelspace.core.settings import read
from reelspace.core.steps import STORE_VARIABLE
from reelspace.core.store import open_store
from reelspace.steps import find_artifact, finetune, import_labelled
from reelspace.train.finetune_settings import FinetuneSettings


def finetune_locally(store: str, model: str, shards: str, table: str, out: Path, overrides: Sequence[str]) -> dict[str, object]:
    """Train a head and copy its files to a directory.

    Args:
        model, shards: artifact ids.
        table: a labelled table, or the id of an artifact of kind table or labels.

    Returns:
        `head`, the id of the new artifact, and the figures of its summary.json.

    Raises:
        UserError: an input or a setting is wrong, or the directory holds files.
    """
    settings = read(FinetuneSettings, {}, overrides).model_dump_json()
    if out.exists() and any(out.iterdir()):
        raise OutputOccupied(f"--out {out}: expected an empty or absent directory, it holds files")
    os.environ[STORE_VARIABLE] = store
    with tempfile.TemporaryDirectory(prefix="reelspace-finetune-") as scratch:
        at = {name: str(Path(scratch) / f"{name}.json") for name in ("model", "shards", "table", "head")}
        find_artifact.run(model, "teacher,student", at["model"])
        find_artifact.run(shards, "shards", at["shards"])
        if re.fullmatch("[0-9a-f]{64}", table):
            find_artifact.run(table, "table,labels", at["table"])
        else:
            import_labelled.run(table, at["table"], "{}")
        finetune.run(at["model"], at["shards"], at["table"], at["head"], settings)
        head = open_artifact(open_store(store), read_manifest_file(at["head"]).id)
    head.fetch(out)
    return {"head": head.id, **json.loads((out / "summary.json").read_text())}
