import inspect
import json

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader
from typer.testing import CliRunner

from reelspace.cli.evaluate import app
from reelspace.evaluate.mteb_adapter import TeacherEncoder
from reelspace.model.checkpoint import load_model, save_model
from reelspace.model.model import ReelModel
from reelspace.model.settings import ModelSettings
from reelspace.model.tokenizer import Tokenizer

TEXTS = ["best camera", "ramen near me", "相机", "camera ramen", ""]


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    torch.manual_seed(0)
    place = tmp_path_factory.mktemp("teacher")
    settings = ModelSettings(width=32, num_heads=2, picture_layers=1, text_layers=1, fusion_layers=1, vocabulary_size=100, text_length=8)
    save_model(place, ReelModel(settings), Tokenizer.train(TEXTS * 3, 100, 8))
    return place


def test_batches_and_plain_texts_give_the_models_own_unit_vectors_in_order(directory):
    model, tokenizer, _ = load_model(directory)
    ids, mask = (torch.from_numpy(part) for part in tokenizer.encode_BL(TEXTS))
    expected = model.encode_text(ids, mask).detach().numpy()
    encoder = TeacherEncoder(directory)
    # The default collation of torch gives what mteb's loaders give: {"text": [...]} per batch.
    loader = DataLoader([{"text": text} for text in TEXTS], batch_size=2)
    task = {"task_metadata": object(), "hf_split": "test", "hf_subset": "default", "prompt_type": "query"}
    for found in (encoder.encode(loader, **task, batch_size=3), encoder.encode(TEXTS), encoder.encode(loader, **task, normalize=True)):
        assert found.dtype == np.float32
        assert np.allclose(found, expected, atol=1e-6)
        # The last text is empty: nothing to encode is the zero vector, which is like no other.
        assert np.allclose(np.linalg.norm(found, axis=1), [1, 1, 1, 1, 0], atol=1e-5)
    assert encoder.encode([]).shape == (0, model.settings.dimension)


def test_similarities_are_cosines_of_arrays_and_tensors(directory):
    encoder = TeacherEncoder(directory)
    one, other = np.array([[3.0, 4.0], [1.0, 0.0]], dtype=np.float32), np.array([[4.0, 3.0], [0.0, 2.0]], dtype=np.float32)
    expected = np.array([[0.96, 0.8], [0.8, 0.0]])
    assert np.allclose(encoder.similarity(one, torch.from_numpy(other)).numpy(), expected)
    assert np.allclose(encoder.similarity_pairwise(one, other).numpy(), np.diag(expected))
    assert np.allclose(encoder.similarity(one[0], other).numpy(), expected[:1])


def test_the_encoder_has_what_the_protocol_asks_for(directory):
    encoder = TeacherEncoder(directory)
    parameters = inspect.signature(encoder.encode).parameters
    assert {"inputs", "task_metadata", "hf_split", "hf_subset", "prompt_type", "kwargs"} <= set(parameters)
    assert list(inspect.signature(TeacherEncoder.__init__).parameters)[:3] == ["self", "model_name", "revision"]
    assert encoder.mteb_model_meta is None


def test_the_command_runs_a_benchmark_folder_on_a_model_directory(directory, tmp_path):
    """Documents equal to the queries are found first, whatever the weights; the others are judged by nobody."""
    (tmp_path / "qrels").mkdir()
    for name, key in (("corpus", "d"), ("queries", "q")):
        rows = [{"_id": f"{key}{row}", "text": text} for row, text in enumerate(TEXTS[:4])]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "qrels" / "dev.tsv").write_text("".join(f"q{row}\td{row}\t1\n" for row in range(4)))
    result = CliRunner().invoke(app, ["beir", "--teacher", str(directory), "--data", str(tmp_path), "--split", "dev"])
    assert result.exit_code == 0, result.output
    figures = json.loads(result.stdout)
    assert (figures["ndcg_at_10"], figures["num_queries"], figures["num_documents"]) == (1.0, 4, 4)
