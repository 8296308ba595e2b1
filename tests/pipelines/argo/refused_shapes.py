"""Pipelines that cannot be carried over to Argo, each with the words that its refusal must hold."""

from collections.abc import Callable
from typing import Any, Final, NamedTuple, Optional

from kfp import dsl, kubernetes
from kfp.dsl import Artifact, Dataset, Input, Metrics, Output

from tests.pipelines.shapes.base import IMAGE, uncached


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def give(text: str = "a") -> str:
    """Give the text."""
    return text


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def take(texts: list) -> None:
    """Take a list."""


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def measure(metrics: Output[Metrics]) -> None:
    """Log a figure."""
    metrics.log_metric("a", 1.0)


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def table(rows: Output[Dataset]) -> None:
    """Write a table."""


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def read(rows: Input[Dataset]) -> None:
    """Read a table."""


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def braces() -> str:
    """Hold double braces."""
    return "{{" + "workflow.name" + "}}"


@dsl.component(base_image=IMAGE)
def installing() -> None:
    """Install kfp when it starts."""


@dsl.pipeline(name="one-of")
def one_of(word: str = "a") -> str:
    with dsl.If(word == "a"):
        first = uncached(give(text="1"))
    with dsl.Else():
        second = uncached(give(text="2"))
    return dsl.OneOf(first.output, second.output)


@dsl.pipeline(name="collected")
def collected() -> None:
    with dsl.ParallelFor(["a", "b"]) as word:
        given = uncached(give(text=word))
    uncached(take(texts=dsl.Collected(given.output)))


@dsl.pipeline(name="importing")
def importing() -> None:
    uncached(read(rows=dsl.importer(artifact_uri="s3://bucket/rows", artifact_class=Dataset, reimport=False).output))


@dsl.pipeline(name="claims")
def claims() -> None:
    uncached(kubernetes.CreatePVC(pvc_name="a", access_modes=["ReadWriteOnce"], size="1Gi", storage_class_name=""))


@dsl.pipeline(name="workspace", pipeline_config=dsl.PipelineConfig(workspace=dsl.WorkspaceConfig(size="1Gi")))
def workspace() -> None:
    uncached(give())


@dsl.pipeline(name="cached")
def cached() -> None:
    give()


@dsl.pipeline(name="metrics")
def metrics() -> None:
    uncached(measure())


@dsl.pipeline(name="ignoring")
def ignoring() -> None:
    uncached(give(text="a")).ignore_upstream_failure().after(uncached(give()))


@dsl.pipeline(name="resources")
def resources(cpu: str = "1") -> None:
    uncached(give()).set_cpu_limit(cpu)


@dsl.pipeline(name="no-value")
def no_value(text: Optional[str] = None) -> None:  # noqa: UP045 (kfp reads no other form)
    uncached(give())


@dsl.pipeline(name="double-braces")
def double_braces() -> None:
    uncached(braces())


@dsl.pipeline(name="packages")
def packages() -> None:
    uncached(installing())


@dsl.pipeline(name="secret-by-parameter")
def secret_by_parameter(name: str = "a") -> None:
    kubernetes.use_secret_as_env(uncached(give()), name, {"a": "A"})


@dsl.pipeline(name="affinity")
def affinity() -> None:
    kubernetes.add_node_affinity(uncached(give()), match_expressions=[{"key": "a", "operator": "Exists"}])


@dsl.pipeline(name="as-root")
def as_root() -> None:
    kubernetes.set_security_context(uncached(give()), run_as_user=0)


@dsl.pipeline(name="whole-artifact")
def whole_artifact(rows: Input[Artifact]) -> None:
    uncached(give())


@dsl.pipeline(name="two-handlers")
def two_handlers() -> None:
    for _ in range(2):
        with dsl.ExitHandler(uncached(give())):
            uncached(give())


@dsl.pipeline(name="handling")
def handling(word: str) -> None:
    with dsl.ExitHandler(uncached(give())):
        uncached(give(text=word))


@dsl.pipeline(name="inner-handler")
def inner_handler() -> None:
    uncached(handling(word="a"))


class Refused(NamedTuple):
    """A pipeline and what its refusal says."""

    pipeline: Callable[..., Any]
    feature: str
    place: str


REFUSED: Final = (
    Refused(one_of, "dsl.OneOf", "condition-branches-1"),
    Refused(collected, "dsl.Collected", "for-loop-2"),
    Refused(importing, "dsl.importer", "importer"),
    Refused(claims, "kubernetes.createpvc", "createpvc"),
    Refused(workspace, "dsl.WorkspaceConfig", "pipelineConfig"),
    Refused(cached, "caching", "give"),
    Refused(metrics, "system.Metrics", "measure"),
    Refused(ignoring, "ignore_upstream_failure", "'give'"),
    Refused(two_handlers, "two exit handlers", "give"),
    Refused(inner_handler, "dsl.ExitHandler inside another group", "handling"),
    Refused(resources, "resources from a pipeline parameter", "give"),
    Refused(no_value, "None", "text"),
    Refused(double_braces, "double braces", "braces"),
    Refused(packages, "packages installed at run time", "installing"),
    Refused(secret_by_parameter, "comes from a pipeline parameter", "give"),
    Refused(affinity, "nodeAffinity", "give"),
    Refused(as_root, "runs as root", "give"),
    Refused(whole_artifact, "artifacts as inputs", "whole-artifact"),
)
