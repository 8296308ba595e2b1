"""Where a teacher's weights begin: at random, at public ViT and BERT weights, or around a frozen CLIP-family checkpoint."""

import hashlib
from pathlib import Path

from reelspace.core.errors import UserError
from reelspace.core.log import log
from reelspace.model.model import ReelModel
from reelspace.model.settings import ModelSettings
from reelspace.model.tokenizer import Tokenizer
from reelspace.model.warm_start import warm_start
from reelspace.train.data import TrainData
from reelspace.train.settings import TrainSettings


def first_model(data: TrainData, sizes: ModelSettings, settings: TrainSettings) -> tuple[ReelModel, Tokenizer]:
    """Give the model that training starts from and its tokenizer.

    Raises:
        UserError: a checkpoint's file is missing, or it is of no known family.
    """
    if settings.encoder is not None:
        # Delays the optional dependency transformers.
        from reelspace.model.clip_checkpoint import read_clip

        return read_clip(Path(settings.encoder), sizes, "clip_towers")
    tokenizer = Tokenizer.train(data.corpus, settings.vocabulary_size, sizes.text_length)
    model = ReelModel(sizes.model_copy(update={"vocabulary_size": max(64, tokenizer.size)}))
    public = settings.warm_start
    picture, text = (None if folder is None else Path(folder) for folder in (public.picture, public.text))
    if picture is not None or text is not None:
        report = warm_start(model, picture, text, tokenizer.vocabulary)
        log("warm_start", report=report.table())
    return model, tokenizer


def checkpoint_digests(settings: TrainSettings) -> list[str]:
    """Give a digest of the role and the bytes of every public checkpoint that the settings name: paths are no part of a step's key.

    Raises:
        UserError: a folder is missing.
    """
    public = settings.warm_start
    folders = {"encoder": settings.encoder, "picture": public.picture, "text": public.text}
    return [_digest(role, Path(folder)) for role, folder in folders.items() if folder is not None]


def _digest(role: str, folder: Path) -> str:
    if not folder.is_dir():
        raise UserError(f"expected the folder of a checkpoint in Hugging Face layout for {role}, found none at {folder}")
    digest = hashlib.sha256(role.encode())
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        with path.open("rb") as file:
            digest.update(path.name.encode() + hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()
