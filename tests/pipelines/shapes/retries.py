"""Retries by exit code: 75 asks for another try, 2 does not, however many are left."""

from kfp import dsl, kubernetes

from tests.pipelines.shapes.base import IMAGE, Expected, uncached

EXPECTED = Expected(phase="Failed", outputs={"patient.Output": "second try"}, pods={"patient": 2, "hasty": 1})


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def patient() -> str:
    """Ask for another try in the first one, which Argo's node name ends with (0)."""
    import os
    import sys

    if os.environ["NODE"].endswith("(0)"):
        sys.exit(75)
    return "second try"


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def hasty() -> None:
    """Raise an error with an exit code of its own."""

    class WrongInput(Exception):
        exit_code = 2

    raise WrongInput("no try will help")


@dsl.pipeline(name="shape-retries")
def pipeline() -> None:
    """One task that succeeds in its second try, one that must not get one."""
    first = uncached(patient()).set_retry(num_retries=3, backoff_duration="1s", backoff_factor=2, backoff_max_duration="4s")
    kubernetes.use_field_path_as_env(first, "NODE", "metadata.annotations['workflows.argoproj.io/node-name']")
    uncached(hasty()).set_retry(num_retries=3).after(first)
