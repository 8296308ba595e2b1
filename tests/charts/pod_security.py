"""Pods held against the level `restricted` of Pod Security, by Kubernetes' own code (`tests/cluster/mods/podsecurity`)."""

import json
import subprocess
from collections.abc import Sequence

from tests.cluster.tools import binary, need_tools

from .workloads import Workload

_LIMIT_S = 60.0


def violations(pods: Sequence[Workload]) -> list[str]:
    """What an API server would refuse in a namespace that enforces `restricted`; skips the test where the program is not built."""
    need_tools("podsecurity")
    templates = [{"name": pod.title, "metadata": pod.metadata, "spec": pod.spec} for pod in pods]
    ended = subprocess.run(
        [binary("podsecurity")], input=json.dumps(templates), capture_output=True, text=True, timeout=_LIMIT_S, check=False
    )
    assert ended.returncode == 0, ended.stderr
    return [f"{one['name']}: {one['reason']}: {one['detail']}" for one in json.loads(ended.stdout)]
