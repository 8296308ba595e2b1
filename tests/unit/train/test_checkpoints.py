"""Only whole checkpoints of this very training are taken up."""

import json
import shutil
from pathlib import Path

import pytest

from reelspace.core.errors import DiskFull, UserError
from reelspace.train.checkpoints import CheckpointFacts
from reelspace.train.loop import Loop
from tests.unit.train.loops import make_checkpoints, make_loop


def save(loop: Loop, *steps: int) -> Path:
    log = loop.place.train_log
    log.begin(None)
    for step in steps:
        loop.place.checkpoints.save(loop.engine, step, log.path)
    return loop.place.checkpoints.root


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
    facts = CheckpointFacts(**json.loads((root / "step-00000002" / "manifest.json").read_text()))
    assert (facts.step, facts.data_cursor, facts.world_size, facts.layout, facts.fingerprint) == (2, 2, 1, "torch", "same data")
    assert set(facts.files) == {"torch.pt", "train_log.jsonl"}


def test_only_the_last_two_checkpoints_are_kept(tmp_path: Path):
    root = save(make_loop(tmp_path), 2, 4, 6)
    assert sorted(path.name for path in root.iterdir()) == ["step-00000004", "step-00000006"]


def test_a_checkpoint_of_another_engine_or_other_data_is_refused_and_named(tmp_path: Path):
    loop = make_loop(tmp_path)
    save(loop, 2)
    with pytest.raises(UserError, match="other data or settings"):
        make_checkpoints(tmp_path, "other data").newest(loop.engine)
    loop.engine.layout = "deepspeed-zero1-2"
    with pytest.raises(UserError, match="step-00000002 was written as torch, this training runs as deepspeed-zero1-2"):
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
