"""The guide for newcomers as tests follow it: the files it says to write and the lines it says to run."""

import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from reelspace.core.artifacts import open_artifact, write_artifact
from reelspace.core.step_records import read_journal
from reelspace.core.store import Store
from reelspace.runs.record import RunRecord, find_record
from tests.pipelines.checkout import ROOT

COUNTS = {"label_id": [7, 8, 9], "num_works": [3, 1, 1]}
"""What the guide's step makes of the labels below."""
GUIDE = (ROOT / "docs/guides/add-a-step.md").read_text()


def blocks(language: str, *headings: str) -> list[str]:
    """Give the blocks of code in a language, of the whole guide or of the parts under some headings."""
    parts = re.split(r"^## (.*)\n", GUIDE, flags=re.MULTILINE)
    texts = [text for heading, text in zip(["", *parts[1::2]], parts[::2], strict=True) if not headings or heading in headings]
    return [block for text in texts for block in re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)]


def files_of_the_guide() -> dict[str, str]:
    """Give the text of every file that the guide says to write, by path."""
    named = re.findall(r"^`([\w/]+\.py)`:$", GUIDE, flags=re.MULTILINE)
    return {**dict(zip(named, blocks("python"), strict=True)), "components/count_labels/__init__.py": ""}


def write_labels(store: Store, scratch: Path) -> str:
    """Write an artifact of labels for the guide's step; gives its id."""
    (scratch / "labels").mkdir()
    rows = {"video_id": [1, 2, 3, 3, 4], "label_id": [7, 7, 7, 8, 9]}
    pq.write_table(pa.table(rows), scratch / "labels" / "video_labels.parquet")
    return write_artifact(store, "labels", scratch / "labels", parents=(), code="", settings={}).id


def last_counts(store: Store) -> tuple[RunRecord, str, dict[str, list[int]]]:
    """Give the newest run of the guide's pipeline, the id of what its step made, and that."""
    record = find_record(store, "last")
    (entry,) = read_journal(store, record.run_id).values()
    made = entry.outputs["counts"]
    return record, made, pq.read_table(pa.BufferReader(open_artifact(store, made).read("counts.parquet"))).to_pydict()
