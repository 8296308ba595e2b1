"""If, Elif and Else over a task's output, and conditions on numbers and truth values."""

from kfp import dsl

from tests.pipelines.shapes.base import IMAGE, Expected, uncached

# Heads, tails, edge, large, small, honest, in the order of their tasks.
EXPECTED = Expected(outputs={"toss.Output": "it's tails"}, pods={"say": 0, "say-2": 1, "say-3": 0, "say-4": 1, "say-5": 0, "say-6": 1})


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def toss(side: str) -> str:
    """Give a side with a quote in it."""
    return f"it's {side}"


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def side_of(text: str) -> str:
    """Give the last word."""
    return text.split()[-1]


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def say(what: str) -> None:
    """Print which branch ran."""
    print(what)


def _say(what: str) -> None:
    uncached(say(what=what))


@dsl.pipeline(name="shape-branches")
def pipeline(side: str = "tails", number: int = 7, share: float = 0.25, honest: bool = True) -> None:
    """One branch of three, and single ones."""
    tossed = uncached(toss(side=side))
    word = uncached(side_of(text=tossed.output))
    with dsl.If(word.output == "heads"):
        _say("heads")
    with dsl.Elif(word.output == "tails"):
        _say("tails")
    with dsl.Else():
        _say("edge")
    with dsl.If(number > 5), dsl.If(share < 0.5):
        _say("large")
    with dsl.If(number <= 5):
        _say("small")
    with dsl.If(honest == True):  # noqa: E712 (a condition of kfp's, not of Python's)
        _say("honest")
