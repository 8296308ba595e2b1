"""Parameters of every type, from the pipeline and from tasks, with the quotes and lines that break careless templates."""

from kfp import dsl

from tests.pipelines.shapes.base import IMAGE, Expected, uncached

EXPECTED = Expected(outputs={"check.Output": 'say "hi" it\'s\nfine {"a": [1, 2]} True 3 0.5 ü', "joined.Output": "<shape-3>"})


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def make(text: str, count: int) -> str:
    """Give the text back with a line more."""
    assert isinstance(count, int)
    return f"{text}\nfine"


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def count(number: int) -> int:
    """Give the next number."""
    return number + 1


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def check(text: str, tree: dict, truth: bool, number: int, share: float, letter: str = "ü") -> str:
    """Write all values, as Python sees them."""
    import json

    return f"{text} {json.dumps(tree)} {truth} {number} {share} {letter}"


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def joined(text: str) -> str:
    """Give a text that the pipeline put together."""
    return f"<{text}>"


@dsl.pipeline(name="shape-parameters")
def pipeline(
    word: str = 'say "hi" it\'s',
    start: int = 2,
    tree: dict = {"a": [1, 2]},  # noqa: B006 (kfp reads the default, nobody changes it)
    truth: bool = True,
    share: float = 0.5,
) -> None:
    """All types there and back."""
    made = uncached(make(text=word, count=start))
    number = uncached(count(number=start))
    uncached(check(text=made.output, tree=tree, truth=truth, number=number.output, share=share))
    uncached(joined(text=f"shape-{number.output}"))
