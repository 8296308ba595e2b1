"""A lock written from what a push answers."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from components import images
from pipelines.compiling.images_lock import read_images_lock
from pipelines.compiling.push_images import lock_text

from .bed import IMAGE, ROOT, Bed

NAMES = (images.SEARCH, images.SIGNALS, images.TRAIN)


def push(*given: str) -> "subprocess.CompletedProcess[str]":
    words = [sys.executable, "-m", "pipelines.compiling.push_images", *given]
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.cluster
def test_pushed_images_are_locked_by_the_digest_of_what_lies_there(bed: Bed, folder: Path) -> None:
    lock = folder / "prod.lock"
    missing = push(f"--to=oci:{folder}/none", f"--lock={lock}")
    assert missing.returncode == 2, missing.stderr
    assert NAMES[0] in missing.stderr
    assert not lock.exists()
    for name in NAMES:
        bed.podman("tag", IMAGE, name)
        (folder / "registry" / name).parent.mkdir(parents=True, exist_ok=True)
    pushed = push(f"--to=oci:{folder}/registry", f"--lock={lock}")
    assert pushed.returncode == 0, pushed.stderr
    for name in NAMES:
        layout = folder / "registry" / name.partition(":")[0]
        (entry,) = json.loads((layout / "index.json").read_text())["manifests"]
        manifest = (layout / "blobs" / "sha256" / entry["digest"].removeprefix("sha256:")).read_bytes()
        assert read_images_lock(lock).images[name] == f"sha256:{hashlib.sha256(manifest).hexdigest()}"


def test_a_lock_names_the_registry_before_every_digest(tmp_path: Path) -> None:
    digest = f"sha256:{'5' * 64}"
    lock = tmp_path / "prod.lock"
    lock.write_text(lock_text({images.TRAIN: digest}, "registry.example/video"))
    assert read_images_lock(lock).reference(images.TRAIN) == f"registry.example/video/reelspace/python-train@{digest}"
