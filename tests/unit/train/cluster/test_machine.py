"""One machine's part in a stored training, where there is nothing to train: the words it leaves, and how it ends."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from reelspace.core.artifacts import write_artifact
from reelspace.core.errors import ArtifactMissing, InternalError, SettingError
from reelspace.core.program import run_main
from reelspace.core.store import open_store
from reelspace.train.__main__ import main
from reelspace.train.cluster.machine import Machine, train_from_store
from reelspace.train.cluster.stored_job import StoredJob
from reelspace.train.cluster.training_files import TrainingFiles
from reelspace.train.job import TrainJob
from reelspace.train.roster import Ending
from reelspace.train.settings import DistillSettings, TrainSettings

KEY = "e" * 64


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TrainingFiles:
    monkeypatch.setenv("REELSPACE_STORE", str(tmp_path / "store"))
    return TrainingFiles(open_store(str(tmp_path / "store")), KEY)


def test_a_machine_that_finds_the_model_in_the_store_has_nothing_to_do(files: TrainingFiles, tmp_path: Path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "summary.json").write_text("{}")
    files.write_outputs(tmp_path / "model")
    files.end(1, Ending(75, "TemporaryError", "an earlier try"))
    train_from_store(KEY, Machine(1, tmp_path / "scratch"))
    assert files.endings() == {1: Ending(0)}
    assert not (tmp_path / "scratch").exists()


def test_the_first_process_of_a_pod_is_soon_there_to_hear_sigterm_which_the_kernel_keeps_from_it_until_then():
    # Loading torch takes seconds, in which a stopped pod would learn nothing and be killed minutes later.
    code = "import sys, reelspace.train.__main__; print([name for name in ('torch', 'deepspeed', 'polars') if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_a_machine_leaves_word_of_an_input_that_is_gone(files: TrainingFiles, tmp_path: Path):
    files.write_job(StoredJob(kind="pretrain", shards="1" * 64, labels="2" * 64, pretrain=TrainSettings()))
    with pytest.raises(ArtifactMissing, match="artifact 2222"):
        train_from_store(KEY, Machine(0, tmp_path / "scratch"))
    verdict = files.verdict()
    assert verdict is not None
    assert (verdict.exit_code, verdict.error) == (2, "ArtifactMissing")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--job-from-store", KEY, "--scratch", "scratch"], f"no training under the key {KEY[:12]}"),
        (["--job-from-store", KEY, "--run", "run"], "expected --config and --run, or --job-from-store and --scratch"),
        ([], "expected --config and --run, or --job-from-store and --scratch"),
    ],
)
def test_a_machine_without_a_training_or_with_half_the_options_exits_2_in_one_line(
    files: TrainingFiles, options: list[str], says: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(sys, "argv", ["train", *options])
    assert run_main(main) == 2
    told = capsys.readouterr().err
    assert says in told
    assert told.count("\n") == 1


def test_a_machine_without_a_store_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("REELSPACE_STORE", raising=False)
    with pytest.raises(SettingError, match="REELSPACE_STORE is not set"):
        train_from_store(KEY, Machine(0, tmp_path))


def test_the_machine_that_met_a_wrong_input_names_the_cause_and_else_the_first(files: TrainingFiles):
    assert files.verdict() is None
    files.end(1, Ending(75, "TemporaryError", "lost another"))
    assert files.verdict() == Ending(75, "TemporaryError", "lost another")
    files.end(0, Ending(70, "InternalError", "a bug"))
    assert files.verdict() == Ending(70, "InternalError", "a bug")
    files.end(2, Ending(2, "UserError", "no such model"))
    assert files.verdict() == Ending(2, "UserError", "no such model")
    files.forget_endings_from(2)
    assert set(files.endings()) == {0, 1}


def test_a_job_becomes_ids_and_on_another_machine_directories_again(files: TrainingFiles, tmp_path: Path):
    names = ("labels", "teacher", "teacher_outputs")
    given = {name: tmp_path / name for name in names}
    about = {"kind": "distill", "store": files.store.url, "shards": "1" * 64, "distill": DistillSettings(steps=7)}
    job = TrainJob.model_validate({**about, **given, "out": tmp_path})
    with pytest.raises(InternalError, match="cannot be stored"):
        StoredJob.of(job, {"labels": "2" * 64})
    ids = {}
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
        ids[name] = write_artifact(files.store, name, tmp_path / name, parents=(), code="", settings={}).id
    files.write_job(StoredJob.of(job, {**ids, "shards": "1" * 64}))
    fetched = files.read_job().fetch(files.store, tmp_path / "there", tmp_path / "there" / "out")
    assert {name: (getattr(fetched, name) / "file").read_text() for name in names} == {name: name for name in names}
    moved = {name: getattr(fetched, name) for name in names}
    assert fetched == TrainJob.model_validate({**about, **moved, "out": tmp_path / "there" / "out"})
    assert json.loads(files.store.get(f"runs/{KEY}/state/training/job.json"))["distill"]["steps"] == 7
