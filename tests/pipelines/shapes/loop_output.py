"""ParallelFor over a list that a task gives, two at a time, with a task and an artifact from outside."""

from kfp import dsl
from kfp.dsl import Artifact, Input, Output

from tests.pipelines.shapes.base import IMAGE, Expected, uncached

EXPECTED = Expected(pods={"split": 1, "part": 4, "check": 4})


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def split(num_parts: int, table: Output[Artifact]) -> list:
    """Give the numbers of the parts, and a table for all."""
    with open(table.path, "w") as file:
        file.write("shared")
    return list(range(num_parts))


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def part(number: int, table: Input[Artifact], suffix: str) -> str:
    """Work on one part."""
    with open(table.path) as file:
        return f"{file.read()}-{number}{suffix}"


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def check(text: str) -> None:
    """See that the part before is the one of this round."""
    assert text in [f"shared-{number}!" for number in range(4)], text


@dsl.pipeline(name="shape-loop-output")
def pipeline(num_parts: int = 4, suffix: str = "!") -> None:
    """Four rounds of two tasks each."""
    parts = uncached(split(num_parts=num_parts))
    with dsl.ParallelFor(parts.outputs["Output"], parallelism=2) as number:
        done = uncached(part(number=number, table=parts.outputs["table"], suffix=suffix))
        uncached(check(text=done.output))
