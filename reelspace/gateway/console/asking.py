"""Answers questions of the query box as the dialect answers its clients: by the same parsers and the same service."""

import time
from typing import Any, Final

import orjson

from reelspace.gateway.console.clip_encoder import ClipEncoder
from reelspace.gateway.console.question import Answer, Hit, Question
from reelspace.gateway.console.thumbnail import KEY, thumbnail
from reelspace.search.access.collection_service import CollectionService
from reelspace.search.access.filter_request import parse_point_id
from reelspace.search.access.query_request import parse_query
from reelspace.search.access.refusal import RequestRefused
from reelspace.search.access.requests import RetrieveRequest, Selection
from reelspace.search.storage.ids import Id

TIMEOUT_S: Final = 10.0
MAX_ID_DIGITS: Final = 20
MAX_VALUE: Final = 80
MAX_PAYLOAD: Final = 280


async def answer(question: Question, service: CollectionService, clips: ClipEncoder | None) -> Answer:
    """Answer a question on a collection.

    Raises:
        RequestRefused, WireError: it cannot be asked; the message begins with the field.
        ShardTimeout, ShardFailed, Overloaded, ServerUnavailable: there is no answer now.
    """
    start_s = time.perf_counter()
    id = _point_id(question.id) if question.by == "id" else None
    target = await _target(question, service, clips) if id is None else (id if isinstance(id, int) else str(id))
    wanted = {"query": target, "using": _using(question, service), "limit": question.limit, "with_payload": True}
    found = await service.query(parse_query(wanted, service.fields), TIMEOUT_S)
    rows = zip(found.ids, found.scores, found.payloads or [b"{}"] * len(found.ids), strict=True)
    hits = tuple(_hit(one, score, payload) for one, score, payload in rows)
    asked = None if id is None else await _asked(id, service)
    return Answer(hits, asked, found.coverage.rows, found.coverage.of, time.perf_counter() - start_s)


async def _target(question: Question, service: CollectionService, clips: ClipEncoder | None) -> Any:
    if question.by == "words":
        return {"text": question.words, "model": next(iter(service.models), "")}
    if clips is None:
        raise RequestRefused("clip", "no encoder of files is served here", status=501)
    encoded = await clips.encode(question.clip, question.words)
    if encoded.space_id != service.collection.space_id:
        told = f"the file's vector is of space {encoded.space_id}, the collection of {service.collection.space_id}"
        raise RequestRefused("clip", f"{told}: they cannot be compared", status=409)
    return encoded.vector_D


def _using(question: Question, service: CollectionService) -> str:
    return question.using if question.using or "" in service.fields else next(iter(service.fields))


def _point_id(text: str) -> Id:
    is_number = text.isascii() and text.isdigit() and len(text) <= MAX_ID_DIGITS
    return parse_point_id(int(text) if is_number else text, "id")


async def _asked(id: Id, service: CollectionService) -> Hit | None:
    """Give the point that is asked for; None where it has gone since."""
    records = await service.retrieve(RetrieveRequest((id,), Selection(with_payload=True)), TIMEOUT_S)
    return next((_hit(id, None, record.payload or b"{}") for record in records), None)


def _hit(id: Id, score: float | None, payload: bytes) -> Hit:
    values = orjson.loads(payload)
    return Hit(str(id), score, payload_text(values), thumbnail(values))


def payload_text(payload: dict[str, Any]) -> str:
    """Give a payload in a line, without its picture; what is long is cut."""
    parts = [f"{key}: {_short(value)}" for key, value in payload.items() if key != KEY]
    return _cut(" · ".join(parts), MAX_PAYLOAD)


def _short(value: Any) -> str:
    return _cut(value if isinstance(value, str) else orjson.dumps(value).decode(), MAX_VALUE)


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
