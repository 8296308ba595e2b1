"""Volumes and secrets: a claim, shared memory, a secret as variable and file, a config map, a variable."""

from kfp import dsl, kubernetes

from tests.pipelines.shapes.base import IMAGE, Expected, uncached

EXPECTED = Expected(
    outputs={"look.Output": "s3cret s3cret blue kept 64"},
    needs=("claim shape-claim", "secret shape-secret with password=s3cret", "config map shape-config with colour=blue"),
)


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def look() -> str:
    """Read each of them; write to the claim and to shared memory."""
    import os
    import pathlib

    pathlib.Path("/claim/part/kept").write_text("kept")
    pathlib.Path("/dev/shm/probe").write_bytes(bytes(1 << 20))
    size = os.statvfs("/dev/shm")
    words = [os.environ["PASSWORD"], pathlib.Path("/secret/password").read_text(), os.environ["COLOUR"]]
    words += [pathlib.Path("/claim/part/kept").read_text(), str(size.f_blocks * size.f_frsize >> 20)]
    return " ".join(words)


@dsl.pipeline(name="shape-volumes")
def pipeline() -> None:
    """One task that sees all of them."""
    task = uncached(look()).set_env_variable("MODE", "quiet")
    kubernetes.mount_pvc(task, "shape-claim", "/claim/part", sub_path="part")
    kubernetes.empty_dir_mount(task, "shm", "/dev/shm", medium="Memory", size_limit="64Mi")
    kubernetes.use_secret_as_env(task, "shape-secret", {"password": "PASSWORD"})
    kubernetes.use_secret_as_volume(task, "shape-secret", "/secret")
    kubernetes.use_config_map_as_env(task, "shape-config", {"colour": "COLOUR"})
