"""report.json keeps its names, and its schema accepts what is written."""

import json
from pathlib import Path

import jsonschema
import pytest
from pydantic import ValidationError

from reelspace.demo.report import (
    ExportFigures,
    HashtagFigures,
    MediaFigures,
    ModelFigures,
    Report,
    SearchFigures,
    StudentFigures,
    schema,
    table_rows,
)

SEARCH = SearchFigures(rows=597, recall_at_10=1.0, queries_per_second=100.0, p99_ms=20.0)


def report(**changes: object) -> Report:
    values = {
        "wall_seconds": 1.0,
        "steps": (),
        "media": MediaFigures.model_validate({"in": 600, "out": 597, "quarantined": 3}),
        "hashtags": HashtagFigures(),
        "teacher": ModelFigures(num_parameters=100),
        "student": StudentFigures(num_parameters=20),
        "export": ExportFigures(max_abs_difference=0.0),
        "search": SEARCH,
        "num_queries_answered": 20,
        "answers_equal_offline": True,
    }
    return Report.model_validate(values | changes)


def test_a_written_report_fits_the_schema_and_reads_back_equal(tmp_path: Path):
    report().write(tmp_path / "report.json")
    written = json.loads((tmp_path / "report.json").read_text())
    jsonschema.validate(written, schema())
    assert written["media"] == {"in": 600, "out": 597, "quarantined": 3}
    assert Report.load(tmp_path / "report.json") == report()


def test_the_schema_refuses_a_share_above_one_and_an_unknown_name():
    written = report().model_dump(mode="json", by_alias=True)
    written["search"]["recall_at_10"] = 1.5
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(written, schema())
    with pytest.raises(ValidationError):
        report(surprise=1)


def test_a_figure_that_was_not_measured_is_said_so_and_never_a_number():
    shown = dict(table_rows(report()))
    assert shown["video -> topic, precision at 10"] == "not measured"
