"""Only whole checkpoints of this very training are taken up."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import pytest

from reelspace.core.errors import DiskFull, UserError
from reelspace.train.checkpoint_manifest import read_manifest
from reelspace.train.loop import Loop
from tests.unit.train.loops import make_checkpoints, make_loop


def save(loop: Loop, *steps: int) -> Path:
    log = loop.place.train_log
    log.begin(None)
    for step in steps:
        loop.place.checkpoints.save(loop.engine, step, log.path)
    return loop.place.checkpoints.root


def steps_of(root: Path) -> list[int]:
    return sorted(int(path.name.removeprefix("step-")) for path in root.iterdir())


def newest_step(loop: Loop) -> int | None:
    found = loop.place.checkpoints.newest(loop.engine)
    return None if found is None else found.facts.step


def test_a_flipped_bit_or_a_torn_manifest_is_passed_over_and_the_one_before_is_taken(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    loop = make_loop(tmp_path)
    root = save(loop, 2, 4)
    assert newest_step(loop) == 4
    path = root / "step-00000004" / "torch.pt"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert newest_step(loop) == 2
    assert "torch.pt is damaged" in capfd.readouterr().err
    (root / "step-00000002" / "manifest.json").write_text('{"step": 2')
    assert newest_step(loop) is None
    assert "its manifest does not read" in capfd.readouterr().err


def test_a_file_that_is_gone_or_cut_short_is_noticed(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    loop = make_loop(tmp_path)
    root = save(loop, 2, 4)
    path = root / "step-00000004" / "torch.pt"
    path.write_bytes(path.read_bytes()[:-1])
    (root / "step-00000002" / "torch.pt").unlink()
    assert newest_step(loop) is None
    assert "torch.pt is gone" in capfd.readouterr().err


def test_a_checkpoint_that_was_being_written_when_the_process_died_is_invisible(tmp_path: Path):
    loop = make_loop(tmp_path)
    root = save(loop, 2)
    unfinished = tmp_path / "unfinished" / "step-00000004"
    shutil.copytree(root / "step-00000002", unfinished)
    (unfinished / "manifest.json").unlink()
    assert newest_step(loop) == 2
    loop.place.checkpoints.save(loop.engine, 4, loop.place.train_log.path)
    assert newest_step(loop) == 4


def test_the_manifest_says_where_the_training_stood(tmp_path: Path):
    root = save(make_loop(tmp_path), 2)
    facts = read_manifest(root / "step-00000002")
    assert (facts.step, facts.data_cursor, facts.world_size, facts.layout, facts.fingerprint) == (2, 2, 1, "torch", {"data": "same"})
    assert set(facts.files) == {"torch.pt", "train_log.jsonl"}


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_only_the_newest_checkpoints_are_kept(tmp_path: Path, keep: int):
    loop = make_loop(tmp_path)
    loop = replace(loop, place=replace(loop.place, checkpoints=replace(loop.place.checkpoints, keep=keep)))
    assert steps_of(save(loop, 2, 4, 6, 8)) == [2, 4, 6, 8][-keep:]


# Losses of steps 1 to 12, a checkpoint every second step.
@pytest.mark.parametrize(
    ("losses", "kept"),
    [
        ([9, 9, 1, 2, 5, 5, 5, 5, 5, 5, 5, 5], [4, 10, 12]),
        ([9, 9, 8, 8, 7, 7, 6, 6, 5, 5, 4, 4], [10, 12]),
        # The mean counts, not the lowest.
        ([9, 9, 0, 20, 5, 5, 6, 6, 7, 7, 8, 8], [6, 10, 12]),
        # Of equals the newest.
        ([3, 3, 3, 3, 9, 9, 9, 9, 9, 9, 9, 9], [4, 10, 12]),
        ([9, 9, 1, None, 5, 5, 6, 6, 7, 7, 8, 8], [6, 10, 12]),
        ([None] * 12, [10, 12]),
    ],
)
def test_the_checkpoint_with_the_lowest_mean_loss_is_kept_beside_the_newest_also_after_resumes(
    tmp_path: Path, losses: list[float | None], kept: list[int]
):
    log = tmp_path / "train_log.jsonl"
    for step, loss in enumerate(losses, start=1):
        with log.open("a") as file:
            file.write(json.dumps({"step": step, "loss": loss}) + "\n")
        if step % 2 == 0:
            # Each with new objects, as after a resume: only the manifests tell what was best.
            make_checkpoints(tmp_path).save(make_loop(tmp_path).engine, step, log)
    root = tmp_path / "checkpoints"
    assert steps_of(root) == kept
    if not any(losses):
        assert read_manifest(root / "step-00000012").loss is None
    elif None not in losses:
        assert read_manifest(root / "step-00000012").loss == fmean(losses[10:])  # type: ignore[type-var]


def test_without_keep_best_the_best_goes_with_the_others(tmp_path: Path):
    log = tmp_path / "train_log.jsonl"
    checkpoints = replace(make_checkpoints(tmp_path), keep=1, keep_best=False)
    for step, loss in ((2, 1.0), (4, 5.0)):
        log.write_text(json.dumps({"step": step, "loss": loss}) + "\n")
        checkpoints.save(make_loop(tmp_path).engine, step, log)
    assert steps_of(checkpoints.root) == [4]


def test_what_a_resume_passed_over_goes_when_the_training_saves_again(tmp_path: Path):
    loop = make_loop(tmp_path)
    root = save(loop, 2, 4, 5)
    for step in (4, 5):
        (root / f"step-0000000{step}" / "torch.pt").write_bytes(b"")
    assert newest_step(loop) is None
    loop.place.checkpoints.save(loop.engine, 3, loop.place.train_log.path)
    assert (steps_of(root), newest_step(loop)) == ([3], 3)


def test_every_file_and_directory_of_a_checkpoint_is_on_the_disk_before_it_appears(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    told: list[tuple[str, str]] = []
    fsync, rename = os.fsync, os.rename

    def noted_fsync(descriptor: int) -> None:
        told.append(("synced", Path(os.readlink(f"/proc/self/fd/{descriptor}")).name))
        fsync(descriptor)

    def noted_rename(source: Path, target: Path) -> None:
        told.append(("appears", target.name))
        rename(source, target)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(os, "rename", noted_rename)
    save(make_loop(tmp_path), 2)
    appears = told.index(("appears", "step-00000002"))
    assert {name for _, name in told[:appears]} == {"torch.pt", "train_log.jsonl", "manifest.json", "step-00000002"}
    assert told[appears + 1 :] == [("synced", "checkpoints")]


def test_a_checkpoint_of_another_engine_or_other_data_is_refused_and_named(tmp_path: Path):
    loop = make_loop(tmp_path)
    save(loop, 2)
    with pytest.raises(UserError, match=r"after 2 steps, is of a training with other data or settings \(data was same, is other\)"):
        make_checkpoints(tmp_path, "other").newest(loop.engine)
    loop.engine.layout = "deepspeed-zero1-2"
    with pytest.raises(UserError, match="step-00000002, after 2 steps, was written as torch, this training runs as deepspeed-zero1-2"):
        loop.place.checkpoints.newest(loop.engine)


def test_a_disk_that_fills_up_while_saving_leaves_the_checkpoint_before(tmp_path: Path):
    loop = make_loop(tmp_path)
    save(loop, 2)
    with pytest.raises(DiskFull, match="free space"):
        loop.place.checkpoints.save(_FullDisk(loop), 4, loop.place.train_log.path)  # type: ignore[arg-type]
    assert newest_step(loop) == 2


class _FullDisk:
    """An engine whose files go to the one device that is always full."""

    layout = "torch"

    def __init__(self, loop: Loop) -> None:
        self._engine = loop.engine

    def save(self, directory: Path) -> None:
        (directory / "torch.pt").symlink_to("/dev/full")
        self._engine.save(directory)
