"""The tokenizer: deterministic, one token per Chinese character, fixed length, tokens that know their place."""

from pathlib import Path

import pytest
from tokenizers import Tokenizer as Engine
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer

from reelspace.core.errors import UserError
from reelspace.model.tokenizer import MASK, NUM_SPECIAL, PAD, UNKNOWN, Tokenizer

TEXTS = ["best camera lens", "camera review", "相机推荐", "微单相机怎么选", "lens tutorial"] * 3


def make_tokenizer(length: int = 8) -> Tokenizer:
    return Tokenizer.train(TEXTS, 200, length)


def test_training_twice_gives_the_same_file(tmp_path: Path) -> None:
    make_tokenizer().save(tmp_path / "a.json")
    make_tokenizer().save(tmp_path / "b.json")
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def test_a_loaded_tokenizer_gives_the_same_ids(tmp_path: Path) -> None:
    trained = make_tokenizer()
    trained.save(tmp_path / "tokenizer.json")
    loaded = Tokenizer.load(tmp_path / "tokenizer.json", 8)
    assert (loaded.encode_BL(TEXTS)[0] == trained.encode_BL(TEXTS)[0]).all()


def test_each_chinese_character_is_one_token() -> None:
    ids_BL, mask_BL = make_tokenizer().encode_BL(["相机", "机", "相"])
    assert mask_BL.sum(axis=1).tolist() == [2, 1, 1]
    assert ids_BL[0, :2].tolist() == [ids_BL[2, 0], ids_BL[1, 0]]


def test_case_and_full_width_forms_do_not_matter() -> None:
    ids_BL, _ = make_tokenizer().encode_BL(["camera", "CAMERA", "ｃａｍｅｒａ"])
    assert (ids_BL == ids_BL[0]).all()


def test_unknown_characters_are_unknown_and_not_dropped() -> None:
    ids_BL, mask_BL = make_tokenizer().encode_BL(["鳄"])
    assert ids_BL[0, 0] == UNKNOWN
    assert mask_BL[0].sum() == 1


def test_long_text_is_cut_and_short_text_is_padded() -> None:
    ids_BL, mask_BL = make_tokenizer(length=4).encode_BL(["相机推荐怎么选", "机", ""])
    assert ids_BL.shape == (3, 4)
    assert mask_BL.sum(axis=1).tolist() == [4, 1, 0]
    assert (ids_BL[~mask_BL] == PAD).all()


def test_starts_tell_where_each_token_stands_in_the_cleaned_text() -> None:
    tokenizer = make_tokenizer()
    texts = ["🔥 Best ｃａｍｅｒａ 相机", "lens", ""]
    ids_BL, starts_BL = tokenizer.encode_starts_BL(texts)
    assert (ids_BL == tokenizer.encode_BL(texts)[0]).all()
    assert starts_BL[0].tolist() == [0, 2, 7, 14, 15, -1, -1, -1]
    assert starts_BL[1:, 1:].max() == -1
    assert [starts_BL[1, 0], starts_BL[2, 0]] == [0, -1]


def test_no_text_can_write_a_special_token() -> None:
    tokenizer = make_tokenizer()
    assert [tokenizer.mask_id, MASK, NUM_SPECIAL] == [2, 2, 3]
    ids_BL, mask_BL = tokenizer.encode_BL(["[MASK]", "[PAD]", "[UNK]"])
    assert not (ids_BL[mask_BL] == MASK).any()
    assert mask_BL.any(axis=1).all()


def test_a_tokenizer_made_before_masks_loads_and_says_what_it_lacks(tmp_path: Path) -> None:
    engine = Engine(BPE(unk_token="[UNK]"))
    engine.train_from_iterator(TEXTS, BpeTrainer(special_tokens=["[PAD]", "[UNK]"], show_progress=False))
    engine.save(str(tmp_path / "tokenizer.json"))
    loaded = Tokenizer.load(tmp_path / "tokenizer.json", 8)
    assert loaded.encode_BL(["lens"])[1].any()
    with pytest.raises(UserError, match=r"expected an entry \[MASK\]"):
        _ = loaded.mask_id
