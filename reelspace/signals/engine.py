"""The dataframe engine: polars on this machine, daft on a Ray cluster; this is the one home of both.

The jobs on tables are written once, against narwhals, with expressions that both engines have (docs/decisions/0006-dataframe-engine.md).
What leaves an engine is an Arrow table. Integer columns add up in any order to the same number, so both give the same rows; sums that
must repeat are therefore sums of integers, never of floats.

Hash tables that outgrow the processor's cache take several times as long per row. In one process a long job is therefore cut twice: its
rows are made a slice of the input at a time, split on disk by ranges of a key, and grouped a range at a time. So neither memory nor time
per row grows with the log. A cluster partitions by itself, so there the same job is one slice and one range.
"""

import itertools
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

import narwhals as nw
import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from reelspace.core.errors import SettingError
from reelspace.signals.settings import EngineSettings

Frame = nw.LazyFrame[Any]
RangeJob = Callable[[int, Frame], Frame]
Item = TypeVar("Item")
_LOOPBACK: Final = "127.0.0.1"
_OBJECT_STORE_BYTES: Final = 512 * 2**20
_JOBS_AT_ONCE: Final = 2  # one alone leaves cores idle while its rows are copied


class Engine(Protocol):
    """Makes lazy frames and runs them."""

    @property
    def slice_rows(self) -> int | None:
        """Rows of a large table that one job should read; None if the engine cuts jobs by itself."""

    def scan(self, path: Path) -> Frame:
        """Give the rows of a Parquet file."""

    def table(self, columns: pa.Table) -> Frame:
        """Give the rows of a small table."""

    def collect(self, frame: Frame) -> pa.Table:
        """Run everything that leads to the frame; rows come in no order unless it is sorted."""

    def keep(self, frame: Frame) -> Frame:
        """Run what leads to a frame that is read several times, and keep its rows in memory, of the cluster if there is one."""

    def collect_ranges(self, frames: Sequence[Frame], key: str, starts: NDArray[np.int64], job: RangeJob) -> Iterator[pa.Table]:
        """Run a job on the rows of all frames, by rising ranges of a key; one range if there is one frame.

        Args:
            frames: with the same columns of numbers, all without null.
            starts: first key of each range, rising; smaller keys fall into the first.
            job: what to make of the rows of a range, given its number.
        """


@dataclass(frozen=True, slots=True)
class PolarsEngine:
    """Runs in this process."""

    slice_rows: int | None = 1_000_000

    def scan(self, path: Path) -> Frame:
        """Give the rows of a Parquet file."""
        return nw.from_native(pl.scan_parquet(path))

    def table(self, columns: pa.Table) -> Frame:
        """Give the rows of a small table."""
        return nw.from_native(pl.DataFrame(columns).lazy())

    def collect(self, frame: Frame) -> pa.Table:
        """Run everything that leads to the frame."""
        return nw.to_native(frame).collect(engine="streaming").to_arrow()

    def keep(self, frame: Frame) -> Frame:
        """Run what leads to the frame, and keep its rows."""
        kept: Frame = nw.from_native(nw.to_native(frame).collect(engine="streaming").lazy())
        return kept

    def collect_ranges(self, frames: Sequence[Frame], key: str, starts: NDArray[np.int64], job: RangeJob) -> Iterator[pa.Table]:
        """Run a job on the rows of all frames, by rising ranges of a key, through files that are gone at the end."""
        if len(frames) == 1:
            yield self.collect(job(0, frames[0]))
            return
        with tempfile.TemporaryDirectory(prefix="reelspace-ranges-") as scratch:
            paths = [Path(scratch) / f"{number}.arrow" for number in range(len(starts))]
            _split(_in_turn(self.collect, frames), key, starts, paths)
            yield from _in_turn(lambda number: self.collect(job(number, nw.from_native(pl.scan_ipc(paths[number])))), range(len(paths)))


@dataclass(frozen=True, slots=True)
class DaftEngine:
    """Runs daft with the runner that the process has: its own, or Ray. On a cluster every worker must reach the files by their path."""

    slice_rows: int | None = None

    def scan(self, path: Path) -> Frame:
        """Give the rows of a Parquet file."""
        # daft is the optional dependency `ray`: most machines run without.
        import daft

        return nw.from_native(daft.read_parquet(str(path)))

    def table(self, columns: pa.Table) -> Frame:
        """Give the rows of a small table."""
        # daft is the optional dependency `ray`: most machines run without.
        import daft

        return nw.from_native(daft.from_arrow(columns))

    def collect(self, frame: Frame) -> pa.Table:
        """Run everything that leads to the frame."""
        return nw.to_native(frame).to_arrow()

    def keep(self, frame: Frame) -> Frame:
        """Run what leads to the frame, and keep its rows."""
        kept: Frame = nw.from_native(nw.to_native(frame).collect())
        return kept

    def collect_ranges(self, frames: Sequence[Frame], key: str, starts: NDArray[np.int64], job: RangeJob) -> Iterator[pa.Table]:
        """Run the job on all rows at once: daft partitions them by itself."""
        yield self.collect(job(0, nw.concat(list(frames)) if len(frames) > 1 else frames[0]))


HERE: Final[Engine] = PolarsEngine()


@contextmanager
def open_engine(settings: EngineSettings) -> Iterator[Engine]:
    """Give the engine of the settings; a Ray that this started, or joined, is left at the end.

    Raises:
        SettingError: Ray is asked for with an engine that cannot run on it, or cannot be reached.
    """
    if settings.engine == "polars":
        if settings.ray is not None:
            raise SettingError(f"engine polars runs in one process, got ray = {settings.ray!r}: set engine to 'daft'")
        yield HERE
    elif settings.ray is None:
        yield DaftEngine()
    else:
        with _ray(settings.ray):
            yield DaftEngine()


@contextmanager
def _ray(address: str) -> Iterator[None]:
    # daft and ray are the optional dependency `ray`.
    import daft
    import ray

    try:
        if address == "local":
            ray.init(include_dashboard=False, _node_ip_address=_LOOPBACK, object_store_memory=_OBJECT_STORE_BYTES, log_to_driver=False)
        else:
            ray.init(address=address, log_to_driver=False)
    except (ConnectionError, RuntimeError) as error:
        raise SettingError(f"setting 'engine.ray': no Ray answers at {address!r}: {error}") from error
    try:
        daft.set_runner_ray(noop_if_initialized=True)
        yield
    finally:
        ray.shutdown()


def _split(tables: Iterator[pa.Table], key: str, starts: NDArray[np.int64], paths: Sequence[Path]) -> None:
    """Write the rows of each range of the key to its file."""
    first = next(tables)
    writers = [pa.ipc.new_file(path, first.schema) for path in paths]
    for table in itertools.chain([first], tables):
        part_N = np.searchsorted(starts[1:], table[key].to_numpy(), side="right").astype(np.uint16)
        ends = np.cumsum(np.bincount(part_N, minlength=len(paths)))
        ordered = table.take(pa.array(np.argsort(part_N, kind="stable")))
        for writer, start, end in zip(writers, (0, *ends[:-1].tolist()), ends.tolist(), strict=True):
            writer.write_table(ordered.slice(start, end - start))
    for writer in writers:
        writer.close()


def _in_turn(job: Callable[[Item], pa.Table], items: Iterable[Item]) -> Iterator[pa.Table]:
    """Give the result of a job for each item, in order; a few run ahead, so that few results are held."""
    waiting: deque[Future[pa.Table]] = deque()
    with ThreadPoolExecutor(_JOBS_AT_ONCE) as pool:
        for item in items:
            waiting.append(pool.submit(job, item))
            if len(waiting) > _JOBS_AT_ONCE:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
