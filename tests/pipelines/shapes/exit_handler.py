"""ExitHandler: the exit task runs although the body fails, is told so, and the run fails all the same."""

from kfp import dsl

from tests.pipelines.shapes.base import IMAGE, Expected, uncached

EXPECTED = Expected(phase="Failed", pods={"fail": 1, "never": 0, "tidy": 1})


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def fail() -> None:
    """End with an error."""
    raise ValueError("meant to fail")


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def never() -> None:
    """Stand behind a task that fails."""


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def tidy(word: str, status: dsl.PipelineTaskFinalStatus) -> None:
    """Check what the exit task is told."""
    assert status.state == "FAILED", status
    assert status.pipeline_task_name == "exit-handler-1", status
    assert word == 'tidy "all"', word


@dsl.pipeline(name="shape-exit-handler")
def pipeline(word: str = 'tidy "all"') -> None:
    """A body that fails, and what is done after it."""
    with dsl.ExitHandler(uncached(tidy(word=word))):
        uncached(never()).after(uncached(fail()))
