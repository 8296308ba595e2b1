"""What is asked of a teacher's files before they teach: that its labels are those that the works have."""

from pathlib import Path

import pyarrow.parquet as pq

from reelspace.core.errors import UserError
from reelspace.train.teacher_outputs import LABELS_FILE

_COLUMNS = ["label_id", "text"]


def check_label_map(teacher: Path, labels: Path) -> None:
    """Refuse labels that give a label's number another text than the teacher's do.

    Args:
        teacher, labels: directories of the fetched artifacts.

    Raises:
        UserError: names the first such label and both texts.
    """
    theirs = pq.read_table(teacher / LABELS_FILE, columns=_COLUMNS).to_pylist()
    texts = {row["label_id"]: row["text"] for row in pq.read_table(labels / "vocabulary.parquet", columns=_COLUMNS).to_pylist()}
    for row in theirs:
        found = texts.get(row["label_id"])
        if found != row["text"]:
            got = "it is missing" if found is None else f"it is {found!r}"
            raise UserError(
                f"label {row['label_id']} of the teacher is {row['text']!r}, in the labels {got}: give the labels it was trained with"
            )
