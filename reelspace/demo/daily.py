"""One more day of the generated platform: the teacher goes on, new works join the collection that serves, nothing is built anew.

The world has two topics that begin on the day: until then nobody posts, tags or searches them.
"""

import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from io import BytesIO
from pathlib import Path

import numpy as np
import orjson
import pyarrow.parquet as pq
from rich.console import Console

from reelspace.core.artifacts import Artifact
from reelspace.core.errors import UserError
from reelspace.core.locks import locked_directory
from reelspace.demo.generate import generate
from reelspace.demo.presets import CUTOFF, DAY_ZERO, NEW_TOPICS_DAY, world_preset
from reelspace.demo.servers import running_servers
from reelspace.demo.stream import release_day
from reelspace.runs.local import PipelineRun, run_pipeline
from reelspace.search.client import SearchClient
from reelspace.steps.presets import HELD_OUT, Current, daily_preset, journey_preset
from reelspace.train.windows import Window, windows_of

DAY = DAY_ZERO + timedelta(days=NEW_TOPICS_DAY)
FINDABLE_S = 30.0
_PAUSE_S = 0.05


@dataclass(frozen=True, slots=True)
class DayReport:
    """What one day was worth; written as day.json."""

    day: str
    new_works: int
    new_labels: int
    new_works_found: int
    seconds_until_found: float
    """After the pipeline had ended, through the gateway and the shards that were running before it began."""
    old_topics_p10_before: float | None
    old_topics_p10: float | None
    old_topics_p10_change: float | None
    new_topics_p10: float | None
    """None where the world is too small to ask."""
    new_topics_named_p10: float
    """Share of the ten hits for a phrase of a new topic that are of it, through the gateway with the new text encoder."""
    samples_known: int
    update_seconds: float


def run_daily(out: Path, *, seed: int, size: str = "tiny", num_works: int | None = None) -> DayReport:
    """Train and publish on the days before, serve, let one more day arrive, update, and look for its works.

    Args:
        size: of the trainings, `tiny`, or `smoke` for the machinery alone.
        num_works: of the world; None: as the preset says.
    """
    console = Console(stderr=False)
    out.mkdir(parents=True, exist_ok=True)
    with locked_directory(out):
        world, released = out / "world", out / "released"
        console.print(f"reelspace demo day: seed {seed}, results in {out}", highlight=False)
        generate(world_preset("daily", seed=seed, num_works=num_works), world)
        # Anew: the day of an earlier run must not be there yet.
        shutil.rmtree(released, ignore_errors=True)
        for number in range(NEW_TOPICS_DAY):
            release_day(world, released, (DAY_ZERO + timedelta(days=number)).date())
        sections = journey_preset("demo" if size == "tiny" else size, cutoff=CUTOFF.isoformat())
        before = run_pipeline(out, sections, tables=released, truth=world, console=console)
        with running_servers(before.store_url, out / "logs") as servers:
            release_day(world, released, DAY.date())
            started_s = time.monotonic()
            after = _update(out, before, size, console)
            ended_s = time.monotonic()
            new_ids = _new_ids(before.artifact("vectors"), after.artifact("vectors"))
            num_found = _found(servers.gateway_url, after.artifact("vectors"), new_ids)
            found_s = time.monotonic() - ended_s
        with running_servers(after.store_url, out / "logs") as servers:
            named = _named_precision(servers.gateway_url, world)
        report = _report(after, (len(new_ids), num_found), (ended_s - started_s, found_s), named)
        (out / "day.json").write_bytes(orjson.dumps(asdict(report), option=orjson.OPT_INDENT_2))
    for name, value in asdict(report).items():
        console.print(f"  {name:<24} {value:.3f}" if isinstance(value, float) else f"  {name:<24} {value}", highlight=False)
    return report


def _update(out: Path, before: PipelineRun, size: str, console: Console) -> PipelineRun:
    current = Current(**{name: before.artifact(name).id for name in ("teacher", "labels", "shards", "vectors")})
    seen = windows_of(before.artifact("teacher").manifest.settings)
    if seen is None:
        raise UserError("the teacher of the days before says nothing of what it trained on: train one of our own")
    day = Window(since=DAY, until=DAY + timedelta(days=1), held_out=HELD_OUT)
    sections = daily_preset(current, seen, day, cutoff=CUTOFF.isoformat(), size=size)
    arguments = {"student_id": before.artifact("student").id}
    places = {"tables": out / "released", "truth": out / "world"}
    return run_pipeline(out, sections, **places, console=console, pipeline="daily_update", arguments=arguments)


def _new_ids(before: Artifact, after: Artifact) -> list[int]:
    known, now = (pq.read_table(_file(artifact), columns=["video_id"])["video_id"].to_numpy() for artifact in (before, after))
    return [int(video_id) for video_id in np.setdiff1d(now, known)]


def _file(vectors: Artifact) -> BytesIO:
    return BytesIO(vectors.read("vectors.parquet"))


def _found(gateway_url: str, vectors: Artifact, new_ids: Sequence[int]) -> int:
    """Ask for every new work by its own vector until it is found, for FINDABLE_S in all; gives how many were."""
    table = pq.read_table(_file(vectors), columns=["video_id", "vector"])
    vector_of = dict(zip(table["video_id"].to_pylist(), table["vector"].to_pylist(), strict=True))
    end_s = time.monotonic() + FINDABLE_S
    with SearchClient(gateway_url) as client:
        waiting = list(new_ids)
        while waiting and time.monotonic() < end_s:
            time.sleep(_PAUSE_S)
            waiting = [one for one in waiting if one not in [hit.id for hit in client.query(vector_of[one], limit=3)]]
    return len(new_ids) - len(waiting)


def _named_precision(gateway_url: str, world: Path) -> float:
    """Ask for the new topics in words."""
    topics = pq.read_table(world / "truth" / "topics.parquet").to_pylist()
    new = {row["topic"] for row in topics if row["newborn"]}
    works = pq.read_table(world / "truth" / "works.parquet", columns=["video_id", "topic"]).to_pylist()
    topic_of = {row["video_id"]: row["topic"] for row in works}
    shares = []
    with SearchClient(gateway_url) as client:
        for row in pq.read_table(world / "queries.parquet").to_pylist():
            if row["topic"] in new:
                hits = client.query(row["text"], limit=10)
                shares.append(sum(topic_of[hit.id] == row["topic"] for hit in hits) / len(hits))
    return float(np.mean(shares))


def _report(after: PipelineRun, works: tuple[int, int], seconds: tuple[float, float], named: float) -> DayReport:
    figures = orjson.loads(after.artifact("evaluation").read("evaluation.json"))["update"]
    labels = orjson.loads(after.artifact("labels").read("changes.json"))
    names = ("old_topics_p10_before", "old_topics_p10", "old_topics_p10_change", "new_topics_p10")
    return DayReport(
        day=DAY.date().isoformat(),
        new_works=works[0],
        new_labels=len(labels["appended"]),
        new_works_found=works[1],
        seconds_until_found=seconds[1],
        **{name: figures[name] for name in names},
        new_topics_named_p10=named,
        samples_known=int(after.artifact("shards").run_facts()["metrics"]["known"]),
        update_seconds=seconds[0],
    )
