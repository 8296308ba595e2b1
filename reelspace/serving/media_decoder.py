"""Decodes uploaded files in warm processes apart: a file that crashes, hangs or swells its decoder costs only itself."""

from collections.abc import Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from reelspace.core.errors import InternalError, ReelspaceError
from reelspace.media.pool import Done, Lost, PoolSettings, WorkerPool
from reelspace.serving.media_job import TASK, Refusal, Upload, UploadJob, read_upload
from reelspace.serving.media_limits import MediaFacts, MediaLimits

TOO_MANY_BYTES = "too_many_bytes"


class MediaDecoder:
    """Decodes files as the works of a training were; a context manager, to be entered in the thread that decodes.

    Args:
        limits: what one file may be and take.
    """

    def __init__(self, facts: MediaFacts, limits: MediaLimits) -> None:
        self._limits = limits
        self._spec = facts.frames.model_copy(update={"max_pixels": limits.max_pixels})
        self._head = UploadJob(self._spec, facts.jpeg_quality, limits.max_duration_s, limits.time_limit_s).head()
        self._settings = PoolSettings(
            num_workers=limits.num_workers,
            time_limit_s=limits.time_limit_s,
            fetch_limit_s=limits.time_limit_s,
            memory_limit_mib=limits.memory_limit_mib,
        )
        self._running = ExitStack()
        self._pool: WorkerPool | None = None

    def __enter__(self) -> Self:
        self._start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._running.close()

    @property
    def pids(self) -> tuple[int, ...]:
        """Process ids of the decoding processes."""
        return self._pool.pids if self._pool is not None else ()

    def decode(self, files: Sequence[bytes]) -> list[Upload | Refusal]:
        """Decode files, several at a time; one answer each, in their order.

        Raises:
            InternalError: no decoding process can be started. The next call tries anew.
        """
        wanted = [number for number, file in enumerate(files) if len(file) <= self._limits.max_bytes]
        answers = dict(zip(wanted, self._answers([files[number] for number in wanted]), strict=True))
        return [answers.get(number) or self._too_large(file) for number, file in enumerate(files)]

    def _answers(self, files: Sequence[bytes]) -> list[Upload | Refusal]:
        if self._pool is None:
            self._start()
        assert self._pool is not None, "just started"
        try:
            return [self._read(answer) for answer in self._pool.map(self._head + file for file in files)]
        except ReelspaceError as error:
            # What the processes were doing is not known any more.
            self._pool = None
            self._running.close()
            raise InternalError(f"files cannot be decoded now: {error}") from error

    def _read(self, answer: Done | Lost) -> Upload | Refusal:
        return Refusal(answer.reason, answer.detail) if isinstance(answer, Lost) else read_upload(answer.data, self._spec)

    def _too_large(self, file: bytes) -> Refusal:
        return Refusal(TOO_MANY_BYTES, f"it has {len(file)} bytes, at most {self._limits.max_bytes} are taken")

    def _start(self) -> None:
        self._pool = self._running.enter_context(WorkerPool(TASK, self._settings))
