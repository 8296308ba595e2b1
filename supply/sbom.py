"""Write what Python packages each image of the Dockerfile holds, as CycloneDX 1.6: `python -m supply.sbom [--out dist/sbom] [IMAGE ...]`.

Names, versions and hashes are those of the locks that the image is built from, licences those that packages of the same version in this
environment declare. There is no time and no random number in it: the same locks and environment give the same bytes.
"""

import argparse
import importlib.metadata
import json
import re
import sys
import tomllib
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from reelspace.core.errors import UserError
from reelspace.core.program import run_main

ROOT: Final = Path(__file__).resolve().parents[1]
_STAGE: Final = re.compile(r"^FROM base AS (\w+)$(.*?)(?=^FROM |\Z)", re.DOTALL | re.MULTILINE)
_LOCK: Final = re.compile(r"-r (requirements/[\w-]+\.lock)")
_KFP_ALONE: Final = "-r /opt/wheel/kfp.lock"
_LINE: Final = re.compile(
    r"(?P<name>[\w.-]+)(?:\[[\w,-]+\])?==(?P<version>[^\s;]+)(?: ; (?P<marker>.*?))?(?P<hashes>(?: --hash=sha256:[0-9a-f]{64})+)"
)
_LONGEST_LICENCE: Final = 80  # what is longer is its text, not its name


@dataclass(frozen=True, slots=True)
class Package:
    """One line of a lock: the name as in package URLs, the condition under which it is installed, SHA-256 of each file that may be."""

    name: str
    version: str
    marker: str
    hashes: frozenset[str]

    @property
    def url(self) -> str:
        """Its package URL."""
        return f"pkg:pypi/{self.name}@{quote(self.version, safe='')}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the files, and their names to stdout."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", nargs="*", metavar="IMAGE", help="targets of the Dockerfile (default: all)")
    parser.add_argument("--out", type=Path, default=Path("dist/sbom"), help="folder for the files (default: dist/sbom)")
    args = parser.parse_args(arguments)
    known = images((ROOT / "Dockerfile").read_text())
    if strange := sorted(set(args.images) - known.keys()):
        raise UserError(f"no target {', '.join(strange)} in the Dockerfile; expected some of {', '.join(known)}")
    args.out.mkdir(parents=True, exist_ok=True)
    declared = licences()
    for image in args.images or known:
        path = args.out / f"{image}.cdx.json"
        path.write_text(json.dumps(bill(image, known[image], declared), indent=2, ensure_ascii=False) + "\n")
        sys.stdout.write(f"{path}\n")


def images(dockerfile: str) -> dict[str, tuple[list[str], bool]]:
    """Give the images of a Dockerfile: each with the locks that it installs, and whether kfp comes to it without what kfp needs."""
    stages = {name: (_LOCK.findall(text), _KFP_ALONE in text) for name, text in _STAGE.findall(dockerfile)}
    return {name: stage for name, stage in stages.items() if name != "wheel"}


def bill(image: str, made_of: tuple[Sequence[str], bool], declared: Mapping[tuple[str, str], list[dict[str, Any]]]) -> dict[str, Any]:
    """Give the bill of materials of one image.

    Args:
        made_of: as of `images`.
        declared: as of `licences`.
    """
    locks, has_kfp = made_of
    packages = [one for lock in locks for one in read_lock(ROOT / lock)]
    if has_kfp:
        packages += [one for one in read_lock(ROOT / "requirements/dev.lock") if one.name == "kfp"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    name, version = f"reelspace/python-{image}", project["version"]
    own = {"type": "application", "bom-ref": "reelspace", "name": "reelspace", "version": version}
    content = {
        "metadata": {"component": {"type": "container", "bom-ref": f"{name}:{version}", "name": name, "version": version}},
        "components": [
            own | {"licenses": [{"license": {"id": project["license"]}}]},
            *(_component(one, declared.get((one.name, one.version))) for one in merged(packages)),
        ],
    }
    serial = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(content, sort_keys=True))
    return {"bomFormat": "CycloneDX", "specVersion": "1.6", "serialNumber": serial.urn, "version": 1, **content}


def read_lock(path: Path) -> list[Package]:
    """Read the lines of a lock with hashes.

    Raises:
        UserError: a line is not `name==version ; marker --hash=sha256:...`.
    """
    lines = [" ".join(line.split()) for line in path.read_text().replace("\\\n", " ").splitlines() if line.strip()[:1] not in ("", "#")]
    packages = []
    for line in lines:
        found = _LINE.fullmatch(line)
        if not found:
            raise UserError(f"{path}: expected name==version ; marker --hash=sha256:..., got {line[:100]}")
        hashes = frozenset(part.removeprefix("--hash=sha256:") for part in found["hashes"].split())
        packages.append(Package(normal(found["name"]), found["version"], found["marker"] or "", hashes))
    return packages


def merged(packages: Sequence[Package]) -> list[Package]:
    """Give each version of each package once, by name; one that two locks name may be of any file of both."""
    once: dict[tuple[str, str], Package] = {}
    for one in packages:
        there = once.setdefault((one.name, one.version), one)
        once[one.name, one.version] = replace(there, hashes=there.hashes | one.hashes)
    return [once[key] for key in sorted(once)]


def licences() -> dict[tuple[str, str], list[dict[str, Any]]]:
    """Give what the packages of this environment declare, by name and version, as CycloneDX has it."""
    found = {}
    for one in importlib.metadata.distributions():
        if declared := _declared(one.metadata):
            found[normal(one.metadata["Name"]), one.version] = declared
    return found


def normal(name: str) -> str:
    """Write a package's name as package URLs do."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _component(one: Package, declared: list[dict[str, Any]] | None) -> dict[str, Any]:
    made: dict[str, Any] = {"type": "library", "bom-ref": one.url, "name": one.name, "version": one.version}
    made["hashes"] = [{"alg": "SHA-256", "content": content} for content in sorted(one.hashes)]
    if declared:
        made["licenses"] = declared
    made["purl"] = one.url
    if one.marker:
        made["properties"] = [{"name": "reelspace:marker", "value": one.marker}]
    return made


def _declared(metadata: "importlib.metadata.PackageMetadata") -> list[dict[str, Any]]:
    known = metadata.json
    if expression := known.get("license_expression"):
        return [{"expression": expression, "acknowledgement": "declared"}]
    text = str(known.get("license", "")).strip()
    names = [text] if text and "\n" not in text and len(text) <= _LONGEST_LICENCE else list(_classified(known.get("classifier", [])))
    return [{"license": {"name": name, "acknowledgement": "declared"}} for name in names]


def _classified(classifiers: Sequence[str]) -> Iterator[str]:
    for one in classifiers:
        kind, *_, name = one.split(" :: ")
        if kind == "License" and name != "OSI Approved":
            yield name


if __name__ == "__main__":
    sys.exit(run_main(main))
