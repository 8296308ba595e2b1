"""Deadlines: a task that takes too long is ended, and what waits for it never runs; the run has a deadline of its own."""

from kfp import dsl, kubernetes

from tests.pipelines.shapes.base import IMAGE, Expected, uncached

EXPECTED = Expected(phase="Failed", pods={"sleep": 1, "never": 0})


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def sleep() -> None:
    """Take longer than is allowed."""
    import time

    time.sleep(600)


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def never() -> None:
    """Stand behind it."""


@dsl.pipeline(name="shape-timeouts", pipeline_config=dsl.PipelineConfig(active_deadline_seconds=300, ttl_seconds_after_finished=3600))
def pipeline() -> None:
    """Ten minutes of sleep, of which five seconds are allowed."""
    task = uncached(sleep())
    kubernetes.set_timeout(task, 5)
    uncached(never()).after(task)
