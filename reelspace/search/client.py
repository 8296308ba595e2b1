"""Asks a gateway for hits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final

import httpx
import numpy as np
import orjson
from numpy.typing import NDArray

from reelspace.core.errors import ServerUnavailable, UserError

TEXT_MODEL: Final = "text_encoder"
TIMEOUT_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Hit:
    """One hit; score is a cosine, payload is empty when it was not asked for."""

    id: int
    score: float
    payload: Mapping[str, Any]


class SearchClient:
    """A connection to one gateway; use it in a `with` block. `api_key` is for a gateway that asks for one.

    Raises:
        UserError: the URL is no http or https address.
    """

    def __init__(self, url: str, timeout_s: float = TIMEOUT_S, api_key: str | None = None) -> None:
        self._url = _checked_url(url)
        headers = None if api_key is None else {"api-key": api_key}
        self._client = httpx.Client(base_url=self._url, timeout=timeout_s, trust_env=False, headers=headers)

    def __enter__(self) -> "SearchClient":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._client.close()

    def query(
        self,
        query: str | int | Sequence[float] | NDArray[np.floating[Any]],
        *,
        limit: int = 10,
        collection: str = "videos",
        exclude_ids: Sequence[int] = (),
        with_payload: bool = True,
    ) -> list[Hit]:
        """Find the points nearest to words, to a stored point (by id; it is no hit itself) or to a vector.

        Raises:
            UserError: the gateway refused the query; the message is its own.
            ServerUnavailable: no gateway answers at the address, or it cannot answer now.
        """
        body = {"query": _wire_form(query), "limit": limit, "with_payload": with_payload}
        if exclude_ids:
            body["filter"] = {"must_not": [{"has_id": [int(one) for one in exclude_ids]}]}
        points = self._post(f"/collections/{collection}/points/query", body)["points"]
        return [Hit(point["id"], point["score"], point.get("payload") or {}) for point in points]

    def _post(self, path: str, body: Mapping[str, Any]) -> Any:
        content = orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)
        try:
            response = self._client.post(path, content=content, headers={"Content-Type": "application/json"})
        except httpx.HTTPError as error:
            raise ServerUnavailable(f"no answer from {self._url}: {error or type(error).__name__}; is a gateway running there?") from error
        if response.status_code == httpx.codes.OK:
            return orjson.loads(response.content)["result"]
        kind = (
            UserError if 400 <= response.status_code < 500 and response.status_code != httpx.codes.TOO_MANY_REQUESTS else ServerUnavailable
        )
        raise kind(f"{self._url} answered {response.status_code}: {_message(response)}")


def _checked_url(url: str) -> str:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise UserError(f"address of the gateway: {url!r} is none: {error}") from error
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise UserError(f"address of the gateway: expected http://host:port, got {url!r}")
    return url.rstrip("/")


def _wire_form(query: str | int | Sequence[float] | NDArray[np.floating[Any]]) -> Any:
    if isinstance(query, str):
        return {"text": query, "model": TEXT_MODEL}
    return np.ascontiguousarray(query) if isinstance(query, np.ndarray) else query


def _message(response: httpx.Response) -> str:
    try:
        return str(orjson.loads(response.content)["status"]["error"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return response.text[:200]
