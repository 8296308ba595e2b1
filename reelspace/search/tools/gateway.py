"""A running gateway as the tools use it: requests that are sent again where that is safe."""

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Final
from uuid import UUID

import httpx
import numpy as np
import orjson

from reelspace.core.errors import ServerUnavailable, UserError
from reelspace.search.access.collection_request import DISTANCES
from reelspace.search.access.http_request import IDEMPOTENCY_KEY
from reelspace.search.storage.ids import Id
from reelspace.search.storage.layout import VectorSettings
from reelspace.search.tools.retry_budget import RetryBudget, jittered

TIMEOUT_S: Final = 65.0
NUM_TRIES: Final = 7
FIRST_PAUSE_S: Final = 0.2
AGAIN: Final = frozenset({429, 502, 503, 504})


class Gateway:
    """A connection; use it in a `with` block. Everything asked through it may be asked twice: writes need a key."""

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        first_pause_s: float = FIRST_PAUSE_S,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """Connect when something is asked.

        Args:
            api_key: for a gateway that asks for one.
            first_pause_s: before a request is sent the second time; each pause after is twice as long, and all are jittered.
            transport: for tests.

        Raises:
            UserError: the URL is no http or https address.
        """
        self.url = url.rstrip("/")
        self._first_pause_s, self._budget = first_pause_s, RetryBudget()
        if not self.url.startswith(("http://", "https://")):
            raise UserError(f"address of the gateway: expected http://host:port, got {url!r}")
        shown = None if api_key is None else {"api-key": api_key}
        self._client = httpx.Client(base_url=self.url, timeout=TIMEOUT_S, trust_env=False, transport=transport, headers=shown)

    def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None, *, key: str | None = None) -> Any:
        """Give the `result` of an answer.

        Args:
            key: the name of a write, under which it takes effect once however often it is sent.

        Raises:
            UserError: the gateway refused the request; the message is its own.
            ServerUnavailable: no gateway answers, or none could, each time it was tried, or as often as `RetryBudget` allows.
        """
        content = None if body is None else orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)
        headers = {"Content-Type": "application/json"} | ({IDEMPOTENCY_KEY: key} if key else {})
        pause_s, problem, was_told = self._first_pause_s, "", False
        self._budget.earn()
        for attempt in range(NUM_TRIES):
            if attempt:
                if not was_told and not self._budget.spend():
                    raise ServerUnavailable(f"{self.url}{path}, tried {attempt} times, and too many before it: {problem}")
                time.sleep(jittered(pause_s))
                pause_s *= 2
            try:
                response = self._client.request(method, path, content=content, headers=headers)
            except httpx.TransportError as error:
                problem, was_told = f"no answer: {error or type(error).__name__}", False
                continue
            if response.status_code == httpx.codes.OK:
                return orjson.loads(response.content)["result"]
            # A gateway that has too much to do says so before it works, and when to come again.
            problem, was_told = f"{response.status_code}: {_message(response)}", response.status_code == httpx.codes.TOO_MANY_REQUESTS
            if response.status_code not in AGAIN:
                kind = UserError if response.status_code < 500 or response.status_code == 501 else ServerUnavailable
                raise kind(f"{self.url}{path} answered {problem}")
        raise ServerUnavailable(f"{self.url}{path}, tried {NUM_TRIES} times: {problem}")

    def vectors(self, collection: str) -> dict[str, VectorSettings] | None:
        """Give the vectors of a collection by name, None if there is no such collection."""
        if not self.ask("GET", f"/collections/{collection}/exists")["exists"]:
            return None
        given = self.ask("GET", f"/collections/{collection}")["config"]["params"]["vectors"]
        named = {"": given} if "size" in given else given
        return {name: VectorSettings(dimension=one["size"], metric=DISTANCES[one["distance"]]) for name, one in named.items()}

    def create(self, collection: str, vectors: Mapping[str, VectorSettings], num_shards: int) -> None:
        """Make a collection without rows."""
        distance_of = {metric: name for name, metric in DISTANCES.items()}
        given = {name: {"size": one.dimension, "distance": distance_of[one.metric]} for name, one in vectors.items()}
        body = {"vectors": given[""] if set(given) == {""} else given, "shard_number": num_shards}
        self.ask("PUT", f"/collections/{collection}", body)

    def __enter__(self) -> "Gateway":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._client.close()


def id_of(value: int | str) -> Id:
    """Read an id of an answer."""
    return value if isinstance(value, int) else UUID(value)


def vectors_of(value: Any) -> dict[str, np.ndarray[Any, np.dtype[np.float32]]]:
    """Read the vectors of a point by name."""
    named = value if isinstance(value, dict) else {"": value}
    return {name: np.array(one, dtype=np.float32) for name, one in named.items()}


def _message(response: httpx.Response) -> str:
    try:
        return str(orjson.loads(response.content)["status"]["error"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return response.text[:200]
