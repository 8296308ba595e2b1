"""Ceph's S3 gateway on this machine, from Debian's packages, which are unpacked into a folder and not installed.

One monitor, one store of objects in a file, one gateway, all on 127.0.0.1; every part shows a key to every other (cephx).
"""

import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest
import urllib3

from reelspace.core.processes import child, stop

PACKAGES = ("ceph-mon", "ceph-osd", "radosgw")
DISK_BYTES = 4 << 30
START_S = 120.0
FETCH_S = 600.0
WHOLE = "whole"
SETTINGS = """\
[global]
fsid = {fsid}
mon_host = [v1:127.0.0.1:{mon_port}]
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
auth_cluster_required = cephx
auth_service_required = cephx
auth_client_required = cephx
keyring = {folder}/keyring
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 8
osd_crush_chooseleaf_type = 0
mon_allow_pool_size_one = true
plugin_dir = {libraries}/ceph
erasure_code_dir = {libraries}/ceph/erasure-code
osd_class_dir = {libraries}/rados-classes
run_dir = {folder}
admin_socket =
pid_file =
log_file = {folder}/$name.log
mon_data = {folder}/mon
mon_data_avail_crit = 1
mon_data_avail_warn = 1
osd_data = {folder}/osd
osd_objectstore = bluestore
bluestore_block_size = {disk_bytes}
osd_memory_target = 939524096
rgw_data = {folder}/rgw
rgw_frontends = beast endpoint=127.0.0.1:{port}
"""


def unpacked_ceph() -> Path:
    """Give the folder with Ceph's files, fetched once; REELSPACE_CEPH names another place for it. The test is skipped without packages."""
    root = Path(os.environ.get("REELSPACE_CEPH") or Path.home() / ".cache" / "reelspace-testbed" / "ceph")
    if (root / WHOLE).exists():
        return root
    if not (shutil.which("apt-get") and shutil.which("dpkg")):
        pytest.skip("Ceph comes from Debian's packages: needs apt-get and dpkg, or REELSPACE_CEPH")
    beside = root.with_name(f"{root.name}-{secrets.token_hex(4)}")
    (beside / "packages").mkdir(parents=True)
    try:
        told = _said(["apt-get", "install", "--simulate", "--no-install-recommends", *PACKAGES], beside)
        names = [line.split()[1] for line in told.splitlines() if line.startswith("Inst ")]
        _said(["apt-get", "download", *names], beside / "packages")
        for package in (beside / "packages").glob("*.deb"):
            _said(["dpkg", "-x", str(package), str(beside)], beside)
            package.unlink()
        (beside / WHOLE).touch()
        beside.rename(root)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        pytest.skip(f"Ceph's packages cannot be had: {error}: {str(error.stderr or '').strip()[-300:]}")
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return root


def _said(command: Sequence[str], folder: Path) -> str:
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True, timeout=FETCH_S).stdout


@dataclass(frozen=True)
class Ceph:
    """Programs of an unpacked Ceph, working in a folder."""

    root: Path
    folder: Path

    @property
    def libraries(self) -> Path:
        """Where Debian keeps libraries of this kind of machine."""
        return next(self.root.glob("usr/lib/*-linux-gnu"))

    @property
    def environment(self) -> dict[str, str]:
        """Variables for every program."""
        places = [self.libraries, self.libraries / "ceph", self.root / "lib" / self.libraries.name]
        return {
            **os.environ,
            "LD_LIBRARY_PATH": ":".join(map(str, places)),
            "PYTHONPATH": str(self.root / "usr/lib/python3/dist-packages"),
            "CEPH_CONF": str(self.folder / "ceph.conf"),
        }

    def run(self, program: str, *words: str) -> None:
        """Run a program to its end."""
        command = self._command(program, words)
        ended = subprocess.run(command, env=self.environment, cwd=self.folder, capture_output=True, text=True, timeout=START_S, check=False)
        assert ended.returncode == 0, (command, ended.stderr[-2000:])

    def start(self, stack: ExitStack, program: str, *words: str) -> "subprocess.Popen[bytes]":
        """Start a program that runs until the end."""
        with (self.folder / f"{program}.out").open("wb") as output:
            process = child(self._command(program, ["-f", *words]), env=self.environment, cwd=self.folder, stdout=output, stderr=output)
        stack.callback(stop, process)
        return process

    def _command(self, program: str, words: Sequence[str]) -> list[str]:
        path = str(self.root / "usr/bin" / program)
        return [sys.executable, path, *words] if program == "ceph" else [path, *words]


@contextmanager
def ceph_gateway(root: Path, folder: Path, access_key: str, secret_key: str) -> Iterator[int]:
    """Start all of it in an empty folder, and give the port of its S3."""
    mon_port, port = _free_ports()
    ceph, fsid = Ceph(root, folder), str(uuid4())
    for name in ("mon", "osd", "rgw"):
        (folder / name).mkdir()
    facts = {"fsid": fsid, "mon_port": mon_port, "port": port, "folder": folder, "libraries": ceph.libraries, "disk_bytes": DISK_BYTES}
    (folder / "ceph.conf").write_text(SETTINGS.format(**facts))
    _make_keys(ceph)
    ceph.run("monmaptool", "--create", "--addv", "a", f"[v1:127.0.0.1:{mon_port}]", "--fsid", fsid, "monmap")
    ceph.run("ceph-mon", "--mkfs", "-i", "a", "--monmap", "monmap", "--keyring", "keyring")
    with ExitStack() as stack:
        ceph.start(stack, "ceph-mon", "-i", "a", "--public-addr", f"127.0.0.1:{mon_port}")
        ceph.run("ceph", "--connect-timeout", "60", "osd", "create")
        ceph.run("ceph-osd", "--mkfs", "-i", "0")
        ceph.start(stack, "ceph-osd", "-i", "0")
        gateway = ceph.start(stack, "radosgw", "-n", "client.admin")
        _wait_for(port, gateway, folder)
        user = ("--uid=tester", "--display-name=tester", f"--access-key={access_key}", f"--secret-key={secret_key}")
        ceph.run("radosgw-admin", "-n", "client.admin", "user", "create", *user)
        yield port


def _make_keys(ceph: Ceph) -> None:
    all_of = {part: ("--cap", part, "allow *") for part in ("mon", "osd")}
    ceph.run("ceph-authtool", "--create-keyring", "keyring", "--gen-key", "-n", "mon.", *all_of["mon"])
    for name in ("client.admin", "osd.0"):
        ceph.run("ceph-authtool", "keyring", "--gen-key", "-n", name, *all_of["mon"], *all_of["osd"])


def _free_ports() -> tuple[int, int]:
    with socket.socket() as first, socket.socket() as second:
        for one in (first, second):
            one.bind(("127.0.0.1", 0))
        return int(first.getsockname()[1]), int(second.getsockname()[1])


def _wait_for(port: int, gateway: "subprocess.Popen[bytes]", folder: Path) -> None:
    deadline_s = time.monotonic() + START_S
    while time.monotonic() < deadline_s:
        assert gateway.poll() is None, (folder / "radosgw.out").read_text()[-2000:]
        try:
            if urllib3.request("GET", f"http://127.0.0.1:{port}/", retries=False).status == 200:
                return
        except urllib3.exceptions.HTTPError:
            pass
        time.sleep(0.2)
    raise TimeoutError(f"Ceph did not answer within {START_S:g} s")
