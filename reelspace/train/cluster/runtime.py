"""The ClusterTrainingRuntime our TrainJobs run under, and what the steps' service account must be allowed.

`python -m reelspace.train.cluster.runtime IMAGE [--namespace NAME]` prints them as a List that `kubectl apply -f -` takes.
Derived from Kubeflow Trainer 2.3's `torch-distributed`: plain torchrun through PET_* variables, no MPI and no ssh.
"""

import argparse
import json
import sys
from typing import Any

NAME = "reelspace-train"
REPLICATED_JOB = CONTAINER = "node"
SCRATCH = "/scratch"
MAX_RESTARTS = 10
GRACE_S = 180
_USER = 65532
_EXIT_USER_ERROR = 2
_VERBS = {
    ("trainer.kubeflow.org", "trainjobs"): ["create", "delete", "get", "list", "patch", "watch"],
    ("", "pods"): ["list"],
    ("", "pods/log"): ["get"],
}


def runtime(image: str, name: str = NAME) -> dict[str, Any]:
    """Render the runtime: one pod failing restarts them all, which go on from the last checkpoint, but a wrong input or setting ends it.

    Pods have GRACE_S seconds to save when they are stopped. A pod that has not ended yet is not replaced.
    """
    job = {
        "backoffLimit": 0,
        "podReplacementPolicy": "Failed",
        "podFailurePolicy": {
            "rules": [
                {"action": "FailJob", "onExitCodes": {"containerName": CONTAINER, "operator": "In", "values": [_EXIT_USER_ERROR]}},
            ]
        },
        "template": {"spec": _pod(image)},
    }
    failure = {
        "maxRestarts": MAX_RESTARTS,
        "rules": [{"name": "wrongInputOrSetting", "action": "FailJobSet", "onJobFailureReasons": ["PodFailurePolicy"]}],
    }
    step = {"trainer.kubeflow.org/trainjob-ancestor-step": "trainer"}
    jobs = [{"name": REPLICATED_JOB, "template": {"metadata": {"labels": step}, "spec": job}}]
    return {
        "apiVersion": "trainer.kubeflow.org/v1alpha1",
        "kind": "ClusterTrainingRuntime",
        "metadata": {"name": name, "labels": {"trainer.kubeflow.org/framework": "torch"}},
        "spec": {"mlPolicy": {"numNodes": 1, "torch": {}}, "template": {"spec": {"failurePolicy": failure, "replicatedJobs": jobs}}},
    }


def role(namespace: str, name: str = NAME) -> dict[str, Any]:
    """Render what the service account of the steps is allowed in its namespace; bind it with a RoleBinding."""
    rules = [{"apiGroups": [group], "resources": [resource], "verbs": verbs} for (group, resource), verbs in _VERBS.items()]
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": metadata, "rules": rules}


def _pod(image: str) -> dict[str, Any]:
    locked = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
    container = {
        "name": CONTAINER,
        "image": image,
        "env": [{"name": "HOME", "value": SCRATCH}, {"name": "TMPDIR", "value": SCRATCH}],
        "securityContext": locked,
        "volumeMounts": [{"name": "scratch", "mountPath": SCRATCH}],
    }
    return {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": GRACE_S,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _USER,
            "runAsGroup": _USER,
            "fsGroup": _USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": [{"name": "scratch", "emptyDir": {}}],
    }


def main() -> None:
    """Print the runtime and the role."""
    parser = argparse.ArgumentParser(prog="python -m reelspace.train.cluster.runtime", description="Print runtime and role as JSON.")
    parser.add_argument("image", help="image of trainings that name none")
    parser.add_argument("--namespace", default="default", help="namespace of the steps")
    arguments = parser.parse_args()
    items = [runtime(arguments.image), role(arguments.namespace)]
    sys.stdout.write(json.dumps({"apiVersion": "v1", "kind": "List", "items": items}, indent=1) + "\n")


if __name__ == "__main__":
    main()
