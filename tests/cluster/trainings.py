"""What a training of a step needs on a test cluster: pods that have torch, and what the step's own account is allowed.

An image with torch would be gigabytes that every run loads anew. Ours holds links and two small files; Python, its packages and the
checkout are mounted from the machine, read-only and at their own paths.
"""

import sys
from pathlib import Path

from reelspace.train.cluster.runtime import NAME, role

from .control_plane import Cluster, Json
from .images import write_image

TRAIN_IMAGE = "localhost/train:test"
STORE_SECRET = "store"
_CHECKOUT = Path(__file__).resolve().parents[2]
_LINKS = {f"/{name}": f"usr/{name}" for name in ("bin", "lib", "lib64")}
# As an image of Debian has them: a name for the user, and the names of pods before those of the network.
_FILES = {"passwd": "reelspace:x:65532:65532::/tmp:/bin/sh\n", "nsswitch.conf": "hosts: files dns\n"}
_ACCOUNT = "step"


def write_train_image(folder: Path) -> Path:
    """Write the archive of the image in an existing folder."""
    files = {f"/etc/{name}": folder / name for name in _FILES}
    for file in files.values():
        file.write_text(_FILES[file.name])
    return write_image(folder / "train.tar", TRAIN_IMAGE, files, (), _LINKS)


def mounted_task() -> Json:
    """A TaskConfig that gives pods of that image Python, its packages and the checkout."""
    wanted = (Path("/usr"), Path(sys.base_prefix), Path(sys.prefix), _CHECKOUT)
    folders = [folder for folder in wanted if not any(folder != other and folder.is_relative_to(other) for other in wanted)]
    names = {f"host-{number}": str(folder) for number, folder in enumerate(folders)}
    return {
        "volumes": [{"name": name, "hostPath": {"path": path, "type": "Directory"}} for name, path in names.items()],
        "volume_mounts": [{"name": name, "mountPath": path, "readOnly": True} for name, path in names.items()],
        "env": [
            {"name": "PATH", "value": f"{sys.prefix}/bin:/usr/bin"},
            {"name": "PYTHONPATH", "value": str(_CHECKOUT)},
            {"name": "OMP_NUM_THREADS", "value": "1"},
        ],
        "resources": {"requests": {"cpu": "100m"}, "limits": {"memory": "4Gi"}},
    }


def step_account(cluster: Cluster, folder: Path) -> Json:
    """Make the service account of a step, allowed what the guide allows it; gives how the API is reached with its token."""
    account = {"kind": "ServiceAccount", "name": _ACCOUNT, "namespace": cluster.namespace}
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": NAME},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": NAME},
        "subjects": [account],
    }
    cluster.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": _ACCOUNT}}, role(cluster.namespace), binding)
    token = folder / "token"
    token.write_text(cluster.kubectl("create", "token", _ACCOUNT))
    return {"url": cluster.url, "token_file": str(token), "ca_file": str(cluster.folder / "ca.crt")}
