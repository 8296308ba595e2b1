"""The whole journey in one command, on a generated world or on a user's own tables."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import orjson
import pyarrow.parquet as pq
from rich.console import Console

from reelspace.core.artifacts import Artifact
from reelspace.core.errors import UserError
from reelspace.core.locks import locked_directory
from reelspace.demo.generate import generate
from reelspace.demo.page import PageData, write_page
from reelspace.demo.presets import world_preset
from reelspace.demo.questions import Answer, Corpus, ask_texts, ask_videos, equal_answers, offline_answers
from reelspace.demo.report import (
    ExportFigures,
    HashtagFigures,
    MediaFigures,
    ModelFigures,
    Report,
    SearchFigures,
    StepFigures,
    StudentFigures,
    pick,
    table_rows,
)
from reelspace.demo.searching import measure_generated_rows, measure_own_rows
from reelspace.demo.servers import Servers, running_servers
from reelspace.media.sample import Sample
from reelspace.runs.local import PipelineRun, run_pipeline
from reelspace.steps.presets import journey_preset

NUM_QUESTIONS = 10


@dataclass(frozen=True, slots=True)
class Journey:
    """Where a journey runs and what it runs on."""

    out: Path
    sections: Mapping[str, object]
    tables: Path | None
    truth: Path | None
    started: float
    generate_seconds: float | None = None
    without_crowd: ModelFigures | None = None
    questions: tuple[str, ...] | None = None


def run_demo(out: Path, *, preset: str, seed: int) -> None:
    """Generate a world, walk the pipeline over it, serve, ask, measure and write the report."""
    started = time.monotonic()
    console = Console(stderr=False)
    _claim(out)
    with locked_directory(out):
        world = out / "world"
        console.print(f"reelspace demo: preset {preset}, seed {seed}, results in {out}", highlight=False)
        generate(world_preset(preset, seed=seed), world)
        generate_seconds = time.monotonic() - started
        console.print(f"  {'generate':<20} {generate_seconds:6.1f} s", highlight=False)
        cutoff = orjson.loads((world / "world.json").read_bytes())["cutoff"]
        journey = Journey(
            out=out,
            sections=journey_preset(preset, cutoff=cutoff),
            tables=world,
            truth=world,
            started=started,
            generate_seconds=generate_seconds,
            without_crowd=_committed_arm(),
            questions=_world_questions(world, cutoff),
        )
        _walk(journey, console)


def run_own(tables: Mapping[str, Path], out: Path, *, preset: str, overrides: Sequence[str]) -> None:
    """Walk the same journey over a user's tables."""
    started = time.monotonic()
    console = Console(stderr=False)
    paths = {name: str(path.resolve()) for name, path in tables.items()}
    sections = journey_preset(preset, cutoff=None, overrides=overrides)
    latest = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    sections["import_tables"] = {"latest": latest, **sections.get("import_tables", {}), "paths": paths}
    _claim(out)
    with locked_directory(out):
        media_root = tables["videos"].resolve()
        _walk(Journey(out, sections, media_root if media_root.is_dir() else media_root.parent, None, started), console)


def _claim(out: Path) -> None:
    """Take an output directory that is new, empty or a journey's own."""
    if out.exists() and not out.is_dir():
        raise UserError(f"expected a directory for --out, got the file {out}; name another place")
    if out.is_dir() and any(out.iterdir()) and not (out / ".reelspace").exists():
        raise UserError(f"{out} holds files that are not a journey's; name an empty or new directory with --out")
    out.mkdir(parents=True, exist_ok=True)
    (out / ".reelspace").touch()


def _committed_arm() -> ModelFigures | None:
    """Read the arm without the crowd from the committed benchmark."""
    path = Path(__file__).resolve().parents[2] / "benchmarks" / "results" / "crowd_gain.json"
    if not path.is_file():
        return None
    result = orjson.loads(path.read_bytes())
    return ModelFigures.model_validate(result["teacher_without_crowd"] | {"measured_on": result["date"]})


def _world_questions(world: Path, cutoff: str) -> tuple[str, ...]:
    """Take every topic's first phrasing in turn and the first works after the cut-off."""
    rows = pq.read_table(world / "queries.parquet").to_pylist()
    texts = [row["text"] for row in rows[:: max(1, len(rows) // NUM_QUESTIONS)]][:NUM_QUESTIONS]
    return tuple(texts)


def _walk(journey: Journey, console: Console) -> None:
    """Run the pipeline, then serve, ask and measure, then report."""
    run = run_pipeline(journey.out, journey.sections, tables=journey.tables, truth=journey.truth, console=console)
    with TemporaryDirectory() as name:
        scratch = Path(name)
        corpus = Corpus.open(run.artifact("vectors"), run.artifact("shards"), scratch)
        questions = journey.questions or _own_questions(run.artifact("labels"), scratch)
        samples = _newest(corpus)
        with console.status("starting Triton and the gateway"), running_servers(run.store_url, journey.out / "logs") as servers:
            answers, equal = _ask(servers, questions, samples, run.artifact("teacher"), corpus, scratch)
            own = measure_own_rows(servers, corpus)
        with console.status("searching generated rows"):
            generated = measure_generated_rows(journey.out) if journey.truth else None
        report = _report(journey, run, len(answers), equal, own, generated)
        report.write(journey.out / "report.json")
        write_page(journey.out / "report.html", PageData.collect(report, run, corpus, answers, scratch))
    _print(report, journey.out, console)
    if not equal:
        raise UserError("answers of the served model differ from the offline ones; report.json has answers_equal_offline = false")


def _own_questions(labels: Artifact, scratch: Path) -> tuple[str, ...]:
    """Ask what users searched, or, without searches, what authors wrote."""
    texts = pq.read_table(labels.fetch(scratch / "labels") / "texts.parquet").to_pylist()
    queries = [query for row in texts for query in row["queries"]] or [row["caption"] for row in texts if row["caption"].strip()]
    return tuple(dict.fromkeys(queries))[:NUM_QUESTIONS]


def _newest(corpus: Corpus) -> list[Sample]:
    """Give the works uploaded last, oldest of them first."""
    order = sorted(
        range(len(corpus.vectors.created_at_N)), key=lambda row: (corpus.vectors.created_at_N[row], int(corpus.vectors.video_ids_N[row]))
    )
    return corpus.reader.read_all([int(corpus.vectors.video_ids_N[row]) for row in order[-NUM_QUESTIONS:]])


def _ask(
    servers: Servers, questions: tuple[str, ...], samples: Sequence[Sample], teacher: Artifact, corpus: Corpus, scratch: Path
) -> tuple[list[Answer], bool]:
    """Ask words and works through the gateway and hold the answers against the offline ones."""
    from reelspace.evaluate.texts import embed_texts  # delays torch until the pipeline has ended

    online = ask_texts(servers.gateway_url, questions) + ask_videos(servers.gateway_url, samples)
    no_rows_Q = np.full(len(questions), -1, dtype=np.int64)
    texts_QD = embed_texts(teacher, scratch / "teacher", questions)
    own_rows_Q = corpus.rows_of([sample.video_id for sample in samples])
    offline = offline_answers(questions, texts_QD, corpus.vectors, no_rows_Q)
    offline += offline_answers(
        [sample.video_id for sample in samples], corpus.vectors.by_name["vector"][own_rows_Q], corpus.vectors, own_rows_Q
    )
    return online, equal_answers(online, offline)


def _report(
    journey: Journey, run: PipelineRun, num_answers: int, equal: bool, own: SearchFigures, generated: SearchFigures | None
) -> Report:
    evaluation = orjson.loads(run.artifact("evaluation").read("evaluation.json"))
    ledger = orjson.loads(run.artifact("shards").read("ledger.json"))
    exported = orjson.loads(run.artifact("repository").read("export.json"))
    return Report(
        wall_seconds=time.monotonic() - journey.started,
        generate_seconds=journey.generate_seconds,
        steps=tuple(StepFigures(name=step.step, wall_seconds=step.wall_seconds, reused=step.reused) for step in run.steps),
        media=MediaFigures.model_validate({name: ledger[name] for name in ("in", "out", "quarantined")}),
        hashtags=HashtagFigures.model_validate(pick(HashtagFigures, evaluation.get("hashtags", {}))),
        teacher=ModelFigures.model_validate(pick(ModelFigures, evaluation["teacher"])),
        teacher_without_crowd=journey.without_crowd,
        student=StudentFigures.model_validate(pick(StudentFigures, evaluation["student"])),
        export=ExportFigures(max_abs_difference=max(exported["max_abs_difference"].values())),
        search=own,
        search_generated=generated,
        num_queries_answered=num_answers,
        answers_equal_offline=equal,
    )


def _print(report: Report, out: Path, console: Console) -> None:
    rows = table_rows(report)
    width = max(len(name) for name, _ in rows)
    lines = (
        *(f" {name:<{width}}   {value}" for name, value in rows),
        f"{report.num_queries_answered} queries answered through the gateway, equal to the offline ones: {report.answers_equal_offline}",
        f"report {out / 'report.html'}, figures {out / 'report.json'}, {report.wall_seconds:.0f} s in all",
        f"next:  .venv/bin/reelspace demo serve --out {out}      keeps the servers up until Ctrl-C",
        '       .venv/bin/reelspace search query "ramen" --url <the address it prints>',
    )
    for line in lines:
        console.print(line, highlight=False, soft_wrap=True)
