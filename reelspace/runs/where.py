"""The places where a pipeline runs: as processes or containers of this machine, as a workflow of Argo, as a run of Kubeflow Pipelines."""

from typing import Literal, get_args

Where = Literal["process", "podman", "argo", "kfp"]
WHERE: tuple[Where, ...] = get_args(Where)
REMOTE: frozenset[Where] = frozenset({"argo", "kfp"})
"""Places that go on without the process that started the run, and are asked how it stands."""
