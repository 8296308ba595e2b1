"""Comment filter: drops spam, emoji, exclamations and what is said under anything.

Legend: C comments, one per (work, text as written).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reelspace.signals.lexicons import Lexicons
from reelspace.signals.normal_forms import NormalForms, has_han
from reelspace.signals.settings import CommentSettings
from reelspace.signals.tables import Comments, Stage, Works

_MIN_ANYTHING_WORKS = 8


@dataclass(frozen=True, slots=True)
class GoodComments:
    """Comments that may speak for a work: row of the work, row in the comments read, normal form."""

    work_C: NDArray[np.int64]
    row_C: NDArray[np.int64]
    normal: tuple[str, ...]


def filter_comments(
    comments: Comments, works: Works, forms: NormalForms, lexicons: Lexicons, settings: CommentSettings
) -> tuple[GoodComments, list[Stage]]:
    """Give the comments that may speak for their work, and the funnel that led to them."""
    normal_of = {text: forms.text(text) for text in dict.fromkeys(comments.texts)}
    works_of: dict[str, int] = {}
    seen: set[tuple[int, str]] = set()
    distinct: list[int] = []
    for row, (video_id, text) in enumerate(zip(comments.video_ids_C.tolist(), comments.texts, strict=True)):
        normal = normal_of[text]
        if (video_id, normal) not in seen:
            seen.add((video_id, normal))
            distinct.append(row)
            works_of[normal] = works_of.get(normal, 0) + 1
    most = max(_MIN_ANYTHING_WORKS, settings.max_work_share * len(works.ids_V))
    long_enough = {text for text in works_of if num_letters(text) >= settings.min_letters}
    clean = {text for text in long_enough if not lexicons.comment_spam.search(text)}
    telling = {text for text in clean if works_of[text] <= most}
    stages = []
    for name, allowed in (
        ("not a copy in other letters", works_of.keys()),
        (f"at least {settings.min_letters} letters", long_enough),
        ("not spam", clean),
        ("not said under anything", telling),
    ):
        stages.append(Stage(name, sum(normal_of[comments.texts[row]] in allowed for row in distinct)))
    kept = [row for row in distinct if normal_of[comments.texts[row]] in telling]
    rows = works.rows()
    return (
        GoodComments(
            work_C=np.array([rows[int(comments.video_ids_C[row])] for row in kept], dtype=np.int64),
            row_C=np.array(kept, dtype=np.int64),
            normal=tuple(normal_of[comments.texts[row]] for row in kept),
        ),
        stages,
    )


def num_letters(text: str) -> int:
    """Letters and digits; a Chinese character says as much as two letters."""
    return sum(2 if has_han(character) else 1 for character in text if character.isalnum())


def texts_by_work(comments: GoodComments, chosen: Sequence[int], texts: Sequence[str]) -> dict[int, list[str]]:
    """Group chosen comments by work, in the order chosen."""
    out: dict[int, list[str]] = {}
    for place in chosen:
        out.setdefault(int(comments.work_C[place]), []).append(texts[int(comments.row_C[place])])
    return out
