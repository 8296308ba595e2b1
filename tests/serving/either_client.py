"""The two clients behind one blocking face, and a clock that only moves when someone waits."""

import asyncio
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from reelspace.serving.client import AsyncServingClient, ServingClient
from reelspace.serving.client_retries import Retries, Timing

KINDS = ("blocking", "asyncio")


@dataclass
class Waits:
    """A clock; waiting is remembered and takes no time. Drawn numbers are `drawn`."""

    now_s: float = 100.0
    drawn: float = 1.0
    waits: list[float] = field(default_factory=list)

    def wait(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now_s += seconds

    async def pause(self, seconds: float) -> None:
        self.wait(seconds)

    def retries(self, **more: Any) -> Retries:
        return Retries(timing=Timing(lambda: self.now_s, self.wait, self.pause, lambda: self.drawn), **more)


class EitherClient:
    """Calls methods by name: `client("encode_text", ["a"])`."""

    def __init__(self, kind: str, url: str, **more: Any) -> None:
        self._runner = asyncio.Runner() if kind == "asyncio" else None
        self._client: Any = AsyncServingClient(url, **more) if kind == "asyncio" else ServingClient(url, **more)

    def __call__(self, method: str, *args: Any, **more: Any) -> Any:
        return self._done(getattr(self._client, method)(*args, **more))

    def for_request(self, **more: Any) -> "EitherClient":
        """Give the same client for the work on one request."""
        one = object.__new__(EitherClient)
        one._runner, one._client = self._runner, self._client.for_request(**more)
        return one

    def __enter__(self) -> "EitherClient":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self("close")
        if self._runner is not None:
            self._runner.close()

    def _done(self, value: Any) -> Any:
        return self._runner.run(value) if self._runner is not None else value
