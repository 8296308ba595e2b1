"""What a version directory of a served encoder says about itself: version.json beside model.onnx and tokenizer.json."""

from pathlib import Path
from typing import Final

from pydantic import Field

from reelspace.core.errors import CorruptArtifact, SettingError
from reelspace.core.settings import Settings, read

VERSION_FILE: Final = "version.json"
GRAPH_FILE: Final = "model.onnx"
TOKENIZER_FILE: Final = "tokenizer.json"


class Version(Settings):
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

    @property
    def is_video(self) -> bool:
        """Tell an encoder of videos from one of texts."""
        return self.num_frames is not None

    @classmethod
    def read(cls, directory: Path) -> "Version":
        """Read a version directory's facts; CorruptArtifact if they are not what an export writes."""
        path = directory / VERSION_FILE
        try:
            return read(cls, path.read_text())
        except (OSError, UnicodeDecodeError, SettingError) as error:
            raise CorruptArtifact(f"{path}: {error}; export the model again") from error

    def write(self, directory: Path) -> None:
        """Write the facts into a version directory."""
        (directory / VERSION_FILE).write_text(self.model_dump_json(indent=1) + "\n")
