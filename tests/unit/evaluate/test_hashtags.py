from reelspace.core.rng import rng
from reelspace.evaluate.hashtags import hashtag_figures
from reelspace.evaluate.truth import TagTruth


def test_precision_and_kept_share_equal_counting_by_hand():
    truth = [
        TagTruth(1, "cats", True),
        TagTruth(1, "hot", False),
        TagTruth(2, "Cats", True),
        TagTruth(3, "hot", False),
        TagTruth(9, "late", True),
    ]
    kept = {(1, "cats"): True, (1, "hot"): False, (2, "Cats"): False, (3, "hot"): True}
    figures = hashtag_figures(truth, kept, rng(0, "bootstrap"))
    assert figures["num_uses"] == 4
    assert figures["precision_raw"] == 0.5
    assert figures["precision_clean"] == 0.5
    assert figures["relevant_kept"] == 0.5


def test_no_kept_use_gives_none_instead_of_a_number():
    figures = hashtag_figures([TagTruth(1, "a", True)], {(1, "a"): False}, rng(0, "bootstrap"))
    assert figures["precision_clean"] is None
