"""A model on disk."""

from pathlib import Path

import torch

from reelspace.model.checkpoint import load_model, save_model, space_id
from reelspace.model.model import ReelModel
from reelspace.model.settings import ModelSettings
from reelspace.model.tokenizer import Tokenizer


def test_a_loaded_model_gives_the_same_vectors(tmp_path: Path) -> None:
    torch.manual_seed(0)
    tokenizer = Tokenizer.train(["best camera", "相机"] * 3, 100, 8)
    model = ReelModel(
        ModelSettings(width=32, num_heads=2, picture_layers=1, text_layers=1, fusion_layers=1, vocabulary_size=100, text_length=8)
    ).eval()
    save_model(tmp_path, model, tokenizer)
    loaded, loaded_tokenizer, settings = load_model(tmp_path)
    ids_BL, mask_BL = (torch.from_numpy(part) for part in loaded_tokenizer.encode_BL(["camera 相机"]))
    assert settings == model.settings
    torch.testing.assert_close(loaded.encode_text(ids_BL, mask_BL), model.encode_text(ids_BL, mask_BL), rtol=0, atol=0)


def test_other_weights_are_another_space(tmp_path: Path) -> None:
    tokenizer = Tokenizer.train(["best camera"] * 3, 100, 8)
    settings = ModelSettings(width=32, num_heads=2, picture_layers=1, text_layers=1, fusion_layers=1, vocabulary_size=100, text_length=8)
    for name in ("a", "b"):
        save_model(tmp_path / name, ReelModel(settings), tokenizer)
    assert space_id(tmp_path / "a") != space_id(tmp_path / "b")
    assert len(space_id(tmp_path / "a")) == 16
