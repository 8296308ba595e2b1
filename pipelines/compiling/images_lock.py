"""images.lock: the digest of every image that a component names."""

import copy
import re
import tomllib
from pathlib import Path

from pydantic import Field, field_validator

from pipelines.compiling.compiled import IR
from reelspace.core.errors import SettingError
from reelspace.core.settings import Settings, read

UNKNOWN = "unknown"
_REFERENCE = re.compile(r"(?:[\w.-]+(?::\d+)?/)?[\w./-]+@sha256:[0-9a-f]{64}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


class ImagesLock(Settings):
    """What stands in the place of every image name."""

    registry: str | None = Field(None, description="Host and path before every image that is no whole reference", pattern=r"^[\w.-].*[^/]$")
    images: dict[str, str] = Field(description="Image of a component: its digest, a whole reference with a digest, or `unknown`")

    @field_validator("images")
    @classmethod
    def _by_digest(cls, images: dict[str, str]) -> dict[str, str]:
        for name, value in images.items():
            if value != UNKNOWN and not _DIGEST.fullmatch(value) and not _REFERENCE.fullmatch(value):
                raise ValueError(f'expected "sha256:<64 hex digits>", a reference with it, or "{UNKNOWN}" for {name}, got {value!r}')
        return images

    def reference(self, image: str) -> str:
        """Give what to pull for an image: by digest where it is known, under the registry; an image not listed stays as it is."""
        value = self.images.get(image)
        if value is None or _REFERENCE.fullmatch(value):
            return value or image
        # The last colon of a name is its tag's, unless a slash follows: then it is a port's.
        repository = re.sub(r":[^/:]+$", "", image)
        name = image if value == UNKNOWN else f"{repository}@{value}"
        return f"{self.registry}/{name}" if self.registry else name

    def undigested(self) -> frozenset[str]:
        """Give the references that have no digest yet."""
        return frozenset(self.reference(name) for name, value in self.images.items() if value == UNKNOWN)


def read_images_lock(path: Path) -> ImagesLock:
    """Read the file.

    Raises:
        SettingError: no such file, no TOML, an unknown key, or a value that is no digest.
    """
    try:
        return read(ImagesLock, tomllib.loads(path.read_text()))
    except FileNotFoundError as error:
        raise SettingError(f"no file {path}; expected the digests of the images, see images.lock of the checkout") from error
    except (tomllib.TOMLDecodeError, SettingError) as error:
        raise SettingError(f"{path}: {error}") from error


def pinned(spec: IR, lock: ImagesLock) -> IR:
    """Give a compiled pipeline with every image replaced by its reference."""
    spec = copy.deepcopy(spec)
    for executor in spec.get("deploymentSpec", {}).get("executors", {}).values():
        if "container" in executor:
            executor["container"]["image"] = lock.reference(executor["container"]["image"])
    return spec
