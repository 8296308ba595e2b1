"""What the V2 protocol offers, whichever way it travels: the models on the list, checked before Triton sees anything.

Triton sees only requests that are written anew from checked tensors. Loading, shared memory, tracing and the models of shards cannot
be reached.
"""

import asyncio
import re
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version
from types import TracebackType
from typing import Final, Self

from reelspace.core.errors import ServerUnavailable
from reelspace.serving.answer_checks import check_answer
from reelspace.serving.endpoint_settings import EndpointSettings
from reelspace.serving.infer_request import InferRequest
from reelspace.serving.refusals import DeadlineOver, NotServed, TooMuchWaits
from reelspace.serving.rollout.followed import FollowedRollouts
from reelspace.serving.signatures import Signature
from reelspace.serving.upstream import ModelRefused, Upstream
from reelspace.serving.wire import Answer, Message, WireError, encode_request

SPACE_ID: Final = "SPACE_ID"
PACKAGE_VERSION: Final = version("reelspace")
EXTENSIONS: Final = ["binary_tensor_data", "model_configuration"]
_VERSION: Final = re.compile(r"[1-9][0-9]{0,9}")
Read = Callable[[Signature], Awaitable[InferRequest]]
Observe = Callable[[str, str, str, float], None]
"""Hears of every inference of a model on the list: the model, the version ("" where none is known), what became of it, and the seconds."""


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """A model's tensors and the versions that can be asked for."""

    signature: Signature
    versions: list[str]


def unobserved(_model: str, _version: str, _outcome: str, _seconds: float) -> None:
    """Keep nothing."""


class Endpoint:
    """The models on the list; use it in an `async with` statement, in the event loop that serves."""

    def __init__(
        self,
        upstream: Upstream,
        models: Mapping[str, Signature],
        settings: EndpointSettings | None = None,
        observe: Observe = unobserved,
        rollouts: FollowedRollouts | None = None,
        is_ending: Callable[[], bool] = lambda: False,
    ) -> None:
        """Offer models.

        Args:
            models: the list of models that can be reached, with the signatures that requests are checked against.
            rollouts: of all of these models; None where versions never change while this process runs.
            is_ending: tells whether this process takes nothing new: it is not ready then.
        """
        self.models = models
        self.settings = settings or EndpointSettings()
        self._upstream = upstream
        self._observe = observe
        self._rollouts = rollouts
        self._is_ending = is_ending
        if rollouts is not None:
            rollouts.use_pointer(upstream.point)
        self._running: Counter[str] = Counter()

    async def __aenter__(self) -> Self:
        await self._upstream.__aenter__()
        if self._rollouts is not None:
            await self._rollouts.__aenter__()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._rollouts is not None:
            await self._rollouts.__aexit__(kind, error, trace)
        await self._upstream.__aexit__(kind, error, trace)

    def num_running(self, model: str) -> int:
        """Give the number of a model's requests that Triton has."""
        return self._running[model]

    async def facts(self, model: str, version: str = "") -> ModelFacts:
        """Describe a model; NotServed if it, or the version, is not there."""
        signature = self._signature(model)
        versions = await self._versions(model, version)
        return ModelFacts(signature, [version] if version else versions)

    async def is_ready(self) -> bool:
        """Tell whether every model answers a real request, and more of them may come."""
        return not self._is_ending() and await self._upstream.is_ready(self.models)

    async def is_model_ready(self, model: str, version: str = "") -> bool:
        """Tell whether a model answers a real request; NotServed if it, or the version, is not there."""
        models = {model: self._signature(model)}
        if version:
            await self._versions(model, version)
        return await self._upstream.is_ready(models, version)

    async def infer(self, model: str, version: str, read: Read) -> tuple[InferRequest, Answer]:
        """Read a request, check it, and have the model answer it.

        Args:
            version: the one that must answer; "" for the promoted one.
            read: reads the request and checks it against the model's signature.

        Raises:
            WireError: the request is refused, by its field.
            ServerUnavailable: Triton, or the model, does not answer as it should.
        """
        signature = self._signature(model)
        start_s, outcome, answered_by = time.perf_counter(), "failed", self._upstream.pinned(model)
        try:
            self._check_room(model)
            if version:
                await self._versions(model, version)
            request = await read(signature)
            answer = await self._asked(signature, version, request, start_s)
            outcome, answered_by = "answered", answer.version
        except WireError as error:
            outcome = error.reason
            raise
        except ServerUnavailable:
            outcome = "unavailable"
            raise
        except asyncio.CancelledError:
            outcome = "cancelled"
            raise
        finally:
            self._observe(model, answered_by, outcome, time.perf_counter() - start_s)
        return request, answer

    async def _asked(self, signature: Signature, version: str, request: InferRequest, start_s: float) -> Answer:
        message = encode_request(request.inputs, [spec.name for spec in signature.outputs])
        left_s = None if request.timeout_s is None else request.timeout_s - (time.perf_counter() - start_s)
        if left_s is not None and left_s <= 0:
            raise DeadlineOver("timeout", f"{request.timeout_s:.6g} s were over before the request was read")
        with self._taken(signature.model):
            try:
                async with asyncio.timeout(left_s):
                    answer = await self._answered(signature, version, request, message, left_s)
            except ModelRefused as error:
                raise _refusal_of(error, signature) from error
            except TimeoutError as error:
                raise DeadlineOver("timeout", f"the model did not answer within {request.timeout_s:.6g} s") from error
        return _named(answer)

    async def _answered(self, signature: Signature, version: str, request: InferRequest, message: Message, left_s: float | None) -> Answer:
        """Ask the version that is named, or the one that serves, or, while one is rolled out, the one whose turn it is."""
        num_rows = len(next(iter(request.inputs.values())))

        async def ask(number: str) -> Answer:
            answer = await self._upstream.infer(signature.model, message, number)
            check_answer(answer, signature, num_rows)
            return answer

        if version or self._rollouts is None:
            return await ask(version)
        return await self._rollouts.of(signature.model).answered(ask, request.request_id, left_s)

    def _signature(self, model: str) -> Signature:
        if model not in self.models:
            raise NotServed("model", f"expected one of {', '.join(sorted(self.models)) or 'none'}, got {model!r:.80}")
        return self.models[model]

    async def _versions(self, model: str, wanted: str) -> list[str]:
        if wanted and not _VERSION.fullmatch(wanted):
            raise NotServed("version", f"expected a version's number, got {wanted!r:.40}")
        versions = await self._upstream.versions(model)
        if wanted and wanted not in versions:
            raise NotServed("version", f"expected one of {', '.join(versions) or 'none'}, got {wanted!r:.40}")
        return versions

    def _check_room(self, model: str) -> None:
        if self._running[model] >= self.settings.max_running:
            raise TooMuchWaits("model", f"{self._running[model]} requests of {model} wait already; try again")

    @contextmanager
    def _taken(self, model: str) -> Iterator[None]:
        # Asked again: others may have come while this one's body arrived.
        self._check_room(model)
        self._running[model] += 1
        try:
            yield
        finally:
            self._running[model] -= 1


def _refusal_of(error: ModelRefused, signature: Signature) -> WireError:
    """Give what the model said, with the input that it named first."""
    field, _, message = str(error).partition(": ")
    if field in {spec.name for spec in signature.inputs}:
        return WireError(field, message)
    return WireError("inputs", str(error))


def _named(answer: Answer) -> Answer:
    if SPACE_ID not in answer.outputs:
        return replace(answer, parameters={})
    return replace(answer, parameters={"space_id": answer.outputs[SPACE_ID].reshape(-1)[0].decode()})
