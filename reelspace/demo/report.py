"""The figures of one journey: demo-out/report.json, its schema and the short table on the terminal.

Meaning of every name: docs/reference/report.md. A figure that this journey could not measure is null (a user's own tables have no truth).
"""

from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Self

import orjson
from pydantic import ConfigDict, Field

from reelspace.core.settings import Settings

Share = float | None


class StepFigures(Settings):
    """One pipeline step of the run."""

    name: str = Field(description="Name of the step.")
    wall_seconds: float = Field(ge=0, description="Wall time of the step, seconds.")
    reused: bool = Field(description="True when the result of an earlier run was reused.")


class MediaFigures(Settings):
    """The ledger of decoding: `in = out + quarantined`."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    num_in: int = Field(alias="in", ge=0, description="Media files given.")
    num_out: int = Field(alias="out", ge=0, description="Works decoded into shards.")
    quarantined: int = Field(ge=0, description="Files set aside with a reason.")


class HashtagFigures(Settings):
    """Relevance of hashtags against the truth."""

    precision_raw: Share = Field(None, ge=0, le=1, description="Share of relevant uses before cleaning.")
    precision_clean: Share = Field(None, ge=0, le=1, description="Share of relevant uses after cleaning.")
    precision_clean_interval: tuple[float, float] | None = Field(None, description="95 % bootstrap interval of precision_clean.")
    relevant_kept: Share = Field(None, ge=0, le=1, description="Share of the relevant uses that cleaning kept.")


class ModelFigures(Settings):
    """Retrieval of one arm: precision at 10 against the topics of the truth."""

    video_to_topic_p10: Share = Field(None, ge=0, le=1, description="Video queries of topics with enough training works.")
    video_to_topic_p10_all: Share = Field(None, ge=0, le=1, description="All video queries.")
    video_to_topic_p10_newborn: Share = Field(None, ge=0, le=1, description="Video queries of newborn topics.")
    text_to_topic_p10_seen: Share = Field(None, ge=0, le=1, description="Text queries in phrasings that training saw.")
    text_to_topic_p10_unseen: Share = Field(None, ge=0, le=1, description="Text queries in phrasings that training never saw.")
    background_swap_share: Share = Field(None, ge=0, le=1, description="Share of a twin's ten hits that have its own topic.")
    num_parameters: int = Field(ge=1, description="Trained parameters.")
    measured_on: date | None = Field(None, description="Day of the benchmark, for an arm that the demo does not train itself.")


class StudentFigures(Settings):
    """The distilled student against its teacher."""

    video_to_topic_p10: Share = Field(None, ge=0, le=1, description="Student queries in the student's own vectors.")
    cross_space_p10_ratio: Share = Field(
        None, ge=0, description="Student queries in the teacher's index, as a share of the teacher's precision."
    )
    num_parameters: int = Field(ge=1, description="Trained parameters.")
    finds_itself_r10: Share = Field(None, ge=0, le=1, description="Works whose student vector finds their teacher vector in ten hits.")


class ExportFigures(Settings):
    """Exported models on Triton against torch."""

    max_abs_difference: float = Field(ge=0, description="Largest absolute difference of any element of any embedding.")


class SearchFigures(Settings):
    """Search through gateway, Triton and every shard."""

    rows: int = Field(ge=1, description="Rows searched.")
    recall_at_10: float = Field(ge=0, le=1, description="Recall at 10 against brute force.")
    queries_per_second: float = Field(gt=0, description="Queries answered per second, with 8 clients.")
    p99_ms: float = Field(gt=0, description="99th percentile of the latency with 8 clients, milliseconds.")


class Report(Settings):
    """All figures of one journey."""

    wall_seconds: float = Field(ge=0, description="Wall time of the whole command, seconds.")
    generate_seconds: float | None = Field(None, ge=0, description="Wall time of generating the world, seconds.")
    steps: tuple[StepFigures, ...]
    media: MediaFigures
    hashtags: HashtagFigures
    teacher: ModelFigures
    teacher_without_crowd: ModelFigures | None = Field(
        None, description="The same training without the crowd; a benchmark's figures with their date."
    )
    student: StudentFigures
    export: ExportFigures
    search: SearchFigures = Field(description="Search on the vectors of this journey.")
    search_generated: SearchFigures | None = Field(None, description="Search on generated rows, enough of them that the IVF index is used.")
    num_queries_answered: int = Field(ge=0, description="Text and video queries asked through the public endpoints.")
    answers_equal_offline: bool = Field(description="Every one of those answers equals the ranking computed offline from the artifacts.")

    def write(self, path: Path) -> None:
        """Write report.json."""
        path.write_bytes(orjson.dumps(self.model_dump(mode="json", by_alias=True), option=orjson.OPT_INDENT_2))

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read report.json."""
        return cls.model_validate_json(path.read_bytes())


def pick(model: type[Settings], figures: Mapping[str, object]) -> dict[str, object]:
    """Keep the figures that the report names."""
    return {name: figures[name] for name in model.model_fields if name in figures}


def schema() -> dict[str, object]:
    """Give the JSON Schema of report.json."""
    return Report.model_json_schema(by_alias=True)


def table_rows(report: Report) -> list[tuple[str, str]]:
    """Give the short table that ends the demo."""
    teacher, student, tags = report.teacher, report.student, report.hashtags
    rows = [
        ("works decoded, quarantined", f"{report.media.num_out}, {report.media.quarantined}"),
        ("hashtags relevant, before -> after cleaning", f"{_share(tags.precision_raw)} -> {_share(tags.precision_clean)}"),
        ("video -> topic, precision at 10", _share(teacher.video_to_topic_p10)),
        ("  newborn topics, all queries", f"{_share(teacher.video_to_topic_p10_newborn)}, {_share(teacher.video_to_topic_p10_all)}"),
    ]
    if report.teacher_without_crowd is not None:
        arm = report.teacher_without_crowd
        rows.append((f"  without the crowd (benchmark of {arm.measured_on})", _share(arm.video_to_topic_p10)))
    rows += [
        (
            "text -> topic, seen and unseen phrasings",
            f"{_share(teacher.text_to_topic_p10_seen)}, {_share(teacher.text_to_topic_p10_unseen)}",
        ),
        ("background swapped, own topic in the top 10", _share(teacher.background_swap_share)),
        ("student, share of the teacher's parameters", f"{student.num_parameters / teacher.num_parameters:.0%}"),
        ("student -> teacher's index, share of its precision", _share(student.cross_space_p10_ratio)),
        ("Triton against torch, largest difference", f"{report.export.max_abs_difference:.1e}"),
        ("search recall at 10", f"{report.search.recall_at_10:.3f} on {report.search.rows:,} rows"),
    ]
    if report.search_generated is not None:
        generated = report.search_generated
        answer = f"{generated.recall_at_10:.3f} on {generated.rows:,} rows, {generated.queries_per_second:.0f} queries/s"
        rows.append(("  on generated rows, IVF", answer))
    return rows


def _share(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.2f}"
