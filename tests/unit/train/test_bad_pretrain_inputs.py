"""Bad inputs of pretraining that a newcomer tries: refused before the first step in one line that names the key, or said and counted."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer as Engine

from reelspace.core.artifacts import open_artifact
from reelspace.core.errors import SettingError, UserError
from reelspace.core.rng import rng, uniform_BN
from reelspace.core.settings import read
from reelspace.core.store import open_store
from reelspace.media.dataset import ShardReader
from reelspace.model.presets import preset
from reelspace.model.settings import ModelSettings
from reelspace.train.data import load_data
from reelspace.train.input_checks import check_tokens, warn_of_labels
from reelspace.train.job import TrainJob, check_job
from reelspace.train.settings import TrainSettings
from tests.unit.train.builders import MODEL, make_data, make_tokenizer, model_settings
from tests.unit.train.worlds import NUM_WORKS, write_world


def job(settings: TrainSettings) -> TrainJob:
    return TrainJob(kind="pretrain", store="store", shards="0" * 64, labels=Path("labels"), out=Path("out"), pretrain=settings)


# 12
def test_a_tokenizer_with_an_id_that_the_model_has_no_row_for_is_refused_by_entry():
    tokenizer = make_tokenizer(make_data())
    largest = max(tokenizer.vocabulary.values())
    check_tokens(tokenizer, largest + 1)
    with pytest.raises(UserError, match=rf"expected ids below the model's vocabulary_size = {largest}, got {largest} for the entry"):
        check_tokens(tokenizer, largest)


# 12
def test_a_tokenizer_with_holes_in_its_ids_is_judged_by_the_largest_and_not_by_their_number(tmp_path: Path):
    tokenizer = make_tokenizer(make_data())
    tokenizer.save(tmp_path / "tokenizer.json")
    facts = json.loads((tmp_path / "tokenizer.json").read_text())
    entry = max(facts["model"]["vocab"], key=lambda text: facts["model"]["vocab"][text])
    facts["model"]["vocab"][entry] = 70_000
    (tmp_path / "tokenizer.json").write_text(json.dumps(facts))
    assert Engine.from_file(str(tmp_path / "tokenizer.json")).get_vocab_size() == tokenizer.size
    with pytest.raises(UserError, match="got 70000"):
        check_tokens(type(tokenizer).load(tmp_path / "tokenizer.json", 8), model_settings(tokenizer).vocabulary_size)


# 13
def test_a_text_longer_than_the_model_reads_is_cut():
    tokenizer = make_tokenizer(make_data())
    ids_BL, is_present_BL = tokenizer.encode_BL(["camera ramen " * 5_000, "camera"])
    assert ids_BL.shape == (2, MODEL.text_length)
    assert is_present_BL[0].all()
    assert ids_BL[0, 0] == ids_BL[1, 0]


# 13
@pytest.mark.parametrize("length", [0, -1, 3, 2049])
def test_a_text_length_out_of_range_is_refused(length: int):
    with pytest.raises(SettingError, match=r"text_length.*got -?\d+"):
        read(ModelSettings, {"text_length": length})


# 14
@pytest.mark.parametrize("num_works", [0, 1])
def test_a_corpus_of_no_work_or_one_is_refused(tmp_path: Path, num_works: int):
    world = write_world(tmp_path)
    reader = ShardReader(open_artifact(open_store(world.store), world.shards))
    until = datetime(2025, 1, 1, tzinfo=UTC) + timedelta(days=num_works)
    with pytest.raises(UserError, match=rf"expected at least 2 works uploaded before {until.date()}.*got {num_works}"):
        load_data(reader, world.labels_directory, TrainSettings(train_until=until), preset("tiny"))
    two = load_data(reader, world.labels_directory, TrainSettings(train_until=until + timedelta(days=2 - num_works)), preset("tiny"))
    assert len(two.ids_N) == 2 < NUM_WORKS


# 15
def test_labels_that_are_the_same_for_all_works_are_told_in_the_log_and_others_are_not(capsys: pytest.CaptureFixture[str]):
    data = make_data()
    warn_of_labels(data)
    warn_of_labels(make_data(crowd=False))
    assert capsys.readouterr().err == ""
    alike_NK = np.zeros_like(data.labels_NK)
    # With weights that differ: a label is the same label however sure it is.
    alike_NK[:, 1] = np.linspace(0.1, 1, len(alike_NK))
    warn_of_labels(replace(data, labels_NK=alike_NK))
    (line,) = map(json.loads, capsys.readouterr().err.splitlines())
    assert (line["event"], line["works"], line["labels"]) == ("labels_all_alike", 20, ["ramen"])
    warn_of_labels(replace(data, labels_NK=np.zeros_like(alike_NK)))
    assert "labels_all_alike" in capsys.readouterr().err


# 16
@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("0", "'optimizer.learning_rate': .*greater than 0, got 0"),
        ("-1", "'optimizer.learning_rate': .*greater than 0, got -1"),
        ("1e9", "'optimizer.learning_rate': .*less than or equal to 1, got 1000000000.0"),
        ("NaN", "NaN is not a JSON number"),
        ("1e999", "1e999 is too large for a number"),
        ('"fast"', "'optimizer.learning_rate': .*valid number, got \"fast\""),
        ("null", "'optimizer.learning_rate': .*valid number, got null"),
    ],
)
def test_a_learning_rate_that_is_none_is_refused_in_a_file_and_on_the_command_line(text: str, says: str):
    with pytest.raises(SettingError, match=says):
        read(TrainSettings, f'{{"optimizer": {{"learning_rate": {text}}}}}')
    with pytest.raises(SettingError, match=says):
        read(TrainSettings, "{}", [f"optimizer.learning_rate={text}"])


# 17
@pytest.mark.parametrize(("batch_size", "num_processes", "micro_batches"), [(9, 2, 1), (8, 1, 3), (8, 2, 8), (12, 3, 8)])
def test_a_batch_that_does_not_divide_among_processes_and_their_parts_is_refused(batch_size: int, num_processes: int, micro_batches: int):
    settings = TrainSettings(batch_size=batch_size, num_processes=num_processes, micro_batches=micro_batches)
    says = rf"batch_size is {batch_size}, expected a multiple of num_processes = {num_processes} times micro_batches = {micro_batches}"
    with pytest.raises(UserError, match=says):
        check_job(job(settings))
    check_job(job(settings.model_copy(update={"batch_size": num_processes * micro_batches * 2})))


# 17
def test_a_batch_is_divided_by_the_processes_that_there_are_and_not_by_those_of_the_settings():
    """The platform may start more than the settings say (PET_NNODES, PET_NPROC_PER_NODE); no work is left out quietly."""
    settings = TrainSettings(batch_size=8, num_processes=2)
    check_job(job(settings), 4)
    with pytest.raises(UserError, match=r"batch_size is 8, expected a multiple of num_processes = 3"):
        check_job(job(settings), 3)


# 18
@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"lerning_rate": 1e-3}, "'lerning_rate' is unknown, the nearest is 'optimizer.learning_rate'"),
        ({"optimizer": {"learning_rat": 1e-3}}, "'optimizer.learning_rat' is unknown, the nearest is 'optimizer.learning_rate'"),
        ({"precision": "fp16"}, "'precision'.*'fp32', 'bf16_autocast', 'bf16'.*got \"fp16\""),
        ({"precision": ["bf16", "fp32"]}, "'precision'"),
        ({"fp16": True, "bf16": True}, "'fp16' is unknown.*'bf16' is unknown"),
    ],
)
def test_a_misspelt_key_and_two_precisions_are_refused(settings: dict[str, Any], says: str):
    with pytest.raises(SettingError, match=says):
        read(TrainSettings, settings)


# 18
def test_a_key_given_twice_with_different_values_is_refused():
    with pytest.raises(SettingError, match="'precision' is given twice"):
        read(TrainSettings, '{"precision": "fp32", "precision": "bf16"}')


# 20
@pytest.mark.parametrize("seed", [-1, 2**63, 2**64, 1.5, "7"])
def test_a_seed_out_of_range_is_refused(seed: object):
    with pytest.raises(SettingError, match="'seed'"):
        read(TrainSettings, {"seed": seed})


# 20
def test_every_seed_that_is_taken_draws_and_a_missing_one_is_written_down():
    largest = read(TrainSettings, {"seed": 2**63 - 1}).seed
    torch.manual_seed(largest)
    draws = [rng(seed, "test").random() for seed in (0, 1, largest - 1, largest)]
    draws += [float(uniform_BN(seed, 0, np.array([7]), "test", 1)[0, 0]) for seed in (0, 1, largest - 1, largest)]
    assert len(set(draws)) == 8
    assert json.loads(read(TrainSettings, {}).model_dump_json())["seed"] == 0


@pytest.mark.parametrize("address", ["localhost:5000", "ftp://host", "http://", "http://user:secret@host", "http://host?token=1", ""])
def test_an_address_of_mlflow_that_is_none_or_holds_a_secret_is_refused(address: str):
    with pytest.raises(SettingError, match="'mlflow'"):
        read(TrainSettings, {"mlflow": address})
    assert read(TrainSettings, {"mlflow": "https://host:5000/mlflow"}).mlflow


def test_event_files_go_to_a_directory():
    with pytest.raises(UserError, match="tensorboard is s3://bucket/logs, expected a directory"):
        check_job(job(TrainSettings(tensorboard="s3://bucket/logs")))
