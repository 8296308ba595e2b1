"""Values of a chart become a closed schema and a table; what their comments leave out is an error that names its place."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]
from jsonschema import Draft7Validator

from charts.generate import (
    FOLDER,
    ChartError,
    Validator,
    charts,
    main,
    mentions,
    schemas,
    templates_use,
    used_values,
)

VALUES = """\
# Licence, and other words that describe nothing.

gateway:
  # -- Gateway pods,
  # where nothing else counts them.
  # @schema minimum: 1
  # @schema maximum: 9
  replicas: 2
  # -- Labels of the pods | those of the chart are there anyway.
  # @schema $ref: "#/definitions/labels"
  podLabels: {}
  # -- Resources.
  # @schema $ref: "#/definitions/resources"
  resources:
    limits: {memory: 1Gi}
# -- What is written.
log:
  # -- Level.
  # @schema {enum: [info, debug]}
  level: info
  # -- Share of lines.
  share: 0.5
  # -- Write at all.
  on_: true
  # -- First line.
  # @schema pattern: ^#
  head: |
    # -- text, no comment
  # -- Names, each with its port.
  # @schema items:
  #   type: object
  #   properties: {name: {type: string}, port: {$ref: "#/definitions/port"}}
  names: []
  # -- Bytes; null: all.
  # @schema type: [integer, "null"]
  most: null
"""
README = "# Sample\n\n<!-- values -->\n<!-- /values -->\n\nEnd.\n"
Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Makes a chart of a values.yaml."""

    def one(values: str, name: str = "sample", about: str = "", readme: str = README) -> Path:
        chart = tmp_path / name
        (chart / "templates").mkdir(parents=True)
        (chart / "Chart.yaml").write_text(f"name: {name}\n{about}")
        (chart / "values.yaml").write_text(values)
        (chart / "README.md").write_text(readme)
        return chart

    return one


def schema(chart: Path) -> dict[str, Any]:
    assert main([], chart.parent) == 0
    made: dict[str, Any] = json.loads((chart / "values.schema.json").read_text())
    Draft7Validator.check_schema(made)
    return made


def refusals(made: dict[str, Any], values: str) -> list[str]:
    return sorted(".".join(str(part) for part in error.absolute_path) for error in Validator(made).iter_errors(yaml.safe_load(values)))


def said(chart: Path, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["--check"], chart.parent) == 2
    return capsys.readouterr().err


def head(rows: str) -> str:
    return f"# -- About.\n{rows}"


def test_the_schema_says_type_rules_and_description_of_every_value(make: Make) -> None:
    made = schema(make(VALUES))
    gateway, log = made["properties"]["gateway"]["properties"], made["properties"]["log"]
    about = "Gateway pods, where nothing else counts them."
    assert gateway["replicas"] == {"description": about, "type": "integer", "minimum": 1, "maximum": 9}
    assert gateway["resources"] == {"description": "Resources.", "$ref": "#/definitions/resources"}
    assert log["description"] == "What is written."
    assert log["properties"]["level"] == {"description": "Level.", "type": "string", "enum": ["info", "debug"]}
    assert {name: one.get("type") for name, one in log["properties"].items()} == {
        "level": "string",
        "share": "number",
        "on_": "boolean",
        "head": "string",
        "names": "array",
        "most": ["integer", "null"],
    }


def test_only_the_definitions_that_a_chart_needs_are_copied_with_those_that_they_need(make: Make) -> None:
    assert list(schema(make(VALUES))["definitions"]) == ["cpu", "labels", "port", "quantity", "resourceList", "resources"]


def test_every_object_with_known_keys_is_closed(make: Make) -> None:
    made = schema(make(VALUES))
    open_ones = [one for one in schemas(made) if "properties" in one and one.get("additionalProperties") is not False]
    assert open_ones == []
    assert refusals(made, "{log: {lvel: info}}") == ["log"]
    assert refusals(made, "{logs: {}}") == [""]
    assert refusals(made, "{log: {names: [{nam: a}]}}") == ["log.names.0"]
    assert refusals(made, "{gateway: {resources: {limit: {}}}}") == ["gateway.resources"]


@pytest.mark.parametrize(
    ("values", "path"),
    [
        ("{gateway: {replicas: 0}}", "gateway.replicas"),
        ("{gateway: {replicas: 10}}", "gateway.replicas"),
        ('{gateway: {replicas: "2"}}', "gateway.replicas"),
        ("{gateway: {podLabels: {a: 1}}}", "gateway.podLabels.a"),
        ("{gateway: null}", "gateway"),
        ("{log: {level: warn}}", "log.level"),
        ("{log: {names: [{port: 80}]}}", "log.names.0.port"),
        ('{log: {names: [{name: "a\\nb"}]}}', "log.names.0.name"),
        ("{log: {most: 1.5}}", "log.most"),
    ],
)
def test_a_value_that_breaks_its_rules_is_refused(make: Make, values: str, path: str) -> None:
    assert refusals(schema(make(VALUES)), values) == [path]


@pytest.mark.parametrize("text", ["a\nb", "a\n", "\n", "a\r"])
def test_a_string_keeps_to_one_line_unless_its_comment_says_else(make: Make, text: str) -> None:
    made = schema(make('# -- A.\na: ""\n# -- B.\n# @schema pattern: ".*"\nb: ""\n'))
    assert refusals(made, json.dumps({"a": text, "b": text})) == ["a"]


def test_a_default_on_several_lines_needs_a_rule_that_lets_it_be(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(make("# -- A.\na: |\n  x\n"), capsys).startswith("sample/values.yaml: a: its default is refused:")


def test_global_and_the_values_of_charts_below_are_free(make: Make) -> None:
    below = "dependencies:\n- {name: common}\n- {name: other, alias: mine}\n"
    made = schema(make(head("a: 1\n"), about=below))
    assert refusals(made, "{global: {x: 1}, common: {global: {}}, mine: {x: 1}}") == []
    assert refusals(made, "{other: {}}") == [""]


def test_what_stands_beside_a_ref_counts(make: Make) -> None:
    rules = '# -- A.\n# @schema $ref: "#/definitions/extraEnv"\n# @schema maxItems: 1\na: []\n'
    made = schema(make(rules))
    assert refusals(made, "{a: [{name: A, value: x}, {name: B, value: x}]}") == ["a"]
    assert refusals(made, "{a: [{name: 1A, value: x}]}") == ["a.0.name"]


def test_branches_that_say_a_type_stand_in_for_that_of_the_default(make: Make) -> None:
    made = schema(
        make("# -- A.\n# @schema oneOf: [{type: integer}, {type: string}]\na: 1\n# -- B.\n# @schema anyOf: [{pattern: a}]\nb: a\n")
    )
    assert refusals(made, "{a: x}") == []
    assert refusals(made, "{a: 1.5, b: 1}") == ["a", "b"]
    assert refusals(made, '{a: "x\\ny"}') == ["a"]


def test_the_rules_of_several_lines_are_merged_and_the_later_holds(make: Make) -> None:
    rows = "# @schema properties: {x: {type: string}}\n# @schema {properties: {y: {type: integer}}, minProperties: 3, maxProperties: 9}\n"
    made = schema(make(head(f"{rows}# @schema minProperties: 0\na: {{}}\n")))["properties"]["a"]
    assert (made["minProperties"], made["maxProperties"], list(made["properties"])) == (0, 9, ["x", "y"])
    assert made["additionalProperties"] is False


def test_the_table_has_a_row_for_every_described_value_in_order(make: Make) -> None:
    chart = make(VALUES)
    assert main([], chart.parent) == 0
    rows = (chart / "README.md").read_text().splitlines()
    assert rows[:5] == ["# Sample", "", "<!-- values -->", "| value | what | default |", "|---|---|---|"]
    assert rows[5] == "| `gateway.replicas` | Gateway pods, where nothing else counts them. | `2` |"
    assert rows[6] == "| `gateway.podLabels` | Labels of the pods \\| those of the chart are there anyway. | `{}` |"
    assert rows[8:10] == ["| `log` | What is written. | |", '| `log.level` | Level. | `"info"` |']
    assert rows[-4:] == ["| `log.most` | Bytes; null: all. | `null` |", "<!-- /values -->", "", "End."]


def test_check_names_each_stale_file_and_writing_makes_it_current(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    chart = make(head("a: 1\n"))
    assert main(["--check"], chart.parent) == 1
    assert "charts/sample/values.schema.json, charts/sample/README.md; run" in capsys.readouterr().err
    assert main([], chart.parent) == 0
    assert main(["--check"], chart.parent) == 0
    (chart / "values.yaml").write_text("# -- Otherwise.\na: 1\n")
    assert main(["--check"], chart.parent) == 1
    written = {path: path.read_text() for path in chart.glob("*.*")}
    assert main([], chart.parent) == 0
    assert main(["--check"], chart.parent) == 0
    assert {path.name for path, text in written.items() if path.read_text() != text} == {"values.schema.json", "README.md"}


@pytest.mark.parametrize("arguments", [[], ["--check"]])
def test_without_charts_there_is_nothing_to_do(tmp_path: Path, arguments: list[str]) -> None:
    assert main(arguments, tmp_path) == 0
    assert list(tmp_path.iterdir()) == []


def test_a_library_without_values_is_passed_over_and_another_chart_without_them_is_not(
    make: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    library = make("", "common", "type: library\n")
    (library / "values.yaml").unlink()
    assert main(["--check"], library.parent) == 0
    (make("", "plain") / "values.yaml").unlink()
    assert said(library, capsys) == "plain/values.yaml: there is none\n"


@pytest.mark.parametrize("readme", ["# None\n", "<!-- values -->\n", README + README, "<!-- /values -->\n<!-- values -->\n"])
def test_a_readme_without_its_two_lines_is_an_error_and_stays(make: Make, readme: str, capsys: pytest.CaptureFixture[str]) -> None:
    chart = make(head("a: 1\n"), readme=readme)
    assert main([], chart.parent) == 2
    assert "sample/README.md: expected one line `<!-- values -->`" in capsys.readouterr().err
    assert (chart / "README.md").read_text() == readme
    assert not (chart / "values.schema.json").exists()


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ("a: 1\n", "1: a: no description"),
        ("a:\n  # -- B.\n  b: 1\n  c: 2\n", "4: a.c: no description"),
        ("# -- A.\n\na: 1\n", "3: a: no description"),
        ("# -- A.\n\na: 1\n", "1: `# -- A.` describes no key"),
        ("a:\n# -- B.\n  b: 1\n", "3: a.b: no description"),
        ("# -- A.\n# @schema minimum: 1\na: 1\n# @schema minimum: 1\n", "4: `# @schema minimum: 1` describes no key"),
        ("# -- A.\n# @schema minimun: 1\na: 1\n", "1: a: expected a keyword of JSON schema's draft 7, got minimun"),
        ("# -- A.\n# @schema items: {typ: string}\na: []\n", "1: a: expected a keyword of JSON schema's draft 7, got typ"),
        ("# -- A.\n# @schema minimum: x\na: 1\n", "1: a: @schema is no JSON schema: 'x' is not of type 'number'"),
        ("# -- A.\n# @schema minimum\na: 1\n", "1: a: expected a YAML mapping after @schema, got 'minimum'"),
        ("# -- A.\n# @schema {minimum: 1\na: 1\n", "1: a: expected a YAML mapping after @schema"),
        (
            '# -- A.\n# @schema $ref: "#/definitions/label"\na: {}\n',
            "1: a: expected a $ref to one of #/definitions/affinity, #/definitions/annotations",
        ),
        (
            '# -- A.\n# @schema items: {$ref: "labels"}\na: []\n',
            "1: a: expected a $ref to one of #/definitions/affinity, #/definitions/annotations",
        ),
        ("# -- A.\n# @schema pattern: '^(?!x)'\na: y\n", "1: a: expected a pattern that Go's regexp knows"),
        ("# -- A.\n# -- B.\na: 1\n", "2: a: expected one `# --` with its lines, then `# @schema` lines, got `# -- B.`"),
        ("# -- A.\n# @schema minimum: 1\n# words\na: 1\n", "3: a: expected one `# --` with its lines, then `# @schema` lines"),
        ("# -- A.\n#@schema minimum: 1\na: 1\n", "2: a: expected one `# --` with its lines, then `# @schema` lines"),
        ("# -- A.\na: null\n", "2: a: null does not say what it holds"),
        ("# -- A.\na: {}\n", "2: a: {} does not say what it holds"),
        ("# -- A.\na: []\n", "2: a: [] does not say what it holds"),
        ("# -- A.\na: [1]\n", "2: a: [1] does not say what it holds"),
        ("# -- A.\na: 2020-01-01\n", "2: a: expected a string, number, true, false, list or mapping, got 2020-01-01; quote it"),
        ("# -- A.\na: 1\n# -- A.\na: 2\n", "4: a: the key is there twice"),
        ("# -- A.\na-b: 1\n", "2: a-b: expected a key of letters, digits and _"),
        ("# -- A.\n1: 1\n", "2: 1: expected a key of letters, digits and _"),
        ("- a\n", "1: expected a mapping"),
        ("a: [\n", " while parsing a flow node"),
    ],
)
def test_a_values_file_that_is_wrong_is_refused_with_path_and_line(
    make: Make, values: str, problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert f"sample/values.yaml:{problem}" in said(make(values), capsys)


def test_all_that_is_wrong_in_all_charts_is_told_at_once(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    make("a: 1\nb: 2\n", "first")
    told = said(make("# -- C.\n# @schema minimum: 4\nc: 3\n", "second"), capsys)
    assert [line.split(": ")[0:2] for line in told.splitlines()] == [
        ["first/values.yaml:1", "a"],
        ["first/values.yaml:2", "b"],
        ["second/values.yaml", "c"],
    ]


TEMPLATES = """\
{{- if .Values.log.level }}{{ $.Values.gateway.replicas }}{{ end }}
{{- /* .Values.log.share */ -}}
# .Values.log.on_
{{ toYaml .Values.gateway.resources.limits }}
{{- include "x" (dict "names" .Values.log.names
    "top" .) }}
"""


def test_a_value_is_used_where_a_template_names_it_a_part_of_it_or_what_holds_it(make: Make) -> None:
    chart = make(VALUES)
    (chart / "templates" / "a.yaml").write_text(TEMPLATES)
    used = templates_use(chart)
    assert used_values(chart) == used.keys()
    assert {path for path, is_used in used.items() if is_used} == {
        "log.level",
        "log.names",
        "gateway.replicas",
        "gateway.resources",
    }
    (chart / "templates" / "_helpers.tpl").write_text("{{ range $name, $one := .Values.log }}{{ end }}")
    assert {path for path, is_used in templates_use(chart).items() if not is_used} == {"gateway.podLabels"}
    common = make("", "common") / "templates"
    (common / "_pod.tpl").write_text("{{ .root.Values.gateway.podLabels }}")
    assert all(templates_use(chart).values())


@pytest.mark.parametrize(
    ("template", "paths"),
    [
        ("{{- $values := .Values -}}{{ $values.a.b }}{{ $values }}{{ $valuesOf.x }}", {"a.b"}),
        ("{{ $a := $root.Values.a }}{{ $a.b }}{{ $a.c.d | quote }}", {"a.b", "a.c.d"}),
        ('{{ $a := .Values.a }}{{ include "pod" (list . $a) }}', {"a"}),
        ("{{ $a := .Values.a | default 1 }}", {"a"}),
        ("{{ with .Values.a.b }}{{ .c }}{{ end }}", {"a.b"}),
        ("{{/* .Values.a }} {{ */}} .Values.b {{ .Values }}", set()),
    ],
)
def test_a_variable_names_what_it_stands_for(template: str, paths: set[str]) -> None:
    assert mentions(template) == paths


def test_values_that_are_wrong_have_no_paths(make: Make) -> None:
    with pytest.raises(ChartError, match=r"sample/values\.yaml:1: a: no description"):
        used_values(make("a: 1\n"))


CHARTS = charts(FOLDER)


@pytest.mark.skipif(not CHARTS, reason="charts/*/Chart.yaml: there are none yet")
@pytest.mark.parametrize("chart", CHARTS, ids=lambda chart: str(chart.name))
def test_every_value_of_a_chart_is_used_by_its_templates(chart: Path) -> None:
    assert [path for path, is_used in templates_use(chart).items() if not is_used] == []
