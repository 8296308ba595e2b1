"""The self-contained page of a journey: figures, thumbnails of hits, funnels of the signals, loss curves, what each step took."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import jinja2
import numpy as np
import orjson
from matplotlib.figure import Figure
from PIL import Image

from reelspace.core.artifacts import Artifact
from reelspace.demo.questions import Answer, Corpus
from reelspace.demo.report import Report, table_rows
from reelspace.runs.local import PipelineRun

THUMBNAIL_QUALITY = 80


@dataclass(frozen=True, slots=True)
class Card:
    """One question and its hits as the page shows them; pictures are data URIs."""

    question: str
    picture: str | None
    hits: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class PageData:
    """All that the template shows."""

    report: Report
    cards: tuple[Card, ...]
    funnels: tuple[tuple[str, tuple[tuple[str, int], ...]], ...]
    loss_plot: str
    step_plot: str

    @classmethod
    def collect(cls, report: Report, run: PipelineRun, corpus: Corpus, answers: Sequence[Answer], scratch: Path) -> "PageData":
        """Read what the page needs from the artifacts of a run."""
        return cls(
            report=report,
            cards=tuple(_card(answer, corpus) for answer in answers),
            funnels=_funnels(run.artifact("labels")),
            loss_plot=_loss_plot({name: _read_log(run.artifact(name)) for name in ("teacher", "student")}),
            step_plot=_step_plot(report),
        )


def write_page(path: Path, data: PageData) -> None:
    """Render report.html; it needs no other file and no network."""
    source = resources.files("reelspace.demo").joinpath("page.html.jinja").read_text()
    template = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(source)
    path.write_text(template.render(data=data, rows=table_rows(data.report)))


def _card(answer: Answer, corpus: Corpus) -> Card:
    asked_by_work = isinstance(answer.question, int)
    ids = [*answer.ids, answer.question] if isinstance(answer.question, int) else answer.ids
    samples = {sample.video_id: sample for sample in corpus.reader.read_all(ids)}
    hits = tuple(
        (_thumbnail(samples[video_id].frames_FHWC), f"{video_id} · {score:.2f}")
        for video_id, score in zip(answer.ids, answer.scores, strict=True)
    )
    picture = _thumbnail(samples[int(answer.question)].frames_FHWC) if asked_by_work else None
    return Card(f"work {answer.question}" if asked_by_work else str(answer.question), picture, hits)


def _thumbnail(frames_FHWC: np.ndarray) -> str:  # type: ignore[type-arg]
    if not len(frames_FHWC):
        return ""
    buffer = io.BytesIO()
    Image.fromarray(frames_FHWC[len(frames_FHWC) // 2]).save(buffer, "JPEG", quality=THUMBNAIL_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def _funnels(labels: Artifact) -> tuple[tuple[str, tuple[tuple[str, int], ...]], ...]:
    """Read the funnels of the signals: what was left after each rule."""
    report = orjson.loads(labels.read("report.json"))
    return tuple(
        (name, tuple((str(stage["stage"]), int(stage["count"])) for stage in stages)) for name, stages in report["funnels"].items()
    )


def _read_log(model: Artifact) -> list[Mapping[str, float]]:
    return [orjson.loads(line) for line in model.read("train_log.jsonl").splitlines() if line.strip()]


def _loss_plot(logs: Mapping[str, Sequence[Mapping[str, float]]]) -> str:
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    for axes, (name, rows) in zip(figure.subplots(1, len(logs)), logs.items(), strict=True):
        losses = sorted({key for row in rows for key in row if key == "loss" or key.startswith(("loss_", "loss/"))})
        for key in losses:
            points = [(row["step"], row[key]) for row in rows if key in row]
            axes.plot([step for step, _ in points], [value for _, value in points], label=key, linewidth=1.2)
        axes.set_title(name)
        axes.set_xlabel("step")
        axes.legend(fontsize=7)
    return _svg(figure)


def _step_plot(report: Report) -> str:
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    axes = figure.subplots()
    names = [step.name for step in report.steps]
    axes.barh(names, [step.wall_seconds for step in report.steps], color=["#9aa7b5" if step.reused else "#2f6f9f" for step in report.steps])
    axes.invert_yaxis()
    axes.set_xlabel("seconds (grey: reused)")
    return _svg(figure)


def _svg(figure: Figure) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg")
    return "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode()
