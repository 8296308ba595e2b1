"""What the watcher asks of one Triton server over HTTP, and what it may do there."""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from types import TracebackType
from typing import Any, Final, Literal, Protocol, Self

import httpx
import orjson

from reelspace.core.errors import ServerUnavailable
from reelspace.serving.probe import probe_request
from reelspace.serving.signatures import signature_of_config
from reelspace.serving.watch.settings import WatchSettings

ASK_TIMEOUT_S: Final = 2.0
LOADING: Final = "LOADING"


class TritonAway(ServerUnavailable):
    """Triton itself does not answer: no model is to blame."""


@dataclass(frozen=True, slots=True)
class Work:
    """What one loaded version of a model has done since it was loaded.

    An execution counts whatever it answered, also that a request is wrong; one that a dead process was to make does not. Failures are of
    any reason, a client that left too; those that the model's process is to blame for are known from Triton's metrics only.
    """

    version: str
    num_executions: int
    num_failures: int
    num_broken: int | None = None

    def has_broken_since(self, before: "Work") -> bool:
        """Tell whether requests have failed by the model's process since then."""
        return self.num_broken is not None and before.num_broken is not None and self.num_broken > before.num_broken


@dataclass(frozen=True, slots=True)
class Reply:
    """How a probe was answered: an HTTP status, what Triton says of an error, and how many processes might have answered."""

    status: int
    error: str = ""
    num_processes: int = 1


class Control(Protocol):
    """One Triton, as the watcher sees it."""

    async def work(self, model: str) -> list[Work]:
        """Give what each loaded version has done, none where no version is loaded; TritonAway."""

    async def is_loading(self, model: str) -> bool:
        """Tell whether a version is being loaded; TritonAway."""

    async def probe(self, model: str, version: str) -> Reply:
        """Make a version answer a real request; TimeoutError where it does not in time, TritonAway."""

    async def config(self, model: str) -> dict[str, Any] | None:
        """Give the configuration that a model was loaded with, None where it is not loaded; TritonAway."""

    async def load(self, model: str, config: Mapping[str, Any] | None) -> None:
        """Load what a configuration names, None for the repository's; ServerUnavailable with what Triton says if it fails."""

    async def unload(self, model: str) -> None:
        """Unload a model; ServerUnavailable with what Triton says if it fails."""


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where one Triton is: its HTTP and its metrics as http://host:port, its gRPC as host:port; None where that is not to be had.

    Over HTTP a load holds one of Triton's few threads until it ends, and requests whose connections share the thread wait for it.
    """

    http: str
    metrics: str | None = None
    grpc: str | None = None


class TritonControl:
    """`Control` over HTTP, loads over gRPC where that is to be had; use it in an `async with` statement."""

    def __init__(self, addresses: Addresses, settings: WatchSettings) -> None:
        self._settings = settings
        self._addresses = addresses
        self._client = httpx.AsyncClient(base_url=addresses.http, timeout=ASK_TIMEOUT_S, trust_env=False)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._client.aclose()

    async def work(self, model: str) -> list[Work]:
        """See `Control`."""
        response = await self._asked("GET", f"/v2/models/{model}/stats")
        if response.status_code != HTTPStatus.OK:
            return []
        broken = await self._broken(model)
        return [_work(one, broken) for one in response.json()["model_stats"]]

    async def is_loading(self, model: str) -> bool:
        """See `Control`."""
        response = await self._asked("POST", "/v2/repository/index")
        versions = response.json() if response.status_code == HTTPStatus.OK else []
        # UNLOADING is none of it: with a dead process that may last for ever.
        return any(one["name"] == model and one.get("state") == LOADING for one in versions)

    async def probe(self, model: str, version: str) -> Reply:
        """See `Control`."""
        where = f"/v2/models/{model}/versions/{version}"
        config = await self._asked("GET", f"{where}/config")
        if config.status_code != HTTPStatus.OK:
            return Reply(HTTPStatus.NOT_FOUND, error_text(config))
        facts = config.json()
        message = probe_request(signature_of_config(facts))
        timeout = httpx.Timeout(self._settings.probe_timeout_s)
        try:
            request = self._client.build_request("POST", f"{where}/infer", content=message.body, headers=message.headers, timeout=timeout)
            response = await self._client.send(request)
        except httpx.ReadTimeout as error:
            raise TimeoutError(f"no answer within {self._settings.probe_timeout_s:g} s") from error
        except httpx.TransportError as error:
            raise _away(error) from error
        num_processes = sum(int(group.get("count", 1)) * max(1, len(group.get("gpus", []))) for group in facts.get("instance_group", []))
        return Reply(response.status_code, "" if response.status_code == HTTPStatus.OK else error_text(response), max(1, num_processes))

    async def config(self, model: str) -> dict[str, Any] | None:
        """See `Control`."""
        response = await self._asked("GET", f"/v2/models/{model}/config")
        config: dict[str, Any] | None = response.json() if response.status_code == HTTPStatus.OK else None
        return config

    async def load(self, model: str, config: Mapping[str, Any] | None) -> None:
        """See `Control`."""
        await self._ordered(model, "load", None if config is None else orjson.dumps(config).decode())

    async def unload(self, model: str) -> None:
        """See `Control`."""
        await self._ordered(model, "unload", None)

    async def _broken(self, model: str) -> dict[str, int] | None:
        if self._addresses.metrics is None:
            return None
        try:
            text = (await self._client.get(f"{self._addresses.metrics}/metrics")).text
        except httpx.TransportError:
            return None
        found = re.findall(
            rf'^nv_inference_request_failure{{model="{re.escape(model)}",reason="BACKEND",version="(\d+)"}} (\d+)', text, re.M
        )
        return {version: int(number) for version, number in found}

    async def _ordered(self, model: str, order: Literal["load", "unload"], config: str | None) -> None:
        timeout_s = self._settings.load_timeout_s
        if self._addresses.grpc is not None:
            await asyncio.to_thread(order_over_grpc, self._addresses.grpc, model, order, config, timeout_s)
            return
        body = orjson.dumps({} if config is None else {"parameters": {"config": config}})
        response = await self._asked("POST", f"/v2/repository/models/{model}/{order}", timeout_s, body)
        if response.status_code != HTTPStatus.OK:
            raise ServerUnavailable(f"{order} of model {model} failed in Triton: {error_text(response)}")

    async def _asked(self, method: str, path: str, timeout_s: float = ASK_TIMEOUT_S, content: bytes | None = None) -> httpx.Response:
        try:
            return await self._client.request(method, path, timeout=timeout_s, content=content)
        except httpx.TransportError as error:
            raise _away(error) from error


def order_over_grpc(address: str, model: str, order: Literal["load", "unload"], config: str | None, timeout_s: float) -> None:
    """Load or unload a model; ServerUnavailable with what Triton says if it fails."""
    # Delays gRPC, which only repairs need: a look of a liveness probe starts twice as fast without.
    import tritonclient.grpc as triton
    from tritonclient.utils import InferenceServerException

    client = triton.InferenceServerClient(address)
    try:
        if order == "load":
            client.load_model(model, config=config, client_timeout=timeout_s)
        else:
            client.unload_model(model, client_timeout=timeout_s)
    except InferenceServerException as error:
        told = " ".join(str(error.message()).split())[:500]
        raise ServerUnavailable(f"{order} of model {model} failed in Triton: {told}") from error
    finally:
        client.close()


def error_text(response: httpx.Response) -> str:
    """Give what Triton says of an error, on one line."""
    try:
        told = response.json().get("error")
    except (ValueError, AttributeError):
        told = None
    return " ".join(str(told or f"HTTP {response.status_code}").split())[:500]


def _work(stats: dict[str, Any], broken: Mapping[str, int] | None) -> Work:
    version, failed = str(stats["version"]), stats["inference_stats"]["fail"].get("count", 0)
    return Work(version, int(stats.get("execution_count", 0)), int(failed), None if broken is None else broken.get(version))


def _away(error: httpx.TransportError) -> TritonAway:
    return TritonAway(f"Triton cannot be reached: {error or type(error).__name__}")
