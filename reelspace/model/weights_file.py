"""Reading tensors that somebody wrote: a file that breaks its format is refused as such, before a tensor is made of it."""

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from reelspace.core.errors import CorruptArtifact


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file.

    Raises:
        CorruptArtifact: it is none: tensors with holes between them or over one another, a header that is no JSON or above 100 MB,
            fewer bytes than the header says, or no file at all.
    """
    try:
        return load_file(path)
    except (SafetensorError, FileNotFoundError) as error:
        raise CorruptArtifact(f"{path} is no whole safetensors file: {error}; make the artifact again") from error
