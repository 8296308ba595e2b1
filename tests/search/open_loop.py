"""Requests that come when they come, whether those before are answered or not: what a server is offered, not what it can take.

Times count from the moment at which a request was due, so a sender that is late hides nothing.
"""

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Protocol
from urllib.parse import urlsplit

import grpc
import numpy as np

MAX_WAITING = 1000
WRONG = 599
ANSWER_S = 30.0
KEPT_S = 2.0


@dataclass(frozen=True)
class Answer:
    """What became of a request; `at_s` is when it was due, from the start."""

    status: int
    at_s: float
    seconds: float
    retry_after: str | None


@dataclass(frozen=True)
class Seen:
    """Answers to all requests of one time, and how long that was until the last of them."""

    seconds: float
    answers: Sequence[Answer]

    @property
    def goodput(self) -> float:
        """Requests a second that were answered with 200."""
        return len(self.times_of(200)) / self.seconds

    def times_of(self, status: int) -> list[float]:
        """Seconds of each answer of a status."""
        return [one.seconds for one in self.answers if one.status == status]

    def percentile(self, status: int, percent: float) -> float:
        """Seconds within which so many of a status were answered."""
        return float(np.percentile(self.times_of(status), percent))


class Face(Protocol):
    """A way to ask one thing of a server; gives the status, in HTTP's numbers, and when to try again."""

    async def ask(self) -> tuple[int, str | None]: ...

    async def close(self) -> None: ...


class Sender:
    """Sends over one face, however many are not answered."""

    def __init__(self, face: Face) -> None:
        self._face = face
        self._allowed = asyncio.Semaphore(MAX_WAITING)

    async def offer(self, per_s: float, duration_s: float, seed: int) -> Seen:
        """Send at random moments, so many a second."""
        draw, due_s, tasks = random.Random(seed), 0.0, []
        begun_s = time.perf_counter()
        while due_s < duration_s:
            wait_s = begun_s + due_s - time.perf_counter()
            if wait_s > 0:
                await asyncio.sleep(wait_s)
            tasks.append(asyncio.create_task(self._answer(begun_s, due_s)))
            due_s += draw.expovariate(per_s)
        answers = await asyncio.gather(*tasks)
        return Seen(time.perf_counter() - begun_s, answers)

    async def busy(self, num_at_a_time: int, duration_s: float) -> Seen:
        """Send the next request when one is answered, so many at a time: what the server can take."""
        begun_s = time.perf_counter()

        async def one_after_another() -> list[Answer]:
            answers = []
            while (due_s := time.perf_counter() - begun_s) < duration_s:
                answers.append(await self._answer(begun_s, due_s))
            return answers

        found = await asyncio.gather(*(one_after_another() for _ in range(num_at_a_time)))
        return Seen(time.perf_counter() - begun_s, [answer for answers in found for answer in answers])

    async def close(self) -> None:
        """Close the connections."""
        await self._face.close()

    async def _answer(self, begun_s: float, due_s: float) -> Answer:
        async with self._allowed, asyncio.timeout(ANSWER_S):
            status, retry_after = await self._face.ask()
        return Answer(status, due_s, time.perf_counter() - begun_s - due_s, retry_after)


class HttpFace:
    """POSTs over connections that are kept, as many as are needed."""

    def __init__(self, url: str, path: str, bodies: Sequence[bytes], **headers: str) -> None:
        self._place = urlsplit(url)
        lines = [f"POST {path} HTTP/1.1", f"Host: {self._place.netloc}", "Content-Type: application/json"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        self._requests = [
            "\r\n".join([*lines, f"Content-Length: {len(body)}"]).encode() + b"\r\n\r\n" + body  # built once: sending is to cost little
            for body in bodies
        ]
        self._idle: list[tuple[float, asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def ask(self) -> tuple[int, str | None]:
        """Send one of the bodies."""
        status, fields, _ = await self._sent(random.randrange(len(self._requests)))
        return status, fields.get("retry-after")

    async def close(self) -> None:
        """Close what is idle."""
        for _, _, writer in self._idle:
            writer.close()

    async def _sent(self, number: int) -> tuple[int, dict[str, str], bytes]:
        """Send the body of a number; gives status, header fields and body."""
        reader, writer = await self._connection()
        writer.write(self._requests[number])
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        fields = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if line)
        body = await reader.readexactly(int(fields["content-length"]))
        self._idle.append((time.monotonic(), reader, writer))
        return int(head.split(" ", 2)[1]), fields, body

    async def _connection(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Give the one that was used last, or a new one: the server closes those that are idle."""
        while self._idle:
            used_s, reader, writer = self._idle.pop()
            if time.monotonic() - used_s < KEPT_S:
                return reader, writer
            writer.close()
        return await asyncio.open_connection(self._place.hostname, self._place.port)


class CheckedFace(HttpFace):
    """An `HttpFace` that knows what every body is to be answered with."""

    def __init__(self, url: str, path: str, bodies: Sequence[bytes], is_right: Callable[[int, bytes], bool]) -> None:
        super().__init__(url, path, bodies)
        self._is_right = is_right

    async def ask(self) -> tuple[int, str | None]:
        """Send one of the bodies; WRONG is the status of another answer than it is to have."""
        number = random.randrange(len(self._requests))
        status, fields, body = await self._sent(number)
        if status == HTTPStatus.OK and not self._is_right(number, body):
            return WRONG, None
        return status, fields.get("retry-after")


class GrpcFace:
    """Calls over one channel."""

    def __init__(self, address: str, method: str, messages: Sequence[bytes], **metadata: str) -> None:
        self._channel = grpc.aio.insecure_channel(address)
        self._call = self._channel.unary_unary(method)
        self._messages = messages
        self._metadata = tuple((name.replace("_", "-"), value) for name, value in metadata.items())

    async def ask(self) -> tuple[int, str | None]:
        """Send one of the messages."""
        try:
            await self._call(random.choice(self._messages), metadata=self._metadata, timeout=ANSWER_S)
        except grpc.aio.AioRpcError as error:
            if error.code() != grpc.StatusCode.RESOURCE_EXHAUSTED:
                raise
            return 429, dict(error.trailing_metadata()).get("retry-after")
        return 200, None

    async def close(self) -> None:
        """Close the channel."""
        await self._channel.close()
