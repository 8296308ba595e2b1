"""Write values that name every image of a chart by digest: `python -m supply.digests --images prod.lock [--out dist/charts] [CHART ...]`.

The digests are those of a lock of images (docs/guides/compiling.md). A chart whose values file is `<chart>-digests.yaml` is installed with
`--values` of that. Where the lock knows no digest of an image, nothing is written.
"""

import argparse
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import yaml  # type: ignore[import-untyped]

from pipelines.compiling.images_lock import UNKNOWN, ImagesLock, read_images_lock
from reelspace.core.errors import UserError
from reelspace.core.program import run_main

from .packages import ROOT, charts

# The first part of a name is a host if it has a dot or a port, as docker reads it.
_HOST: Final = re.compile(r"(?:(?P<registry>[^/]*[.:][^/]*|localhost)/)?(?P<repository>[^@]+)@(?P<digest>.+)")


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the files, and their names to stdout.

    Raises:
        UserError: images have no digest; all of them are listed.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("charts", nargs="*", metavar="CHART", help="names of charts (default: all)")
    parser.add_argument("--images", type=Path, default=ROOT / "images.lock", metavar="FILE", help="digests (default: images.lock)")
    parser.add_argument("--out", type=Path, default=Path("dist/charts"), help="folder for the files (default: dist/charts)")
    args = parser.parse_args(arguments)
    lock, files, lacking = read_images_lock(args.images), {}, []
    for chart in charts(args.charts):
        images = dict(images_of(yaml.safe_load((chart / "values.yaml").read_text())))
        lacking += [f"{chart.name} {path}: {name_of(one)} {why}" for path, one in images.items() if (why := lack(one, lock))]
        files[f"{chart.name}-digests.yaml"] = images
    if lacking:
        raise UserError(f"{args.images} has no digest for {'; '.join(lacking)}; nothing is written")
    args.out.mkdir(parents=True, exist_ok=True)
    for file, images in files.items():
        (args.out / file).write_text(yaml.safe_dump(nested({path: by_digest(one, lock) for path, one in images.items()}), width=200))
        sys.stdout.write(f"{args.out / file}\n")


def images_of(values: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, dict[str, str]]]:
    """Give the images of a chart's values by their dotted paths."""
    for key, one in values.items():
        if isinstance(one, dict) and {"repository", "digest"} <= one.keys():
            yield above + key, one
        elif isinstance(one, dict):
            yield from images_of(one, f"{above}{key}.")


def name_of(image: Mapping[str, str]) -> str:
    """Name an image as a lock does."""
    return f"{image['repository']}:{image['tag']}"


def lack(image: Mapping[str, str], lock: ImagesLock) -> str:
    """Say why an image has no digest; nothing if it has one."""
    known = lock.images.get(name_of(image))
    return "is not listed" if known is None else "is unknown" if known == UNKNOWN else ""


def by_digest(image: Mapping[str, str], lock: ImagesLock) -> dict[str, str]:
    """Give what an image's values are when it is pulled as a lock says: repository and digest, and the registry if the lock has one."""
    reference = lock.reference(name_of(image))
    if lock.registry and reference.startswith(f"{lock.registry}/"):
        repository, _, digest = reference.removeprefix(f"{lock.registry}/").partition("@")
        return {"registry": lock.registry, "repository": repository, "digest": digest}
    found = _HOST.fullmatch(reference)
    assert found, reference  # what lock.reference gives of an image with a digest
    return {key: part for key, part in found.groupdict().items() if part}


def nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Make mappings of dotted paths."""
    made: dict[str, Any] = {}
    for path, one in values.items():
        *way, last = path.split(".")
        at = made
        for word in way:
            at = at.setdefault(word, {})
        at[last] = one
    return made


if __name__ == "__main__":
    sys.exit(run_main(main))
