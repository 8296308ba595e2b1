"""What someone asks in the query box, and what was found."""

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from reelspace.gateway.console.form import Form
from reelspace.search.access.refusal import RequestRefused

By: TypeAlias = Literal["id", "words", "clip"]
DEFAULT_LIMIT: Final = 12
MAX_LIMIT: Final = 50


@dataclass(frozen=True, slots=True)
class Question:
    """Nearest to a point, to words, or to a file with words; the unused of these are empty.

    Attributes:
        using: the name of the vector that is compared.
    """

    collection: str
    by: By = "id"
    using: str = ""
    limit: int = DEFAULT_LIMIT
    id: str = ""
    words: str = ""
    clip: bytes = b""


@dataclass(frozen=True, slots=True)
class Hit:
    """One row: `score` in the dialect's terms, None of the one that was asked for; its payload in short; its picture as a data URI."""

    id: str
    score: float | None
    payload: str
    thumbnail: str | None


@dataclass(frozen=True, slots=True)
class Answer:
    """What was found, best first, and how much of the collection was searched.

    Attributes:
        asked: the point that was asked for, None for other questions.
    """

    hits: tuple[Hit, ...]
    asked: Hit | None
    num_searched: int
    num_rows: int
    seconds: float


def parse_question(form: Form) -> Question:
    """Read a form; RequestRefused where it is none of the query box."""
    by = next((one for one in _BY if one == form.text("by")), None)
    if by is None:
        raise RequestRefused("by", f"expected one of {', '.join(_BY)}, got {form.text('by')[:40]!r}")
    limit = form.text("limit") or str(DEFAULT_LIMIT)
    if not (limit.isascii() and limit.isdigit() and len(limit) <= 3 and 1 <= int(limit) <= MAX_LIMIT):
        raise RequestRefused("limit", f"expected 1 to {MAX_LIMIT}, got {limit[:40]!r}")
    clip = form.files.get("clip", b"")
    if by == "clip" and not clip:
        raise RequestRefused("clip", "choose a file first")
    return Question(form.text("collection"), by, form.text("using"), int(limit), form.text("id"), form.text("words"), clip)


_BY: Final[tuple[By, ...]] = ("id", "words", "clip")
