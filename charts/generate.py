"""Write each chart's values.schema.json and its README's table of values from values.yaml, or check that they are current (`--check`).

Right above each key of values.yaml stand `# -- What it is.`, which may go on over plain `# ` lines, and `# @schema minimum: 1`, a YAML
mapping that is added to the key's schema and may go on over lines indented by two more. Exit code 1: a file is not current; 2: a
values.yaml is wrong. Both list all of it.
"""

import argparse
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml  # type: ignore[import-untyped]
from jsonschema import Draft7Validator, SchemaError, ValidationError
from jsonschema.validators import extend

from reelspace.core.errors import UserError

FOLDER: Final = Path(__file__).resolve().parent
DRAFT: Final = "http://json-schema.org/draft-07/schema#"
REFERENCE: Final = "#/definitions/"
ONE_LINE: Final = "^[^\\n\\r]*$"
TYPES: Final = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object"}
KEYWORDS: Final = frozenset(Draft7Validator.META_SCHEMA["properties"])
WHOLE: Final = frozenset({"$ref", "properties", "additionalProperties", "patternProperties"})
CONDITIONS: Final = ("contains", "propertyNames", "not", "if", "then", "else", "allOf")
BELOW: Final = ("items", "additionalProperties", "anyOf", "oneOf")
NAMED_BELOW: Final = ("properties", "patternProperties")
MARK: Final = re.compile(r"\s*#\s*(--(?!-)|@schema)")
KEY: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
LOOK: Final = re.compile(r"\(\?[=!<]|\\[1-9Z]")
TABLE: Final = re.compile(r"^<!-- values -->$.*?^<!-- /values -->$", re.DOTALL | re.MULTILINE)
COMMENT: Final = re.compile(r"\{\{-?\s*/\*.*?\*/\s*-?\}\}", re.DOTALL)
ACTION: Final = re.compile(r"\{\{.*?\}\}", re.DOTALL)
MENTION: Final = re.compile(r"\.Values((?:\.\w+)+)")
VARIABLE: Final = re.compile(r"\{\{-?\s*\$(\w+)\s*:?=\s*[$\w.]*\.Values((?:\.\w+)*)\s*-?\}\}")


class ChartError(UserError):
    """A values.yaml or a README of a chart is not as the generator reads it."""


@dataclass(frozen=True, slots=True)
class Value:
    """One key of a values.yaml: its dotted path, what its comments say, its default, and the keys below it."""

    path: str
    about: str
    rules: Mapping[str, Any]
    default: Any
    below: tuple["Value", ...]

    @property
    def key(self) -> str:
        """Its own name."""
        return self.path.rpartition(".")[2]


def _pattern(_validator: Any, pattern: str, instance: Any, _schema: Any) -> Iterator[ValidationError]:
    # In Helm `$` is the end of the text; Python's stands before a last newline, too.
    if isinstance(instance, str) and not re.search(re.sub(r"\$$", r"\\Z", pattern), instance):
        yield ValidationError(f"{instance!r} does not match {pattern!r}")


Validator: Final = extend(Draft7Validator, {"pattern": _pattern})  # type: ignore[no-untyped-call]


def schemas(schema: Any) -> Iterator[dict[str, Any]]:
    """Give a schema and all those within it; of a list, those of each."""
    if isinstance(schema, list):
        for one in schema:
            yield from schemas(one)
    elif isinstance(schema, dict):
        yield schema
        for word in (*BELOW, *CONDITIONS):
            yield from schemas(schema.get(word))
        for word in NAMED_BELOW:
            yield from schemas([*schema.get(word, {}).values()])


def closed(schema: Any) -> Any:
    """Close objects with known keys, keep strings on one line and let what stands beside a $ref count, but for what the schema says itself.

    Schemas that only ask, such as those of `if` and `not`, stay as they are.
    """
    if isinstance(schema, list):
        return [closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    done = {word: closed(one) if word in BELOW else one for word, one in schema.items()}
    for word in done.keys() & set(NAMED_BELOW):
        done[word] = {name: closed(one) for name, one in done[word].items()}
    kinds = [done["type"]] if isinstance(done.get("type"), str) else done.get("type", [])
    if "object" in kinds and "properties" in done:
        done.setdefault("additionalProperties", False)
    if "string" in kinds and not done.keys() & {"$ref", "pattern", "enum", "const"}:
        done["pattern"] = ONE_LINE
    if "$ref" in done and done.keys() - {"$ref", "description"}:
        # Draft 7 reads nothing else beside a $ref.
        done["allOf"] = [{"$ref": done.pop("$ref")}, *done.get("allOf", [])]
    return done


def says_type(rules: Mapping[str, Any]) -> bool:
    """Tell whether rules say what a value is, so that its default need not."""
    branches = [*rules.get("anyOf", []), *rules.get("oneOf", [])]
    return bool({"type", "$ref"} & rules.keys()) or any(says_type(one) for one in branches)


def says_enough(default: Any, rules: Mapping[str, Any]) -> bool:
    """Tell whether a default, with the rules beside it, says what other values may be."""
    if default is None:
        return says_type(rules) or bool({"enum", "const"} & rules.keys())
    if default == {}:
        return says_type(rules) or bool(WHOLE & rules.keys())
    if isinstance(default, list):
        return says_type(rules) or "items" in rules
    return True


def merged(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """Add one mapping to another; mappings in both are merged, else the second's holds."""
    both = {key: merged(first[key], one) for key, one in second.items() if isinstance(one, dict) and isinstance(first.get(key), dict)}
    return {**first, **second, **both}


class Reader:
    """Reads one values.yaml and gathers what is wrong with it."""

    def __init__(self, text: str, definitions: Mapping[str, Any]) -> None:
        self.lines = text.splitlines()
        self.definitions = definitions
        self.problems: list[str] = []
        self._read: set[int] = set()
        self._prose: set[int] = set()
        self.defaults: Any = {}
        self.values: tuple[Value, ...] = ()
        try:
            root = yaml.compose(text, Loader=yaml.SafeLoader)
            self.defaults = yaml.safe_load(text)
        except yaml.YAMLError as error:
            self.problems.append(f" {error}")
            return
        if not isinstance(root, yaml.MappingNode):
            self.problems.append("1: expected a mapping")
            return
        self.values = self._below(root, self.defaults, "")
        self._find_lost_marks(root)

    def _report(self, line: int, problem: str) -> None:
        self.problems.append(f"{line + 1}: {problem}")

    def _below(self, node: yaml.MappingNode, defaults: Mapping[str, Any], parent: str) -> tuple[Value, ...]:
        values: dict[str, Value] = {}
        for key, one in node.value:
            name, line = key.value, key.start_mark.line
            path = f"{parent}.{name}" if parent else str(name)
            if key.tag != "tag:yaml.org,2002:str" or not KEY.fullmatch(name):
                self._report(line, f"{path}: expected a key of letters, digits and _, which a template can name after a dot")
            elif path in values:
                self._report(line, f"{path}: the key is there twice")
            else:
                values[path] = self._value(key, one, defaults[name], path)
        return tuple(values.values())

    def _value(self, key: yaml.Node, node: yaml.Node, default: Any, path: str) -> Value:
        line = key.start_mark.line
        about, rules = self._comments(line, key.start_mark.column, path)
        inside = isinstance(node, yaml.MappingNode) and bool(default) and not WHOLE & rules.keys()
        below = self._below(node, default, path) if inside else ()
        if not about and not below:
            self._report(line, f"{path}: no description; write `# -- What it is.` right above it")
        if default is not None and type(default) not in TYPES:
            self._report(line, f"{path}: expected a string, number, true, false, list or mapping, got {default}; quote it")
        if not says_enough(default, rules):
            self._report(line, f"{path}: {json.dumps(default)} does not say what it holds; write `# @schema` with type, items or $ref")
        return Value(path, about, rules, default, below)

    def _comments(self, line: int, column: int, path: str) -> tuple[str, dict[str, Any]]:
        first = line
        while first > 0 and self.lines[first - 1].startswith(" " * column + "#"):
            first -= 1
        about: list[str] = []
        fragments: list[str] = []
        for number in range(first, line):
            text = self.lines[number][column + 1 :]
            if text.startswith(" -- ") and not about and not fragments:
                about.append(text[4:].strip())
            elif text.startswith(" @schema "):
                fragments.append(text[9:])
            elif fragments and text.startswith("   "):
                fragments[-1] += "\n" + text[1:]
            elif fragments or (about and MARK.match("#" + text)):
                self._report(number, f"{path}: expected one `# --` with its lines, then `# @schema` lines, got `#{text}`")
            elif about:
                about.append(text.strip())
            else:
                continue
            self._read.add(number)
        return " ".join(part for part in about if part), self._rules(fragments, first, path)

    def _rules(self, fragments: Sequence[str], line: int, path: str) -> dict[str, Any]:
        rules: dict[str, Any] = {}
        for fragment in fragments:
            try:
                rule = yaml.safe_load(fragment)
            except yaml.YAMLError:
                rule = None
            if isinstance(rule, dict):
                rules = merged(rules, rule)
            else:
                self._report(line, f"{path}: expected a YAML mapping after @schema, got {fragment!r}")
        try:
            Draft7Validator.check_schema(rules)
        except SchemaError as error:
            self._report(line, f"{path}: @schema is no JSON schema: {error.message}")
            return {}
        for problem in self._faults(rules):
            self._report(line, f"{path}: {problem}")
        return rules

    def _faults(self, rules: Mapping[str, Any]) -> Iterator[str]:
        for one in schemas(rules):
            for word in sorted(one.keys() - KEYWORDS):
                yield f"expected a keyword of JSON schema's draft 7, got {word}"
            if "$ref" in one and one["$ref"] not in (known := [REFERENCE + name for name in self.definitions]):
                yield f"expected a $ref to one of {', '.join(known)}, got {one['$ref']}"
            for pattern in (one.get("pattern", ""), *one.get("patternProperties", {})):
                if LOOK.search(pattern):
                    yield f"expected a pattern that Go's regexp knows, without looking around or back, got {pattern}"

    def _find_lost_marks(self, root: yaml.Node) -> None:
        for number, line in enumerate(self.lines):
            if MARK.match(line) and number not in self._read | block_lines(root):
                self._report(number, f"`{line.strip()}` describes no key; it stands right above one, as far in, as `# -- ` or `# @schema `")


def block_lines(node: yaml.Node) -> set[int]:
    """Give the numbers of the lines that are text of block scalars."""
    if isinstance(node, yaml.ScalarNode):
        return set(range(node.start_mark.line + 1, node.end_mark.line)) if node.style in ("|", ">") else set()
    parts = [part for pair in node.value for part in pair] if isinstance(node, yaml.MappingNode) else node.value
    return {line for part in parts for line in block_lines(part)}


def schema_of(value: Value) -> dict[str, Any]:
    """Make the schema of one value and of those below it."""
    made: dict[str, Any] = {"description": value.about} if value.about else {}
    if value.default is not None and not says_type(value.rules):
        made["type"] = TYPES[type(value.default)]
    if value.below:
        made |= {"additionalProperties": False, "properties": {one.key: schema_of(one) for one in value.below}}
        return merged(made, value.rules)
    return dict(closed({**made, **value.rules}))


def needed(schema: Any, definitions: Mapping[str, Any]) -> dict[str, Any]:
    """Give the definitions that a schema uses, and those that they use, by name."""
    found: dict[str, Any] = {}
    left = [schema]
    while left:
        for one in schemas(left.pop()):
            name = one.get("$ref", "").removeprefix(REFERENCE)
            if name and name not in found:
                found[name] = definitions[name]
                left.append(definitions[name])
    return dict(sorted(found.items()))


def definitions() -> dict[str, Any]:
    """Read the definitions that charts share."""
    return dict(json.loads((FOLDER / "definitions.json").read_text()))


def read_values(chart: Path) -> tuple[tuple[Value, ...], dict[str, Any]]:
    """Read a chart's values.yaml: its values in order, and its defaults as Helm has them.

    Raises:
        ChartError: there is none, or a value is not described, or not as the generator reads it; all such lines are listed.
    """
    path = chart / "values.yaml"
    if not path.is_file():
        raise ChartError(f"{chart.name}/values.yaml: there is none")
    read = Reader(path.read_text(), definitions())
    if read.problems:
        raise ChartError("\n".join(f"{chart.name}/values.yaml:{problem}" for problem in read.problems))
    return read.values, read.defaults


def chart_schema(chart: Path) -> dict[str, Any]:
    """Make the schema of a chart's values.

    Raises:
        ChartError: values.yaml is wrong, or a default is refused by its own schema.
    """
    values, defaults = read_values(chart)
    free = {"global": {"description": "What Helm shares with charts below this one.", "type": "object"}}
    for one in yaml.safe_load((chart / "Chart.yaml").read_text()).get("dependencies") or []:
        name = one.get("alias", one["name"])
        free[name] = {"description": f"Values of the chart {one['name']}, which Helm adds.", "type": "object"}
    made = {"type": "object", "additionalProperties": False, "properties": {**free, **{one.key: schema_of(one) for one in values}}}
    schema = {"$schema": DRAFT, "title": f"Values of the chart {chart.name}", **made, "definitions": needed(made, definitions())}
    errors = sorted(Validator(schema).iter_errors(defaults), key=lambda error: [str(part) for part in error.absolute_path])
    if errors:
        lines = [f"{'.'.join(str(part) for part in error.absolute_path)}: its default is refused: {error.message}" for error in errors]
        raise ChartError("\n".join(f"{chart.name}/values.yaml: {line}" for line in lines))
    return schema


def each(values: Sequence[Value]) -> Iterator[Value]:
    """Give values and those below them, in the order of the file."""
    for value in values:
        yield value
        yield from each(value.below)


def table(values: Sequence[Value]) -> str:
    """Make the Markdown table of the values that have a description."""
    rows = [(f"`{one.path}`", one.about, "" if one.below else _code(one.default)) for one in each(values) if one.about]
    cells = [" | ".join(cell.replace("|", "\\|") for cell in row).rstrip() for row in rows]
    return "\n".join(["| value | what | default |", "|---|---|---|", *(f"| {row} |" for row in cells)])


def _code(default: Any) -> str:
    text = json.dumps(default, ensure_ascii=False)
    return f"`` {text} ``" if "`" in text else f"`{text}`"


def readme(chart: Path) -> str:
    """Give a chart's README with the table of values between its two lines.

    Raises:
        ChartError: there is no README, or its lines are missing or there twice.
    """
    path = chart / "README.md"
    text = path.read_text() if path.is_file() else ""
    if len(TABLE.findall(text)) != 1:
        raise ChartError(f"{chart.name}/README.md: expected one line `<!-- values -->` and after it one `<!-- /values -->`")
    filled = f"<!-- values -->\n{table(read_values(chart)[0])}\n<!-- /values -->"
    return TABLE.sub(lambda _: filled, text)


def charts(folder: Path) -> list[Path]:
    """Give the folders of charts, but for libraries without values."""
    found = [path.parent for path in sorted(folder.glob("*/Chart.yaml"))]
    return [
        one for one in found if (one / "values.yaml").is_file() or yaml.safe_load((one / "Chart.yaml").read_text()).get("type") != "library"
    ]


def files(folder: Path) -> dict[Path, str]:
    """Give every generated file's text.

    Raises:
        ChartError: what is wrong with any of the charts.
    """
    made: dict[Path, str] = {}
    problems = []
    for chart in charts(folder):
        try:
            made[chart / "values.schema.json"] = json.dumps(chart_schema(chart), indent=2, ensure_ascii=False) + "\n"
            made[chart / "README.md"] = readme(chart)
        except ChartError as error:
            problems.append(str(error))
    if problems:
        raise ChartError("\n".join(problems))
    return made


def used_values(chart: Path) -> set[str]:
    """Give the dotted paths of a chart's values that have none below them."""
    return {one.path for one in each(read_values(chart)[0]) if not one.below}


def templates_use(chart: Path) -> dict[str, bool]:
    """Tell of each of those paths whether a template, of the chart or of charts/common, names it, a part of it or a map that holds it."""
    sources = [path for folder in (chart, chart.parent / "common") for path in sorted(folder.glob("templates/**/*")) if path.is_file()]
    named = {f"{mention}." for path in sources for mention in mentions(path.read_text())}
    return {path: any(f"{path}.".startswith(one) or one.startswith(f"{path}.") for one in named) for path in sorted(used_values(chart))}


def mentions(template: str) -> set[str]:
    """Give the dotted paths that the actions of a template name, after `.Values` or after a variable that stands for it or a part of it."""
    actions = "".join(ACTION.findall(COMMENT.sub("", template)))
    rest = VARIABLE.sub("", actions)
    found = set(MENTION.findall(rest))
    for name, start in VARIABLE.findall(actions):
        found |= {start + end for end in re.findall(rf"\${name}\b((?:\.\w+)*)", rest)}
    return {path.removeprefix(".") for path in found if path}


def main(given: Sequence[str] | None = None, folder: Path = FOLDER) -> int:
    """Write or check; 0 when all is current."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    check = parser.parse_args(given).check
    try:
        texts = files(folder)
    except ChartError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    stale = []
    for target, text in texts.items():
        if not check:
            target.write_text(text)
        elif not target.is_file() or target.read_text() != text:
            stale.append(f"charts/{target.relative_to(folder)}")
    if stale:
        sys.stderr.write(f"not current: {', '.join(stale)}; run `python charts/generate.py`\n")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
