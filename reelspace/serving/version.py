"""What a version directory of a served model says about itself: version.json beside the files that it names with their SHA-256.

Triton reads version directories straight from a store, where no manifest lies beside them: they carry their own.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal, Self

import orjson
from pydantic import Field

from reelspace.core.artifacts import FileEntry, canonical_json
from reelspace.core.errors import CorruptArtifact, SettingError
from reelspace.core.settings import Settings, read
from reelspace.serving.signatures import ANY, EncoderSizes

VERSION_FILE: Final = "version.json"
GRAPH_FILE: Final = "model.onnx"
TOKENIZER_FILE: Final = "tokenizer.json"

_OWN_HASH: Final = "sha256"


class Sealed(Settings):
    """Facts that name the other files of their directory, and that no byte can leave unseen."""

    files: tuple[FileEntry, ...] = Field(
        (), description="Every other file of the directory, sorted by path; none in versions of before, whose files are not checked."
    )
    sha256: str | None = Field(
        None, pattern=r"^[0-9a-f]{64}$", description="SHA-256 of the canonical JSON of all other facts; None in versions of before."
    )

    @classmethod
    def read(cls, directory: Path) -> Self:
        """Read a version directory's facts; CorruptArtifact if they are not what an export wrote."""
        path = directory / VERSION_FILE
        try:
            text = path.read_text()
            version = read(cls, text)
        except (OSError, UnicodeDecodeError, SettingError) as error:
            raise CorruptArtifact(f"{path}: {error}; export the model again") from error
        # Of what is there, not of what was understood: facts that are new since then have defaults.
        found = _digest(orjson.loads(text))
        if (version.files or version.sha256) and found != version.sha256:
            raise _corrupt(path, f"facts with SHA-256 {(version.sha256 or 'none')[:16]}", found[:16])
        return version

    @classmethod
    def open(cls, directory: Path) -> Self:
        """Read the facts and compare the files with them, before anything parses these.

        Raises:
            CorruptArtifact: the facts are not what was written, or a file is not there, has another length, or other bytes; names it.
        """
        version = cls.read(directory)
        for entry in version.files:
            path = directory / entry.path
            if not path.is_file():
                raise _corrupt(path, "a file", "none")
            if path.stat().st_size != entry.size_bytes:
                raise _corrupt(path, f"{entry.size_bytes} bytes", f"{path.stat().st_size}")
            if (digest := _digest_of_file(path)) != entry.sha256:
                raise _corrupt(path, f"SHA-256 {entry.sha256[:16]}", digest[:16])
        return version

    def write(self, directory: Path) -> None:
        """Write the facts beside all other files of a version directory, which are named as they are now."""
        paths = sorted(path for path in directory.rglob("*") if path.is_file() and path != directory / VERSION_FILE)
        files = tuple(FileEntry(path.relative_to(directory).as_posix(), _digest_of_file(path), path.stat().st_size) for path in paths)
        facts = self.model_copy(update={"files": files})
        sealed = facts.model_copy(update={_OWN_HASH: _digest(facts.model_dump(mode="json"))})
        (directory / VERSION_FILE).write_text(sealed.model_dump_json(indent=1) + "\n")


class Version(Sealed):
    """Facts about one exported encoder."""

    model: str = Field(description="Name of the served model.")
    artifact_id: str = Field(description="Id of the trained model's artifact that was exported.")
    space_id: str = Field(description="Which vectors this model's vectors may be compared with.")
    dimension: int = Field(ge=1, description="Length of the embedding.")
    text_length: int = Field(ge=1, description="Tokens read per text.")
    num_frames: int | None = Field(None, ge=1, description="Frames per video; None for an encoder of texts.")
    height: int | None = Field(None, ge=1, description="Height of a frame, pixels.")
    width: int | None = Field(None, ge=1, description="Width of a frame, pixels.")
    num_samples: int | None = Field(None, ge=1, description="Sound samples per video, at 16 kHz.")
    opset: int = Field(ge=17, description="ONNX operator set of the graph.")
    weights: Literal["float32", "int8"] = Field("float32", description="Numbers that the graph multiplies by.")

    @property
    def is_video(self) -> bool:
        """Tell an encoder of videos from one of texts."""
        return self.num_frames is not None

    @property
    def sizes(self) -> EncoderSizes:
        """Give the sizes of the served tensors."""
        return EncoderSizes(self.dimension, *(size or ANY for size in (self.num_frames, self.height, self.width, self.num_samples)))


def _digest(facts: Mapping[str, object]) -> str:
    return hashlib.sha256(canonical_json({name: value for name, value in facts.items() if name != _OWN_HASH})).hexdigest()


def _digest_of_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _corrupt(path: Path, expected: str, found: str) -> CorruptArtifact:
    return CorruptArtifact(f"{path}: expected {expected}, got {found}; export the model again")
