"""Byte-pair tokenizer trained on the corpus; Chinese, Japanese and Korean characters stand alone."""

import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from tokenizers import Regex
from tokenizers import Tokenizer as Engine
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import Sequence as Steps
from tokenizers.pre_tokenizers import Split, Whitespace
from tokenizers.trainers import BpeTrainer

PAD, UNKNOWN = 0, 1
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
        engine.pre_tokenizer = Steps([Split(Regex(_CJK), "isolated"), Whitespace()])
        trainer = BpeTrainer(vocab_size=vocabulary_size, min_frequency=2, special_tokens=["[PAD]", "[UNK]"], show_progress=False)
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

    def encode_BL(self, texts: Sequence[str]) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
        """Give token ids, padded with 0 and cut to the length, and which of them are present."""
        ids_BL = np.zeros((len(texts), self.length), dtype=np.int32)
        for row, encoding in enumerate(self._engine.encode_batch([clean(text) for text in texts])):
            ids = encoding.ids[: self.length]
            ids_BL[row, : len(ids)] = ids
        return ids_BL, ids_BL != PAD


def clean(text: str) -> str:
    """Fold compatibility forms and case."""
    return unicodedata.normalize("NFKC", text).lower()
