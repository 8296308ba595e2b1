"""The schemas that are committed, against what they come from."""

from pathlib import Path

import pytest

from tests.cluster.control_plane import control_plane
from tests.cluster.tools import CONTROL_PLANE, need_programs, need_tools

from .schemas import SCHEMAS, as_text, built_in, defined, folded, of_tools, strict

TEXT = {"type": "string", "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$", "maxLength": 253, "minLength": 1}


@pytest.mark.cluster
def test_schemas_of_built_in_kinds_are_those_of_the_api_server(tmp_path: Path) -> None:
    need_tools(*CONTROL_PLANE)
    need_programs({"openssl": "openssl"})
    with control_plane(tmp_path / "cluster") as cluster:
        files = built_in(cluster)
    assert [name for name, schema in files.items() if (SCHEMAS / name).read_text() != as_text(schema)] == []


@pytest.mark.cluster  # it reads 5 MiB of definitions
def test_schemas_of_argo_and_trainer_are_those_of_their_definitions() -> None:
    if absent := [path for path in of_tools() if not path.is_file()]:
        pytest.skip(f"not built: {absent[0]}; make cluster-tools")
    files = dict(one for path in of_tools() for one in defined(path.read_text()))
    assert [name for name, schema in files.items() if (SCHEMAS / name).read_text() != as_text(schema)] == []


def test_unknown_fields_are_refused_except_beside_alternatives() -> None:
    port = {"properties": {"port": {"type": "integer"}}, "anyOf": [{"properties": {"port": {"minimum": 1}}}]}
    assert strict(port) == {**port, "additionalProperties": False}
    assert strict({"properties": {}, "x-kubernetes-preserve-unknown-fields": True}) == {"properties": {}}


def test_what_comes_twice_is_said_once() -> None:
    schema = folded({"type": "object", "properties": {"a": TEXT, "b": TEXT, "c": {"type": "string"}}})
    reference = {"$ref": "#/definitions/d0"}
    assert schema["properties"] == {"a": reference, "b": reference, "c": {"type": "string"}}
    assert schema["definitions"] == {"d0": TEXT}
