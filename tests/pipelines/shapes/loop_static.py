"""ParallelFor over lists that the definition holds: texts, and records by key."""

from kfp import dsl

from tests.pipelines.shapes.base import IMAGE, Expected, uncached

EXPECTED = Expected(pods={"shout": 3, "weigh": 2})


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def shout(word: str) -> str:
    """Give the word in capitals."""
    assert word in ("a", 'b "c"', "d"), word
    return word.upper()


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def weigh(what: str, grams: str) -> None:
    """Check a record's two values; kfp takes every key of an item for a text."""
    assert (what, grams) in (("salt", "1000000"), ("it's sugar", "2")), (what, grams)


@dsl.pipeline(name="shape-loop-static")
def pipeline() -> None:
    """Three rounds and two."""
    with dsl.ParallelFor(["a", 'b "c"', "d"]) as word:
        uncached(shout(word=word))
    with dsl.ParallelFor([{"what": "salt", "grams": 1000000}, {"what": "it's sugar", "grams": 2}]) as record:
        uncached(weigh(what=record.what, grams=record.grams))
