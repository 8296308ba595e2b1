"""A pipeline inside a pipeline, called twice, with parameters and artifacts in and out."""

from typing import NamedTuple

from kfp import dsl
from kfp.dsl import Artifact, Input, Output

from tests.pipelines.shapes.base import IMAGE, Expected, uncached

EXPECTED = Expected(outputs={"show.Output": "a+b+c 2"}, pods={"begin": 1, "show": 1})


class Added(NamedTuple):
    """What the inner pipeline gives."""

    text: Artifact
    count: int


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def begin(text: Output[Artifact]) -> None:
    """Write the first letter."""
    with open(text.path, "w") as file:
        file.write("a")


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def add(text: Input[Artifact], letter: str, longer: Output[Artifact]) -> None:
    """Write one letter more."""
    with open(text.path) as source, open(longer.path, "w") as target:
        target.write(f"{source.read()}+{letter}")


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def letters(text: Input[Artifact]) -> int:
    """Count the letters that were added."""
    with open(text.path) as file:
        return file.read().count("+")


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def show(text: Input[Artifact], count: int) -> str:
    """Give text and count."""
    with open(text.path) as file:
        return f"{file.read()} {count}"


@dsl.pipeline(name="adding")
def adding(text: Input[Artifact], letter: str = "c") -> Added:
    """Add a letter and count."""
    longer = uncached(add(text=text, letter=letter)).outputs["longer"]
    return Added(text=longer, count=uncached(letters(text=longer)).output)


@dsl.pipeline(name="shape-nested")
def pipeline() -> None:
    """Twice the same inner pipeline, once with its default."""
    once = uncached(adding(text=uncached(begin()).outputs["text"], letter="b"))
    twice = uncached(adding(text=once.outputs["text"]))
    uncached(show(text=twice.outputs["text"], count=twice.outputs["count"]))
