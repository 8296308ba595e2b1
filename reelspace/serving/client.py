"""Clients of a gateway: texts and videos in, vectors or hits out. No torch.

`ServingClient` blocks; `AsyncServingClient` has the same methods to await. Both keep their connections, try again what may succeed
then, and give up at the caller's deadline, which the gateway hears of.
Shapes: Q queries, D dimension.
"""

import asyncio
import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self

import httpx

from reelspace.core.errors import SettingError, UserError
from reelspace.serving.client_calls import (
    COLLECTION,
    MEDIA_FILES,
    MEDIA_MODEL,
    TEXT_MODEL,
    TEXTS,
    VIDEO_MODEL,
    VIDEOS,
    Batching,
    Call,
    Embedded,
    Floats,
    Hit,
    MediaFile,
    Sent,
    batches,
    checked_hits,
    describe_call,
    infer_call,
    joined,
    query_call,
    read_answer,
    read_found,
    read_signature,
)
from reelspace.serving.client_connection import Tls, connection_options, new_request_id, origin_headers, read_until, time_limits
from reelspace.serving.client_errors import REQUEST_ID, CallFailed, CallRefused, Reply, error_of_reply, error_of_transport
from reelspace.serving.client_retries import DEFAULT_RETRIES, Retries, RetryBudget, Tries
from reelspace.serving.preprocess import Video, VideoQuery
from reelspace.serving.signatures import Signature
from reelspace.serving.wire import Answer, Tensor

__all__ = ["AsyncServingClient", "CallFailed", "CallRefused", "Hit", "MediaFile", "Retries", "ServingClient", "Tls", "VideoQuery"]

TIMEOUT_S: Final = 30.0
LIMIT: Final = 10
NUM_PARALLEL: Final = 4


@dataclass(frozen=True, slots=True)
class _Asked:
    """One call of a method: its deadline, and the headers of all requests that it takes.

    They share an id, so that a version that answers only a share of requests answers all of them or none.
    """

    end_s: float
    headers: Mapping[str, str]

    @property
    def id(self) -> str:
        return self.headers[REQUEST_ID]


class _Client:
    """What a client knows, however it waits."""

    def __init__(self, gateway_url: str, timeout_s: float, retries: Retries) -> None:
        if not 0 < timeout_s < math.inf:
            raise SettingError(f"timeout_s: expected seconds above 0, got {timeout_s}")
        self._url = gateway_url.rstrip("/")
        self._timeout_s = timeout_s
        self._retries = retries
        self._budget = RetryBudget(retries)
        self._signatures: dict[str, Signature] = {}
        self._origin: Mapping[str, str] = {}

    def for_request(self, request_id: str | None = None, traceparent: str | None = None) -> Self:
        """Give this client for the work on one request of the caller's own, over the same connections.

        Args:
            request_id: what the gateway's log is to have the calls under; a new id per call where none is given. While a version is
                tried on a share of requests, those with one id are answered by one version.
            traceparent: the trace (W3C) that they belong to; it goes on to Triton.
        """
        one = copy.copy(self)
        one._origin = origin_headers(request_id, traceparent)
        return one

    def _begun(self, timeout_s: float | None) -> _Asked:
        end_s = math.inf if timeout_s is None else self._retries.timing.now() + timeout_s
        return _Asked(end_s, {REQUEST_ID: new_request_id(), **self._origin})

    def _tries(self, asked: _Asked) -> Tries:
        return Tries(self._retries, self._budget, min(asked.end_s, self._retries.timing.now() + self._timeout_s))

    def _http_request(self, sent: Sent, asked: _Asked, left_s: float) -> dict[str, Any]:
        more = {"content": sent.body, "headers": {**sent.headers, **asked.headers}, "timeout": time_limits(left_s)}
        return {"method": sent.method, "url": sent.path, **more}

    def _reply(self, sent: Sent, asked: _Asked, response: httpx.Response, body: bytes) -> Reply:
        request_id = response.headers.get(REQUEST_ID, asked.id)
        reply = Reply(self._address(sent), response.status_code, response.headers, body, request_id)
        if reply.status != httpx.codes.OK:
            raise error_of_reply(reply)
        return reply

    def _address(self, sent: Sent) -> str:
        return self._url + sent.path.partition("?")[0]

    @contextmanager
    def _holding(self, model: str) -> Iterator[None]:
        # What is refused may have been made for a model that another one was promoted over.
        try:
            yield
        except UserError:
            self._signatures.pop(model, None)
            raise


class ServingClient(_Client):
    """A client that blocks; threads may share it. Use it in a `with` statement.

    Every method raises
        UserError: what is asked is wrong; of the gateway's refusals CallRefused, with `status`, `field` and `request_id`.
        ServerUnavailable: no answer in time, in all tries; CallFailed, with `status`, `retry_after_s` and `request_id`.
    """

    def __init__(
        self,
        gateway_url: str,
        *,
        timeout_s: float = TIMEOUT_S,
        api_key: str | None = None,
        tls: Tls | None = None,
        retries: Retries = DEFAULT_RETRIES,
    ) -> None:
        """Name a gateway; nothing is sent yet.

        Args:
            timeout_s: longest time for one request with all its tries. `timeout_s` of a method is for the whole call, with all the
                requests that it takes.
            api_key: for a gateway that asks for one.
            tls: files for https beyond the well-known authorities.

        Raises:
            SettingError: one of these is none.
        """
        super().__init__(gateway_url, timeout_s, retries)
        self._http = httpx.Client(**connection_options(gateway_url, api_key, tls))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def encode_text(self, texts: Sequence[str], model: str = TEXT_MODEL, *, timeout_s: float | None = None) -> Floats:
        """Give vectors_QD, L2 norm 1, of search texts."""
        return self._embed(model, texts, TEXTS, self._begun(timeout_s)).vectors_QD

    def encode_videos(self, videos: Sequence[Video], model: str = VIDEO_MODEL, *, timeout_s: float | None = None) -> Floats:
        """Give vectors_QD, L2 norm 1, of decoded media with their captions; hashtags in a caption are left out."""
        return self._embed(model, videos, VIDEOS, self._begun(timeout_s)).vectors_QD

    def encode_media(self, files: Sequence[MediaFile], model: str = MEDIA_MODEL, *, timeout_s: float | None = None) -> Floats:
        """Give vectors_QD, L2 norm 1, of encoded files with their captions; the gateway's side decodes them."""
        return self._embed(model, files, MEDIA_FILES, self._begun(timeout_s)).vectors_QD

    def infer(self, model: str, inputs: Mapping[str, Tensor], *, timeout_s: float | None = None) -> Answer:
        """Run one inference with tensors of your own."""
        return self._infer(model, inputs, self._begun(timeout_s))

    def search_text(
        self,
        text: str,
        *,
        limit: int = LIMIT,
        collection: str = COLLECTION,
        where: Mapping[str, Any] | None = None,
        timeout_s: float | None = None,
    ) -> list[Hit]:
        """Give the works nearest to words, best first; `where` is a filter of the dialect. The gateway embeds the words."""
        return read_found(self._ask(query_call(text, collection, limit, where), self._begun(timeout_s))).hits

    def search_video(
        self,
        video: Video | MediaFile,
        *,
        limit: int = LIMIT,
        collection: str = COLLECTION,
        where: Mapping[str, Any] | None = None,
        model: str | None = None,
        timeout_s: float | None = None,
    ) -> list[Hit]:
        """Give the works nearest to one, best first: a file as it is, or decoded media.

        Args:
            where: a filter of the dialect.
            model: what embeds it; None for `media_encoder` for a file, `video_encoder` for decoded media.
        """
        asked = self._begun(timeout_s)
        embedded = self._embed(*_one(video, model), asked)
        found = read_found(self._ask(query_call(embedded.vectors_QD[0], collection, limit, where), asked))
        return checked_hits(found, embedded)

    def signature(self, model: str) -> Signature:
        """Give a model's tensors, asked for once."""
        return self._signature(model, self._begun(None))

    def _signature(self, model: str, asked: _Asked) -> Signature:
        if model not in self._signatures:
            self._signatures[model] = read_signature(self._ask(describe_call(model), asked), model)
        return self._signatures[model]

    def _embed(self, model: str, values: Sequence[Any], batching: Batching, asked: _Asked) -> Embedded:
        signature = self._signature(model, asked)
        with self._holding(model):
            return joined([self._infer(model, inputs, asked) for inputs in batches(values, signature, batching)], signature)

    def _infer(self, model: str, inputs: Mapping[str, Tensor], asked: _Asked) -> Answer:
        return read_answer(self._ask(infer_call(model, inputs, asked.id), asked))

    def _ask(self, call: Call, asked: _Asked) -> Reply:
        tries = self._tries(asked)
        while True:
            try:
                left_s = tries.begin()
                reply = self._once(call(left_s), asked, left_s)
                break
            except CallFailed as error:
                wait_s = tries.wait_s(error)
            self._retries.timing.sleep(wait_s)
        tries.answered()
        return reply

    def _once(self, sent: Sent, asked: _Asked, left_s: float) -> Reply:
        now = self._retries.timing.now
        end_s = now() + left_s
        try:
            with self._http.stream(**self._http_request(sent, asked, left_s)) as response:
                body = read_until(response.iter_bytes(), lambda: now() > end_s)
        except (httpx.RequestError, OSError) as error:
            raise error_of_transport(error, self._address(sent), asked.id) from error
        return self._reply(sent, asked, response, body)


class AsyncServingClient(_Client):
    """A client for one event loop; its methods raise what those of `ServingClient` do. Use it in an `async with` statement."""

    def __init__(
        self,
        gateway_url: str,
        *,
        timeout_s: float = TIMEOUT_S,
        api_key: str | None = None,
        tls: Tls | None = None,
        retries: Retries = DEFAULT_RETRIES,
        num_parallel: int = NUM_PARALLEL,
    ) -> None:
        """Name a gateway; nothing is sent yet.

        Args:
            num_parallel: requests that one call may have under way at a time, where it takes several. The others are those of
                `ServingClient`.

        Raises:
            SettingError: one of these is none.
        """
        super().__init__(gateway_url, timeout_s, retries)
        if num_parallel < 1:
            raise SettingError(f"num_parallel: expected 1 or more, got {num_parallel}")
        self._num_parallel = num_parallel
        self._http = httpx.AsyncClient(**connection_options(gateway_url, api_key, tls))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def encode_text(self, texts: Sequence[str], model: str = TEXT_MODEL, *, timeout_s: float | None = None) -> Floats:
        """Give vectors_QD, L2 norm 1, of search texts."""
        return (await self._embed(model, texts, TEXTS, self._begun(timeout_s))).vectors_QD

    async def encode_videos(self, videos: Sequence[Video], model: str = VIDEO_MODEL, *, timeout_s: float | None = None) -> Floats:
        """Give vectors_QD, L2 norm 1, of decoded media with their captions; hashtags in a caption are left out."""
        return (await self._embed(model, videos, VIDEOS, self._begun(timeout_s))).vectors_QD

    async def encode_media(self, files: Sequence[MediaFile], model: str = MEDIA_MODEL, *, timeout_s: float | None = None) -> Floats:
        """Give vectors_QD, L2 norm 1, of encoded files with their captions; the gateway's side decodes them."""
        return (await self._embed(model, files, MEDIA_FILES, self._begun(timeout_s))).vectors_QD

    async def infer(self, model: str, inputs: Mapping[str, Tensor], *, timeout_s: float | None = None) -> Answer:
        """Run one inference with tensors of your own."""
        return await self._infer(model, inputs, self._begun(timeout_s))

    async def search_text(
        self,
        text: str,
        *,
        limit: int = LIMIT,
        collection: str = COLLECTION,
        where: Mapping[str, Any] | None = None,
        timeout_s: float | None = None,
    ) -> list[Hit]:
        """Give the works nearest to words, best first; `where` is a filter of the dialect. The gateway embeds the words."""
        return read_found(await self._ask(query_call(text, collection, limit, where), self._begun(timeout_s))).hits

    async def search_video(
        self,
        video: Video | MediaFile,
        *,
        limit: int = LIMIT,
        collection: str = COLLECTION,
        where: Mapping[str, Any] | None = None,
        model: str | None = None,
        timeout_s: float | None = None,
    ) -> list[Hit]:
        """Give the works nearest to one, best first, as `ServingClient.search_video` does."""
        asked = self._begun(timeout_s)
        embedded = await self._embed(*_one(video, model), asked)
        found = read_found(await self._ask(query_call(embedded.vectors_QD[0], collection, limit, where), asked))
        return checked_hits(found, embedded)

    async def signature(self, model: str) -> Signature:
        """Give a model's tensors, asked for once."""
        return await self._signature(model, self._begun(None))

    async def _signature(self, model: str, asked: _Asked) -> Signature:
        if model not in self._signatures:
            self._signatures[model] = read_signature(await self._ask(describe_call(model), asked), model)
        return self._signatures[model]

    async def _embed(self, model: str, values: Sequence[Any], batching: Batching, asked: _Asked) -> Embedded:
        signature = await self._signature(model, asked)
        with self._holding(model):
            requests = batches(values, signature, batching)
            return joined(await self._answers(model, requests, min(self._num_parallel, len(values)), asked), signature)

    async def _answers(self, model: str, requests: Iterator[Mapping[str, Tensor]], num_workers: int, asked: _Asked) -> list[Answer]:
        numbered = enumerate(requests)
        answers: dict[int, Answer] = {}

        async def work() -> None:
            # All workers take from one iterator, so a request's tensors are made when its turn has come.
            for number, inputs in numbered:
                answers[number] = await self._infer(model, inputs, asked)

        workers = [asyncio.create_task(work()) for _ in range(num_workers)]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
        return [answers[number] for number in sorted(answers)]

    async def _infer(self, model: str, inputs: Mapping[str, Tensor], asked: _Asked) -> Answer:
        return read_answer(await self._ask(infer_call(model, inputs, asked.id), asked))

    async def _ask(self, call: Call, asked: _Asked) -> Reply:
        tries = self._tries(asked)
        while True:
            try:
                left_s = tries.begin()
                reply = await self._once(call(left_s), asked, left_s)
                break
            except CallFailed as error:
                wait_s = tries.wait_s(error)
            await self._retries.timing.pause(wait_s)
        tries.answered()
        return reply

    async def _once(self, sent: Sent, asked: _Asked, left_s: float) -> Reply:
        try:
            async with asyncio.timeout(left_s):
                response = await self._http.request(**self._http_request(sent, asked, left_s))
        except TimeoutError as error:
            late = httpx.ReadTimeout("the answer was not whole in time")
            raise error_of_transport(late, self._address(sent), asked.id) from error
        except (httpx.RequestError, OSError) as error:
            raise error_of_transport(error, self._address(sent), asked.id) from error
        return self._reply(sent, asked, response, response.content)


def _one(video: Video | MediaFile, model: str | None) -> tuple[str, list[Video | MediaFile], Batching]:
    if isinstance(video, MediaFile):
        return model or MEDIA_MODEL, [video], MEDIA_FILES
    return model or VIDEO_MODEL, [video], VIDEOS
