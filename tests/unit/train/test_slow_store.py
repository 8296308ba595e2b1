"""A store 50 ms away: batches made ahead hide it from the steps; batches made when they are asked for do not."""

import json
import socket
import statistics
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from torch import Tensor

from reelspace.core.artifacts import open_artifact
from reelspace.core.store import open_source
from reelspace.media.dataset import ShardReader
from reelspace.model.presets import preset
from reelspace.model.tokenizer import Tokenizer
from reelspace.train.batches import Batch, Batches
from reelspace.train.checkpoints import Checkpoints
from reelspace.train.data import load_data
from reelspace.train.engine import StepResult
from reelspace.train.group import Group
from reelspace.train.loop import Loop, LoopPlace
from reelspace.train.media_source import ShardMedia
from reelspace.train.prefetch import Prefetch
from reelspace.train.settings import ReadingSettings, TrainSettings
from reelspace.train.train_log import LOG_FILE, TrainLog
from tests.unit.train.worlds import World, write_world

DELAY_S = 0.05
# No cache: every batch goes to the store, as all do in a first epoch. Four readings at a time: two rounds for eight works.
SETTINGS = TrainSettings(
    batch_size=8, steps=10, log_every=2, checkpoint_every=100, reading=ReadingSettings(memory_mib=0, cache_mib=0, num_reads=4)
)


@dataclass
class Proxy:
    """Passes connections on to a server, every piece of a request `DELAY_S` later."""

    target: tuple[str, int]
    listener: socket.socket = field(default_factory=lambda: socket.create_server(("127.0.0.1", 0)))
    sockets: list[socket.socket] = field(default_factory=list)
    threads: list[threading.Thread] = field(default_factory=list)
    num_requests: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.listener.getsockname()[1]}"

    def accept(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            server = socket.create_connection(self.target)
            self.sockets += [client, server]
            self.start(self.pass_on, client, server, DELAY_S)
            self.start(self.pass_on, server, client, 0.0)

    def start(self, *work: object) -> None:
        thread = threading.Thread(target=work[0], args=work[1:])  # type: ignore[arg-type]
        thread.start()
        self.threads.append(thread)

    def pass_on(self, source: socket.socket, target: socket.socket, delay_s: float) -> None:
        try:
            while data := source.recv(1 << 16):
                if delay_s:
                    self.num_requests += 1
                    time.sleep(delay_s)
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            return

    def close(self) -> None:
        for open_socket in (self.listener, *self.sockets):
            with suppress(OSError):
                open_socket.shutdown(socket.SHUT_RDWR)
            open_socket.close()
        for thread in self.threads:
            thread.join(10)


@pytest.fixture
def proxy(s3_endpoint: str) -> Iterator[Proxy]:
    parts = urlsplit(s3_endpoint)
    assert parts.hostname is not None
    assert parts.port is not None
    made = Proxy((parts.hostname, parts.port))
    made.start(made.accept)
    try:
        yield made
    finally:
        made.close()


@dataclass
class Rest:
    """An engine whose step takes a fixed time."""

    step_s: float
    layout: str = "rest"

    def refusal(self, layout: str) -> str | None:
        return None

    def step(self, batch: Batch, learning_rate: float, *, measure: bool = False) -> StepResult:
        time.sleep(self.step_s)
        return StepResult({"loss": 1.0}, is_skipped=False)

    def save(self, directory: Path) -> None:
        raise AssertionError("this training saves nothing")

    def load(self, directory: Path, layout: str) -> None:
        raise AssertionError("this training has nothing to load")

    def weights(self) -> Mapping[str, Tensor]:
        return {}


def make_batches(world: World) -> Batches:
    reader = ShardReader(open_artifact(open_source(world.store), world.shards))
    data = load_data(reader, world.labels_directory, SETTINGS, preset("tiny_student"))
    assert isinstance(data.media, ShardMedia)
    return Batches(data, Tokenizer.train(data.corpus, 200, 24), SETTINGS)


def wait_shares(run: Path, batches: Batches, step_s: float, num_ahead: int) -> list[float]:
    """Train, and give the logged shares of waiting but the first, which has the batches that nobody could make ahead."""
    place = LoopPlace(run, 0, TrainLog(run / LOG_FILE, is_writer=True), Checkpoints(run / "checkpoints", run / "unfinished", Group(), {}))
    run.mkdir()
    with Prefetch(batches, SETTINGS.steps, num_ahead) as made:
        Loop(Rest(step_s), made, SETTINGS, Group(), place).fit()
    rows = [json.loads(line) for line in (run / LOG_FILE).read_text().splitlines()]
    assert len(rows) == SETTINGS.steps // SETTINGS.log_every
    return [row["data_wait_share"] for row in rows[1:]]


def test_batches_made_ahead_hide_a_store_that_is_50_ms_away(s3_url: str, proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    world = write_world(tmp_path / "world", s3_url)
    monkeypatch.setenv("REELSPACE_S3_ENDPOINT", proxy.url)
    batches = make_batches(world)
    before, make_s = proxy.num_requests, []
    for step in range(4):
        begun_s = time.monotonic()
        batches(step)
        make_s.append(time.monotonic() - begun_s)
    assert proxy.num_requests - before >= 4 * SETTINGS.batch_size
    assert min(make_s) >= 2 * DELAY_S
    # A step that takes longer than the reading of its batch, on any machine.
    step_s = 2 * statistics.median(make_s)
    without = wait_shares(tmp_path / "without", batches, step_s, 0)
    ahead = wait_shares(tmp_path / "ahead", batches, step_s, SETTINGS.reading.prefetch)
    assert statistics.mean(without) > 0.2
    assert statistics.mean(ahead) <= 0.05
