"""What is wrong with the inputs of a training although every file reads, said before the first step."""

import numpy as np

from reelspace.core.errors import UserError
from reelspace.core.log import log
from reelspace.model.tokenizer import Tokenizer
from reelspace.train.data import TrainData


def check_tokens(tokenizer: Tokenizer, vocabulary_size: int) -> None:
    """See that every id the tokenizer can give has a row in the model's table.

    Raises:
        UserError: one has none; a step that met it would end in an index error, or read another word's row.
    """
    entry, largest = max(tokenizer.vocabulary.items(), key=lambda item: item[1])
    if largest >= vocabulary_size:
        raise UserError(
            f"tokenizer: expected ids below the model's vocabulary_size = {vocabulary_size}, got {largest} for the entry {entry!r}: "
            "the tokenizer is not the one that the model was made with"
        )


def warn_of_labels(data: TrainData) -> None:
    """Tell in the log when all works have the same labels: there is nothing to tell them apart by, the training goes on without."""
    has_NK = data.labels_NK > 0
    if has_NK.shape[1] and np.array_equal(has_NK, np.broadcast_to(has_NK[0], has_NK.shape)):
        alike = [text for (_, text), has in zip(data.label_names, has_NK[0], strict=True) if has]
        log(
            "labels_all_alike",
            works=len(has_NK),
            labels=alike[:8],
            meaning="the loss of the labels can teach nothing; look at the labels artifact",
        )
