"""Uses of hashtags to judge by hand, from a directory of input tables."""

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow.parquet as pq

from reelspace.core.errors import TableError, UserError
from reelspace.core.schemas import TABLES
from reelspace.signals.labelling import Question, Use, questions_of
from reelspace.signals.normal_forms import public_text
from reelspace.steps.bad_rows import TableLedger
from reelspace.steps.import_tables import ImportSettings
from reelspace.steps.table_batches import Tolerance
from reelspace.steps.table_files import find_tables
from reelspace.steps.table_rows import read_table
from reelspace.steps.table_rules import RowRules

_ENDINGS = (".parquet", ".jsonl", ".csv", ".jsonl.gz", ".csv.gz", "")


def table_paths(directory: Path) -> dict[str, str]:
    """Name the tables that lie in a directory, itself or in its folder `tables`: `<name>.parquet`, another ending, or `<name>/`.

    Raises:
        TableError: there is no table videos.
    """
    root = directory / "tables" if (directory / "tables").is_dir() else directory
    found = {name: str(root / f"{name}{ending}") for ending in reversed(_ENDINGS) for name in TABLES if (root / f"{name}{ending}").exists()}
    if "videos" not in found:
        raise TableError(f"table videos is missing: {root}/videos.parquet, another ending or a folder videos/ was expected")
    return found


def read_questions(directory: Path) -> dict[Use, Question]:
    """Read every use of a hashtag with what a rater sees, texts masked; bad rows are left out."""
    settings = ImportSettings()
    tolerance = Tolerance(frozenset(), RowRules(), settings.max_line_bytes, settings.max_bad_ratio)
    with TemporaryDirectory() as scratch, TableLedger(Path(scratch) / "videos.jsonl") as ledger:
        files = find_tables(None, {"videos": table_paths(directory)["videos"]})
        videos = read_table(TABLES["videos"], files["videos"], tolerance, ledger)
    columns = {name: videos[name].to_pylist() for name in ("video_id", "caption", "cover_text", "categories")}
    questions = questions_of(
        columns["video_id"],
        [text or "" for text in columns["caption"]],
        [public_text(text or "") for text in columns["cover_text"]],
        [[public_text(name) for name in names or () if name] for names in columns["categories"]],
    )
    return {question.use: question for question in questions}


def read_scores(labels: Path) -> Mapping[Use, float]:
    """Read the scores of uses that an earlier run gave.

    Raises:
        UserError: there are none.
    """
    path = labels / "tag_uses.parquet"
    if not path.is_file():
        raise UserError(f"{path} is missing: expected a directory with the files of a `labels` artifact, as `reelspace signals run` writes")
    rows = pq.read_table(path, columns=["video_id", "tag", "score"])
    return {
        (video_id, tag): score
        for video_id, tag, score in zip(*(rows[name].to_pylist() for name in ("video_id", "tag", "score")), strict=True)
    }


def read_judged(path: Path) -> dict[str, dict[Use, bool]]:
    """Read a table `tag_judgements` by rater."""
    if not path.is_file():
        raise UserError(f"{path} is missing: expected judgements as `reelspace signals label` writes them")
    judged: dict[str, dict[Use, bool]] = {}
    for row in pq.read_table(path, columns=["video_id", "tag", "relevant", "rater"]).to_pylist():
        judged.setdefault(row["rater"], {})[row["video_id"], row["tag"]] = row["relevant"]
    return judged
