"""What a promoter asks of one Triton over HTTP: to load versions side by side, and how long each computes."""

from collections.abc import Mapping
from http import HTTPStatus
from types import TracebackType
from typing import Any, Final, Protocol, Self

import httpx
import orjson

from reelspace.core.errors import ReelspaceError, ServerUnavailable
from reelspace.serving.answer_checks import check_answer, check_finite
from reelspace.serving.probe import probe_request
from reelspace.serving.rollout.compute_times import BatchTimes
from reelspace.serving.signatures import signature_of_config
from reelspace.serving.wire import HEAD_LENGTH, decode_answer

ASK_TIMEOUT_S: Final = 10.0
LOAD_TIMEOUT_S: Final = 1800.0


class TritonRefused(ReelspaceError):
    """Triton answers that it cannot do what it was asked."""


class ModelControl(Protocol):
    """One Triton, as a promoter sees it."""

    def load(self, model: str, config: Mapping[str, Any]) -> None:
        """Load the versions that a configuration names, and unload others.

        The configuration is given with every load: after one was, Triton takes a file that did not change for the one that it has.

        Raises:
            TritonRefused: a version cannot be loaded; those that were loaded stay.
            ServerUnavailable: Triton does not answer.
        """

    def probe(self, model: str, version: int) -> None:
        """Make a version answer a real request as its signature says; TritonRefused if it does not."""

    def times(self, model: str, version: int) -> BatchTimes:
        """Give what a version computed since it was loaded, nothing where it is not loaded."""


class HttpControl:
    """`ModelControl` over HTTP; use it in a `with` statement."""

    def __init__(self, url: str) -> None:
        """Name a server, as http://host:port."""
        self._url = url
        self._client = httpx.Client(base_url=url, timeout=ASK_TIMEOUT_S, trust_env=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._client.close()

    def load(self, model: str, config: Mapping[str, Any]) -> None:
        """See `ModelControl`."""
        body = {"parameters": {"config": orjson.dumps(config).decode()}}
        self._checked("POST", f"/v2/repository/models/{model}/load", orjson.dumps(body), timeout=LOAD_TIMEOUT_S)

    def probe(self, model: str, version: int) -> None:
        """See `ModelControl`."""
        where = f"/v2/models/{model}/versions/{version}"
        signature = signature_of_config(self._checked("GET", f"{where}/config").json())
        message = probe_request(signature)
        response = self._checked("POST", f"{where}/infer", message.body, headers=message.headers)
        try:
            answer = decode_answer(response.content, response.headers.get(HEAD_LENGTH))
            check_answer(answer, signature, 1)
            check_finite(answer)
        except (ReelspaceError, KeyError) as error:
            raise TritonRefused(str(error)) from error

    def times(self, model: str, version: int) -> BatchTimes:
        """See `ModelControl`."""
        response = self._asked("GET", f"/v2/models/{model}/versions/{version}/stats")
        if response.status_code != HTTPStatus.OK:
            return {}
        batches = response.json()["model_stats"][0].get("batch_stats", [])
        computed = {int(one["batch_size"]): one["compute_infer"] for one in batches}
        return {size: (int(one.get("count", 0)), int(one.get("ns", 0)) / 1e9) for size, one in computed.items()}

    def _checked(self, method: str, path: str, content: bytes | None = None, **more: Any) -> httpx.Response:
        response = self._asked(method, path, content, **more)
        if response.status_code != HTTPStatus.OK:
            raise TritonRefused(_error_text(response))
        return response

    def _asked(self, method: str, path: str, content: bytes | None = None, **more: Any) -> httpx.Response:
        try:
            return self._client.request(method, path, content=content, **more)
        except httpx.TransportError as error:
            raise ServerUnavailable(f"Triton at {self._url} cannot be reached: {error or type(error).__name__}") from error


def _error_text(response: httpx.Response) -> str:
    try:
        told = response.json().get("error")
    except (ValueError, AttributeError):
        told = None
    return " ".join(str(told or f"HTTP {response.status_code}").split())[:500]
