"""Byte-pair tokenizer trained on the corpus; Chinese, Japanese and Korean characters stand alone.

Legend: B texts, L tokens.
"""

import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Regex
from tokenizers import Tokenizer as Engine
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import PreTokenizer, Split, Whitespace
from tokenizers.pre_tokenizers import Sequence as Steps
from tokenizers.trainers import BpeTrainer

from reelspace.core.errors import UserError

PAD, UNKNOWN, MASK = 0, 1, 2
NUM_SPECIAL = 3
_SPECIAL = ["[PAD]", "[UNK]", "[MASK]"]
_CJK = r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uac00-\ud7af]"


class Tokenizer:
    """Text to token ids of a fixed length."""

    def __init__(self, engine: Engine, length: int) -> None:
        self._engine = engine
        self.length = length

    @classmethod
    def train(cls, texts: Iterable[str], vocabulary_size: int, length: int) -> Self:
        """Learn the vocabulary; equal texts in equal order give an equal tokenizer."""
        engine = Engine(BPE(unk_token="[UNK]"))
        engine.pre_tokenizer = pre_tokenizer()
        trainer = BpeTrainer(vocab_size=vocabulary_size, min_frequency=2, special_tokens=_SPECIAL, show_progress=False)
        engine.train_from_iterator([clean(text) for text in texts], trainer)
        return cls(engine, length)

    @classmethod
    def load(cls, path: Path, length: int) -> Self:
        """Read tokenizer.json."""
        return cls(Engine.from_file(str(path)), length)

    def save(self, path: Path) -> None:
        """Write tokenizer.json."""
        self._engine.save(str(path))

    @property
    def size(self) -> int:
        """Number of entries."""
        return int(self._engine.get_vocab_size())

    @property
    def vocabulary(self) -> dict[str, int]:
        """Every entry with its id."""
        return dict(self._engine.get_vocab())

    @property
    def mask_id(self) -> int:
        """Id of the token that stands for a hidden one.

        Raises:
            UserError: the tokenizer was made without one.
        """
        found = self._engine.token_to_id("[MASK]")
        if found is None:
            raise UserError(f"tokenizer: expected an entry [MASK] among the {self.size}, got none: train the tokenizer again")
        return int(found)

    def encode_BL(self, texts: Sequence[str]) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
        """Give token ids, padded with 0 and cut to the length, and which of them are present."""
        # Without offsets, which cost as much as the tokens.
        ids_BL = self._ids_BL(self._engine.encode_batch_fast([self._cleaned(text) for text in texts]))
        return ids_BL, ids_BL != PAD

    def encode_starts_BL(self, texts: Sequence[str]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Give the ids of `encode_BL`, and at which character of the cleaned text each token starts (-1 on padding)."""
        encodings = self._engine.encode_batch([self._cleaned(text) for text in texts])
        starts_BL = np.full((len(texts), self.length), -1, dtype=np.int32)
        for row, encoding in enumerate(encodings):
            starts = [start for start, _ in encoding.offsets[: self.length]]
            starts_BL[row, : len(starts)] = starts
        return self._ids_BL(encodings), starts_BL

    def _ids_BL(self, encodings: Sequence[Encoding]) -> NDArray[np.int32]:
        ids_BL = np.full((len(encodings), self.length), PAD, dtype=np.int32)
        for row, encoding in enumerate(encodings):
            ids = encoding.ids[: self.length]
            ids_BL[row, : len(ids)] = ids
        return ids_BL

    def _cleaned(self, text: str) -> str:
        # A public checkpoint's tokenizer brings its own rules.
        return text if self._engine.normalizer is not None else clean(text)


def clean(text: str) -> str:
    """Fold compatibility forms and case."""
    return unicodedata.normalize("NFKC", text).lower()


def pre_tokenizer() -> PreTokenizer:
    """Give what cuts a cleaned text into the stretches that no token reaches beyond."""
    return Steps([Split(Regex(_CJK), "isolated"), Whitespace()])
