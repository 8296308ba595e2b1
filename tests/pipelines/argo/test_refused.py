"""What Argo cannot be told is refused by name: feature and task."""

import pytest

from pipelines.argo import ArgoOptions, ArgoRefused, to_workflow_template
from reelspace.core.errors import UserError
from tests.pipelines.argo.refused_shapes import REFUSED, Refused
from tests.pipelines.shapes.base import uncached
from tests.pipelines.shapes.compiled import compile_documents
from tests.pipelines.shapes.parameters import make


@pytest.mark.parametrize("shape", REFUSED, ids=lambda shape: shape.pipeline.name)
def test_a_refusal_names_the_feature_and_where_it_is(shape: Refused):
    documents = compile_documents(shape.pipeline)
    with pytest.raises(ArgoRefused) as refused:
        to_workflow_template(*documents, ArgoOptions())
    assert shape.feature in str(refused.value)
    assert shape.place in str(refused.value)
    assert isinstance(refused.value, UserError)


@pytest.mark.parametrize(
    "where",
    [
        ("root", "dag", "tasks", "make"),
        ("deploymentSpec", "executors", "exec-make", "container"),
        ("deploymentSpec", "executors", "exec-make", "container", "resources"),
        ("components", "comp-make"),
        (),
    ],
    ids=lambda where: ".".join(where) or "document",
)
def test_a_key_that_is_not_known_is_refused_and_never_lost(where: tuple[str, ...]):
    from kfp import dsl

    @dsl.pipeline(name="one")
    def one() -> None:
        uncached(make(text="a", count=1)).set_cpu_limit("1")

    spec, platform = compile_documents(one)
    to_workflow_template(spec, platform, ArgoOptions())
    place = spec
    for key in where:
        place = place[key]
    place["somethingNew"] = True
    with pytest.raises(ArgoRefused, match="'somethingNew' cannot be converted"):
        to_workflow_template(spec, platform, ArgoOptions())
