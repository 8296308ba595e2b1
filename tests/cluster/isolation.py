"""Run a command in network, mount and process namespaces of its own: `python -m tests.cluster.isolation COMMAND...`.

A node of Kubernetes opens ports, mounts, writes firewall rules and changes the kernel's settings. In here it can: the only network is
a loopback and a pair of interfaces that ends in itself, so that nothing in it can be reached from outside nor reach out, and
processes, mounts, interfaces and rules end with the command. What namespaces do not hold (cgroups of pods, four settings of the
kernel) is put back afterwards. Where this cannot be had the command runs without, and tests of a real node skip.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from reelspace.core.processes import child, stop

HOST = "10.99.0.2"
_VARIABLE = "REELSPACE_ISOLATED"
_NAMESPACES = ("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
_SYSCTLS = ("vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops")  # those that a kubelet sets
_WRITTEN_FOLDERS = ("/run", "/var/log", "/opt/cni", "/opt/containerd")  # by containerd and kubelet
_CGROUPS = Path("/sys/fs/cgroup")
_INSIDE = f"""
set -e
mount --make-rprivate /
ip link set lo up
ip link add pair0 type veth peer name pair1
ip addr add {HOST}/24 dev pair0
ip link set pair0 up
ip link set pair1 up
ip route add default dev pair0
echo 1 > /proc/sys/net/ipv4/ip_forward
for folder in {" ".join(_WRITTEN_FOLDERS)}; do mount -t tmpfs tmpfs $folder; done
mkdir /run/netns
exec "$@"
"""


def isolated_host() -> str:
    """The address of this machine in its own network; skips the test outside of one."""
    host = os.environ.get(_VARIABLE)
    if not host:
        pytest.skip("a real node needs namespaces of its own: make test-cluster, as root")
    return host


def main(command: Sequence[str]) -> int:
    """Run the command, isolated where that can be had, and give its exit code."""
    if not command:
        print(__doc__, file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that what is outside is put back
    if reason := refusal():
        print(f"not isolated, so without a real node: {reason}", file=sys.stderr, flush=True)
        return subprocess.run(command, check=False).returncode
    with _put_back():
        process = child([*_NAMESPACES, "sh", "-c", _INSIDE, "sh", *command], env=os.environ | {_VARIABLE: HOST})
        try:
            return process.wait()
        finally:
            stop(process)


def refusal() -> str | None:
    """Why this machine or user cannot isolate; None if it can."""
    if os.geteuid() != 0:
        return "needs root"
    if missing := [program for program in ("unshare", "ip", "mount") if shutil.which(program) is None]:
        return f"no program {', '.join(missing)}"
    tried = subprocess.run([*_NAMESPACES, "true"], capture_output=True, text=True, check=False)
    return tried.stderr.strip() if tried.returncode else None


@contextmanager
def _put_back() -> Iterator[None]:
    if not os.environ.get(_VARIABLE):  # within another run they are those of its node
        _remove_empty(_pod_cgroups())  # of a run that was killed
    before = {Path("/proc/sys", name): Path("/proc/sys", name).read_text() for name in _SYSCTLS}
    made = [Path(folder) for folder in _WRITTEN_FOLDERS if not Path(folder).exists()]
    others = _pod_cgroups()
    for folder in made:
        folder.mkdir()
    try:
        yield
    finally:
        for folder in made:
            folder.rmdir()
        for path, value in before.items():
            if path.read_text() != value:
                path.write_text(value)
        _remove_empty([cgroup for cgroup in _pod_cgroups() if cgroup not in others])
        if left := sorted(set(_pod_cgroups()) - set(others)):
            raise RuntimeError(f"left behind: {', '.join(map(str, left))}")


def _pod_cgroups() -> list[Path]:
    hierarchies = [_CGROUPS, *(one for one in _CGROUPS.glob("*") if one.is_dir() and not one.is_symlink())]
    return [hierarchy / "kubepods" for hierarchy in hierarchies if (hierarchy / "kubepods").is_dir()]


def _remove_empty(cgroups: Sequence[Path]) -> None:
    for cgroup in cgroups:
        for folder, _, _ in os.walk(cgroup, topdown=False):
            with contextlib.suppress(OSError):  # not empty: somebody else's pods
                os.rmdir(folder)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
