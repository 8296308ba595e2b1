"""The images that `make images` builds: what is in them, as a step meets it. Skipped where they were not built."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from reelspace.core.digest import code_digest

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
TARGETS = ("signals", "train", "serving", "search")
# What a step, or a server, of the image loads.
LOADED = {
    "signals": ("kfp.dsl.executor_main", "reelspace.steps.import_tables", "reelspace.steps.preprocess_signals"),
    "train": ("kfp.dsl.executor_main", "reelspace.steps.pretrain", "reelspace.steps.export", "reelspace.steps.embed"),
    "serving": ("reelspace.serving.keeper", "reelspace.serving.preprocess"),
    "search": ("kfp.dsl.executor_main", "reelspace.steps.build_index", "reelspace.steps.upsert"),
}
LOOK = """
import importlib, os, pathlib
os.environ["_KFP_RUNTIME"] = "true"
for name in {names}:
    importlib.import_module(name)
from reelspace.core.digest import code_digest
pip = pathlib.Path("/etc/pip.conf")
print(os.getuid(), code_digest("reelspace.core.steps"), len(pip.read_bytes()) if pip.exists() else 0)
"""


def instructions(target: str) -> list[str]:
    """The lines of a target, a continued one joined."""
    text = re.sub(r"\\\n\s*", "", DOCKERFILE)
    (stage,) = re.findall(rf"^FROM \S+ AS {target}\n(.*?)(?=^FROM|\Z)", text, flags=re.MULTILINE | re.DOTALL)
    return [line for line in stage.splitlines() if line and not line.startswith("#")]


def test_every_target_ends_as_a_user_without_rights() -> None:
    for target in TARGETS:
        assert instructions(target)[-1] == "USER 65532"


def test_nothing_is_installed_that_no_lock_names_by_its_hash() -> None:
    commands = re.findall(r"pip (?:install|wheel) [^&\n]*", re.sub(r"\\\n\s*", "", DOCKERFILE))
    assert len(commands) >= 2 * len(TARGETS)
    for command in commands:
        assert "--require-hashes" in command or "--no-index" in command, command
    for lock in re.findall(r"-r (requirements/\S+)", DOCKERFILE):
        assert "--hash=sha256:" in (ROOT / lock).read_text()


def test_the_build_sees_all_that_it_copies_and_no_more_of_the_checkout() -> None:
    copied = {word for line in re.findall(r"^COPY (?!--from)(.*)", DOCKERFILE, re.MULTILINE) for word in line.split()[:-1]}
    shown = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert {name.split("/")[0] for name in copied} == shown


def test_make_images_takes_the_first_tool_and_passes_the_base(tmp_path: Path) -> None:
    words = ["make", "--dry-run", "images", "IMAGE_TOOL=buildah", "BASE=registry.example/python:3.12", "IMAGE_TARGETS=search"]
    told = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "buildah build --build-arg BASE=registry.example/python:3.12" in told
    for tool in ("podman", "buildah"):
        (tmp_path / tool).write_text("#!/bin/sh\n")
        (tmp_path / tool).chmod(0o755)
    for name in ("make", "bash", "sh"):
        (tmp_path / name).symlink_to(shutil.which(name) or name)
    told = subprocess.run(
        ["make", "--dry-run", "images"], cwd=ROOT, env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=True
    ).stdout
    assert re.search(r"buildah build +--target \$target", told)


@pytest.mark.cluster
@pytest.mark.parametrize("target", TARGETS)
def test_an_image_holds_its_steps_and_runs_them_read_only_without_network(target: str) -> None:
    image = f"reelspace/python-{target}:0.1.0"
    if not shutil.which("podman"):
        pytest.skip("programs of the system are absent: apt-get install --no-install-recommends podman")
    if subprocess.run(["podman", "image", "exists", image], capture_output=True, check=False).returncode:
        pytest.skip(f"podman has no image {image}: make images")
    limits = ["--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--network=none"]
    program = LOOK.format(names=LOADED[target])
    told = subprocess.run(
        ["podman", "run", "--rm", *limits, image, "python3", "-c", program], capture_output=True, text=True, timeout=300, check=False
    )
    assert told.returncode == 0, told.stderr
    user, digest, pip_bytes = told.stdout.split()
    assert (user, pip_bytes) == ("65532", "0")
    assert digest == code_digest("reelspace.core.steps")  # the wheel holds every file that a step's key depends on
