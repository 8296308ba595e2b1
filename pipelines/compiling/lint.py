"""The lint of compiled pipelines: one function per rule, named as its findings are."""

from collections.abc import Callable, Iterator, Mapping

from pipelines.compiling.compiled import Compiled
from pipelines.compiling.container_rules import latest_image, missing_resources, runtime_install, tag_only_image
from pipelines.compiling.findings import Finding
from pipelines.compiling.secret_rules import secret_in_arguments
from pipelines.compiling.shape_rules import artifact_only_call, loop_in_exit_handler, retry_in_loop, undeclared_channel

_FUNCTIONS: tuple[Callable[[Compiled], Iterator[Finding]], ...] = (
    artifact_only_call,
    latest_image,
    loop_in_exit_handler,
    missing_resources,
    retry_in_loop,
    runtime_install,
    secret_in_arguments,
    tag_only_image,
    undeclared_channel,
)
RULES: Mapping[str, Callable[[Compiled], Iterator[Finding]]] = {rule.__name__.replace("_", "-"): rule for rule in _FUNCTIONS}


def lint(compiled: Compiled) -> list[Finding]:
    """Give what every rule finds, rule by rule, in the order of their names."""
    return [finding for rule in RULES.values() for finding in rule(compiled)]
