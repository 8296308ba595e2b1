"""The Triton server behind the gateway, as the gateway sees it."""

import asyncio
import time
from collections.abc import Mapping
from typing import Final

import httpx
import orjson

from reelspace.core.errors import ReelspaceError, ServerUnavailable
from reelspace.serving.probe import probe_request
from reelspace.serving.signatures import Signature, signature_of_config
from reelspace.serving.wire import HEAD_LENGTH, Answer, Message, WireError, decode_answer

PROBE_LIFETIME_S: Final = 2.0
NUM_CONNECTIONS: Final = 64


class ModelRefused(ReelspaceError):
    """The model behind Triton says that the request is wrong; the message names the field first."""


class Upstream:
    """Requests to one Triton server, over connections that are kept."""

    def __init__(self, url: str, timeout_s: float) -> None:
        limits = httpx.Limits(max_connections=NUM_CONNECTIONS, max_keepalive_connections=NUM_CONNECTIONS)
        self._client = httpx.AsyncClient(base_url=url, timeout=timeout_s, limits=limits, trust_env=False)
        self._probe_lock = asyncio.Lock()
        self._probed_at: dict[str, float] = {}

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def infer(self, model: str, message: Message) -> Answer:
        """Send one inference and read its answer.

        Raises:
            ModelRefused: the model says that the request is wrong.
            ServerUnavailable: no answer, a failed one, or one that is not the protocol's.
        """
        response = await self._send("POST", f"/v2/models/{model}/infer", message)
        if response.status_code == httpx.codes.BAD_REQUEST:
            raise ModelRefused(_error_text(response))
        if response.status_code != httpx.codes.OK:
            raise ServerUnavailable(f"model {model} failed: {_error_text(response)}")
        try:
            return decode_answer(response.content, response.headers.get(HEAD_LENGTH))
        except (WireError, KeyError) as error:
            raise ServerUnavailable(f"model {model} gave an answer that is not the protocol's: {error}") from error

    async def versions(self, model: str) -> list[str]:
        """Give the versions of a model that Triton serves now."""
        response = await self._send("GET", f"/v2/models/{model}")
        return [str(version) for version in response.json().get("versions", [])] if response.status_code == httpx.codes.OK else []

    async def is_ready(self, models: Mapping[str, Signature]) -> bool:
        """Tell whether every model answers a real request; an answer counts for two seconds."""
        async with self._probe_lock:
            for name, signature in models.items():
                if time.monotonic() - self._probed_at.get(name, -PROBE_LIFETIME_S) < PROBE_LIFETIME_S:
                    continue
                try:
                    await self.infer(name, probe_request(signature))
                except (ModelRefused, ServerUnavailable):
                    return False
                self._probed_at[name] = time.monotonic()
        return True

    async def _send(self, method: str, path: str, message: Message | None = None) -> httpx.Response:
        content, headers = (message.body, message.headers) if message else (None, None)
        try:
            return await self._client.request(method, path, content=content, headers=headers)
        except httpx.TimeoutException as error:
            raise ServerUnavailable("Triton did not answer in time") from error
        except httpx.TransportError as error:
            raise ServerUnavailable(f"Triton cannot be reached: {error or type(error).__name__}") from error


def fetch_signatures(triton_http_url: str, models: list[str]) -> dict[str, Signature]:
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
            if response.status_code != httpx.codes.OK:
                raise ServerUnavailable(f"Triton at {triton_http_url} does not serve model {model}: {_error_text(response)}")
            signatures[model] = signature_of_config(response.json())
    return signatures


def _error_text(response: httpx.Response) -> str:
    # Triton's errors are JSON whatever their Content-Type says.
    try:
        body = orjson.loads(response.content)
    except orjson.JSONDecodeError:
        body = None
    text = body.get("error") if isinstance(body, dict) else None
    return text[:500] if isinstance(text, str) and text else f"HTTP {response.status_code}"
