"""What an uploaded file may be, and what decoding it may take; and how the trained model's works were decoded."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Self

import orjson
from pydantic import Field

from reelspace.core.errors import CorruptArtifact, SettingError
from reelspace.core.settings import Settings, read
from reelspace.media.spec import FrameSpec
from reelspace.serving.signatures import MAX_MEDIA_BYTES

MEDIA_FILE: Final = "media.json"
PREFIX: Final = "media_"


class MediaLimits(Settings):
    """Limits of `media_encoder`; they travel as parameters of its configuration, `media_` before each name."""

    max_bytes: int = Field(
        MAX_MEDIA_BYTES, ge=1024, le=56 << 20, description="Largest file, bytes; the gateway takes 64 MiB over HTTP and 32 MiB over gRPC."
    )
    max_duration_s: float = Field(600.0, gt=0, le=24 * 3600, description="Longest video or sound, seconds.")
    max_pixels: int = Field(1 << 25, ge=1 << 12, le=1 << 30, description="Largest width x height of a picture, pixels.")
    time_limit_s: int = Field(8, ge=1, le=3600, description="Longest time that one file may take to decode, seconds; of CPU, too.")
    memory_limit_mib: int = Field(1024, ge=512, le=1 << 20, description="Address space of one decoding process, in MiB.")
    num_workers: int = Field(2, ge=1, le=64, description="Decoding processes of one instance of the model.")

    def parameters(self) -> dict[str, str]:
        """Give them as parameters of a Triton configuration."""
        return {PREFIX + name: orjson.dumps(value).decode() for name, value in self.model_dump(mode="json").items()}

    @classmethod
    def of_parameters(cls, parameters: Mapping[str, Any]) -> Self:
        """Read them from a configuration as Triton gives it to a backend; what is not there has its default.

        Raises:
            SettingError: a value is not one, or there is a parameter of that prefix that is no limit.
        """
        given = {name: value["string_value"] for name, value in parameters.items() if name.startswith(PREFIX)}
        try:
            values = {name.removeprefix(PREFIX): orjson.loads(value) for name, value in given.items()}
        except orjson.JSONDecodeError as error:
            raise SettingError(f"expected numbers as parameters {', '.join(sorted(given))}, got {given}") from error
        return read(cls, values)


class MediaFacts(Settings):
    """How the works that a model was trained on were decoded: what comes in later is decoded the same way."""

    frames: FrameSpec = Field(description="Frames and sound of a work.")
    jpeg_quality: int = Field(ge=30, le=100, description="Quality that frames are kept in, 30 to 100.")

    @classmethod
    def read(cls, directory: Path) -> Self:
        """Read a version directory's facts; CorruptArtifact if they are not what an export writes."""
        path = directory / MEDIA_FILE
        try:
            return read(cls, path.read_text())
        except (OSError, UnicodeDecodeError, SettingError) as error:
            raise CorruptArtifact(f"{path}: {error}; export the model again") from error

    def write(self, directory: Path) -> None:
        """Write the facts into a version directory."""
        (directory / MEDIA_FILE).write_text(self.model_dump_json(indent=1) + "\n")
