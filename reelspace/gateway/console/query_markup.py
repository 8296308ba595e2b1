"""The query box and what was found, as HTML. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from reelspace.gateway.console.addresses import QUERY
from reelspace.gateway.console.markup import NOTHING, Attributes, Html, element, joined
from reelspace.gateway.console.problem import Problem
from reelspace.gateway.console.question import DEFAULT_LIMIT, MAX_LIMIT, Answer, By, Hit, Question
from reelspace.gateway.console.status_markup import section
from reelspace.gateway.console.table_markup import cell, table
from reelspace.gateway.console.views import CollectionView

_AGAIN: Final = "again"


@dataclass(frozen=True, slots=True)
class QueryBox:
    """What the box offers.

    Attributes:
        may_read: whether the key has the scope that queries need.
        max_clip_bytes: the size of the largest file; None where no encoder of files is served.
        question: what was asked last, to be shown again.
        found: what was found, or why nothing was.
    """

    collection: CollectionView
    may_read: bool
    max_clip_bytes: int | None
    question: Question | None = None
    found: Answer | Problem | None = None


def query_part(box: QueryBox) -> Html:
    """Make the box, and the place of what it finds."""
    title = element("span", None, "Query ", element("span", {"class": "name"}, box.collection.name))
    if not box.may_read:
        return section(title, element("p", {"class": "empty"}, "This key has no scope read, which queries need."))
    forms = element("div", {"class": "asking"}, _by_id(box), _by_words(box), _by_clip(box))
    return section(title, forms, results_part(box))


def results_part(box: QueryBox) -> Html:
    """Make what was found, or why nothing was; empty before the first question."""
    attributes = {"id": "results", "aria-live": "polite"}
    if isinstance(box.found, Problem):
        return element("div", attributes, element("p", {"class": "problem", "role": "alert"}, box.found.words))
    if box.found is None or box.question is None:
        return element("div", attributes)
    return element("div", attributes, *_hits(box.question, box.found))


def _by_id(box: QueryBox) -> Html:
    attributes: Attributes = {"name": "id", "required": True, "autocomplete": "off", "spellcheck": "false"}
    field = _field("Like the point", {**attributes, "value": _asked(box, "id", "id"), "placeholder": "its id: a number or a UUID"})
    return _form(box, "id", "Find what is like it", field)


def _by_words(box: QueryBox) -> Html:
    if not box.collection.models:
        return element("p", {"class": "empty"}, "In words: no text encoder was promoted with this collection.")
    attributes: Attributes = {"name": "words", "required": True, "value": _asked(box, "words", "words")}
    return _form(box, "words", "Find what it says", _field("In words", attributes))


def _by_clip(box: QueryBox) -> Html:
    if box.max_clip_bytes is None:
        return element("p", {"class": "empty"}, "By a file: the model media_encoder is not served here.")
    if not box.collection.models:
        return element("p", {"class": "empty"}, "By a file: no encoders were promoted with this collection.")
    most = f"Like a video, picture or sound, at most {box.max_clip_bytes / (1 << 20):.0f} MiB"
    kinds: Attributes = {"name": "clip", "type": "file", "required": True, "accept": "video/*,image/*,audio/*"}
    words = _field("Its caption, if any", {"name": "words", "value": _asked(box, "clip", "words")})
    return _form(box, "clip", "Upload and find", _field(most, kinds), words)


def _form(box: QueryBox, by: By, button: str, *fields: Html) -> Html:
    hidden = [element("input", {"type": "hidden", "name": name, "value": value}) for name, value in _hidden(box, by)]
    limit = {"name": "limit", "type": "number", "min": "1", "max": str(MAX_LIMIT), "value": str(_limit(box))}
    parts = [*hidden, *fields, _using(box), _field("Hits", limit), element("button", None, button)]
    return element("form", _target(), *parts)


def _target() -> Attributes:
    return {"method": "post", "action": QUERY, "enctype": "multipart/form-data", "data-asks": True}


def _hidden(box: QueryBox, by: By) -> list[tuple[str, str]]:
    return [("collection", box.collection.name), ("by", by)]


def _field(label: str, attributes: Attributes) -> Html:
    return element("label", None, element("span", None, label), element("input", {"type": "text", **attributes}))


def _using(box: QueryBox) -> Html:
    """Let one of several vectors be chosen."""
    if len(box.collection.vectors) < 2:
        return NOTHING
    chosen = "" if box.question is None else box.question.using
    names = box.collection.vectors
    options = (element("option", {"value": name, "selected": name == chosen}, name or "(unnamed)") for name in names)
    return element("label", None, element("span", None, "Vector"), element("select", {"name": "using"}, *options))


def _asked(box: QueryBox, by: By, field: str) -> str | None:
    return getattr(box.question, field) if box.question is not None and box.question.by == by else None


def _limit(box: QueryBox) -> int:
    return DEFAULT_LIMIT if box.question is None else box.question.limit


def _hits(question: Question, answer: Answer) -> list[Html]:
    searched = f"{answer.num_searched:,} of {answer.num_rows:,} rows"
    summary = element("p", {"class": "quiet"}, f"{len(answer.hits):,} hits in {searched}, {1000 * answer.seconds:.0f} ms")
    if not answer.hits:
        return [summary, element("p", {"class": "empty"}, "Nothing was found.")]
    shown = [*([answer.asked] if answer.asked is not None else []), *answer.hits]
    has_pictures = any(hit.thumbnail for hit in shown)
    rows = [_row(place, hit, has_pictures) for place, hit in enumerate(shown, 1 if answer.asked is None else 0)]
    names = ("Rank", "Score", *(("Picture",) if has_pictures else ()), "Point")
    return [summary, _again(question), table(names, rows, "Hits")]


def _row(rank: int, hit: Hit, has_pictures: bool) -> Sequence[Html]:
    again = {"class": "link", "form": _AGAIN, "name": "id", "value": hit.id, "title": "Find what is like it"}
    picture = NOTHING if hit.thumbnail is None else element("img", {"src": hit.thumbnail, "alt": f"picture of {hit.id}"})
    return [
        cell("asked" if hit.score is None else f"{rank:,}", "quiet" if hit.score is None else None),
        cell("" if hit.score is None else f"{hit.score:.4f}"),
        *([cell(picture, "picture")] if has_pictures else []),
        cell(joined([element("button", again, hit.id), element("p", None, hit.payload)]), "point"),
    ]


def _again(question: Question) -> Html:
    """Make the form that the ids among the hits belong to."""
    given = [("collection", question.collection), ("by", "id"), ("using", question.using), ("limit", str(question.limit))]
    hidden = (element("input", {"type": "hidden", "name": name, "value": value}) for name, value in given)
    return element("form", {"id": _AGAIN, **_target()}, *hidden)
