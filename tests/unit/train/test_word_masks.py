"""What a training hides: by each selector, the same in every process, and by attention of the earlier teacher itself."""

from pathlib import Path

import numpy as np
import pytest

from reelspace.core.errors import UserError
from reelspace.model.checkpoint import save_model
from reelspace.model.tokenizer import MASK
from reelspace.train.settings import TrainSettings
from reelspace.train.word_masks import make_masks
from reelspace.train.word_scores import WordFrequencies, attention_scores, tfidf_scores
from tests.unit.train.builders import make_data, make_objective, make_tokenizer

DATA = make_data()
TOKENIZER = make_tokenizer(DATA)


def settings_of(selector: str) -> TrainSettings:
    masks = TrainSettings().masks.model_copy(update={"selector": selector, "mask_share": 1.0, "random_share": 0.0, "keyword_share": 1.0})
    return TrainSettings(masks=masks)


def test_the_hidden_word_is_the_best_scored_one() -> None:
    masks = make_masks(DATA, TOKENIZER, settings_of("tfidf"))
    assert masks is not None
    texts = sorted({text for text in DATA.corpus if len(text.split()) > 1})
    masked_BL, is_masked_BL = masks.mask_BL(texts, np.arange(len(texts)), 3)
    frequencies = WordFrequencies.count(masks.cutter.words(text) for text in DATA.corpus)
    for row, text in enumerate(texts):
        words = masks.cutter.word_tokens([text], TOKENIZER)
        hidden = {words.words_B[0][number] for number in words.word_BL[0][is_masked_BL[row]]}
        scores = tfidf_scores(words.words_B[0], frequencies)
        allowed = [word for number, word in enumerate(words.words_B[0]) if not (words.ids_BL[0][words.word_BL[0] == number] == 1).any()]
        best = max(score for word, score in zip(words.words_B[0], scores, strict=True) if word in allowed)
        assert hidden <= {word for word, score in zip(words.words_B[0], scores, strict=True) if score == best}
    assert (masked_BL[is_masked_BL] == MASK).all()


def test_attention_scores_are_those_of_the_earlier_teacher(tmp_path: Path) -> None:
    model = make_objective(TrainSettings()).model.eval()
    save_model(tmp_path, model, TOKENIZER)
    masks = make_masks(DATA, TOKENIZER, settings_of("attention"), tmp_path)
    assert masks is not None
    assert masks.scores is not None
    frequencies = WordFrequencies.count(masks.cutter.words(text) for text in DATA.corpus)
    for text in ("best ramen", "my cat 2"):
        (expected,) = attention_scores([text], model, TOKENIZER, masks.cutter, frequencies)
        np.testing.assert_allclose(masks.scores[text], expected, atol=1e-6)
    with pytest.raises(UserError, match="set previous"):
        make_masks(DATA, TOKENIZER, settings_of("attention"))


def test_random_masks_score_nothing_and_a_weight_of_zero_hides_nothing() -> None:
    masks = make_masks(DATA, TOKENIZER, settings_of("random"))
    assert masks is not None
    assert masks.scores is None
    off = TrainSettings(objective=TrainSettings().objective.model_copy(update={"keywords": 0.0}))
    assert make_masks(DATA, TOKENIZER, off) is None


def test_a_works_mask_does_not_depend_on_the_batch_it_is_in() -> None:
    masks = make_masks(DATA, TOKENIZER, settings_of("tfidf"))
    assert masks is not None
    texts, ids = ["best ramen", "nice cat", "best drone"], np.array([5, 9, 2])
    whole = masks.mask_BL(texts, ids, 4)
    alone = masks.mask_BL(texts[1:2], ids[1:2], 4)
    assert all(np.array_equal(part[1:2], single) for part, single in zip(whole, alone, strict=True))
