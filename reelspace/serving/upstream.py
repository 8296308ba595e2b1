"""The Triton server behind the gateway, as the gateway sees it."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from types import TracebackType
from typing import Final

import httpx
import orjson

from reelspace.core.errors import ReelspaceError, ServerUnavailable
from reelspace.serving.connection import Connections, Reply
from reelspace.serving.probe import probe_request
from reelspace.serving.signatures import Signature, signature_of_config
from reelspace.serving.wire import Answer, Message, WireError, decode_answer

PROBE_LIFETIME_S: Final = 2.0


class ModelRefused(ReelspaceError):
    """The model behind Triton says that the request is wrong; the message names the field first."""


class Upstream:
    """Requests to one Triton server, over connections that are kept."""

    def __init__(
        self,
        url: str,
        timeout_s: float,
        versions: Mapping[str, int] | None = None,
        trace: Callable[[], Mapping[str, str] | None] | None = None,
    ) -> None:
        """Name a server.

        Args:
            versions: version by model that is asked for; Triton's newest one where none is given.
            trace: gives the headers that put a request into the trace it is sent for, None where there is none.
        """
        self._trace = trace
        self._connections = Connections(url)
        self._versions = dict(versions or {})
        self._timeout_s = timeout_s
        self._is_open = False
        self._probe_lock = asyncio.Lock()
        self._probed_at: dict[tuple[str, str], float] = {}

    async def __aenter__(self) -> "Upstream":
        self._is_open = True
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._is_open = False
        self._connections.close()

    async def infer(self, model: str, message: Message, version: str = "") -> Answer:
        """Send one inference and read its answer.

        Args:
            version: one of `versions`; "" for the one that is asked for otherwise.

        Raises:
            ModelRefused: the model says that the request is wrong.
            ServerUnavailable: no answer, a failed one, or one that is not the protocol's.
        """
        reply = await self._send("POST", f"{self._path(model, version)}/infer", message)
        if reply.status == HTTPStatus.BAD_REQUEST:
            raise ModelRefused(_error_text(reply.status, reply.body))
        if reply.status != HTTPStatus.OK:
            raise ServerUnavailable(f"model {model} failed: {_error_text(reply.status, reply.body)}")
        try:
            return decode_answer(reply.body, reply.head_length)
        except (WireError, KeyError) as error:
            raise ServerUnavailable(f"model {model} gave an answer that is not the protocol's: {error}") from error

    def pinned(self, model: str) -> str:
        """Give the version that is asked for, "" for Triton's newest."""
        return str(self._versions.get(model, ""))

    def point(self, model: str, version: int) -> None:
        """Ask for another version of a model from now on."""
        self._versions[model] = version

    async def versions(self, model: str) -> list[str]:
        """Give the versions of a model that can be asked for."""
        if model in self._versions:
            return [str(self._versions[model])]
        reply = await self._send("GET", f"/v2/models/{model}")
        return [str(version) for version in orjson.loads(reply.body).get("versions", [])] if reply.status == HTTPStatus.OK else []

    async def is_ready(self, models: Mapping[str, Signature], version: str = "") -> bool:
        """Tell whether every model answers a real request, of a version if one is given; an answer counts for two seconds."""
        async with self._probe_lock:
            for name, signature in models.items():
                if time.monotonic() - self._probed_at.get((name, version), -PROBE_LIFETIME_S) < PROBE_LIFETIME_S:
                    continue
                try:
                    await self.infer(name, probe_request(signature), version)
                except (ModelRefused, ServerUnavailable):
                    return False
                self._probed_at[name, version] = time.monotonic()
        return True

    def _path(self, model: str, version: str) -> str:
        number = version or self.pinned(model)
        return f"/v2/models/{model}/versions/{number}" if number else f"/v2/models/{model}"

    async def _send(self, method: str, path: str, message: Message | None = None) -> Reply:
        assert self._is_open, "the router's lifespan has not begun: mount it with app.include_router"
        body, headers = (message.body, message.headers) if message else (b"", {})
        traced = self._trace() if self._trace is not None else None
        try:
            # What runs at a time is bounded by model, before; a line of connections here would hide how long requests wait.
            async with asyncio.timeout(self._timeout_s):
                return await self._connections.ask(method, path, {**headers, **traced} if traced else headers, body)
        except TimeoutError as error:
            raise ServerUnavailable("Triton did not answer in time") from error


def fetch_signatures(triton_http_url: str, models: Sequence[str]) -> dict[str, Signature]:
    """Ask Triton for the signatures of loaded models.

    Raises:
        ServerUnavailable: Triton does not answer, or does not serve one of them; the message names it.
    """
    signatures = {}
    with httpx.Client(base_url=triton_http_url, trust_env=False) as client:
        for model in models:
            try:
                response = client.get(f"/v2/models/{model}/config")
            except httpx.TransportError as error:
                raise ServerUnavailable(f"Triton at {triton_http_url} cannot be reached: {error}") from error
            if response.status_code != HTTPStatus.OK:
                why = _error_text(response.status_code, response.content)
                raise ServerUnavailable(f"Triton at {triton_http_url} does not serve model {model}: {why}")
            signatures[model] = signature_of_config(response.json())
    return signatures


def _error_text(status: int, content: bytes) -> str:
    # Triton's errors are JSON whatever their Content-Type says.
    try:
        body = orjson.loads(content)
    except orjson.JSONDecodeError:
        body = None
    text = body.get("error") if isinstance(body, dict) else None
    return text[:500] if isinstance(text, str) and text else f"HTTP {status}"
