"""Bills of materials: every line of the locks that the Dockerfile installs, the same bytes each time, valid by the schema of CycloneDX."""

import importlib.metadata
import json
import re
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator
from referencing import Registry, Resource

from reelspace.core.errors import UserError
from supply import sbom

from .environment import Environment

ROOT = sbom.ROOT
IMAGES = {
    "signals": ["signals", "media"],
    "train": ["train"],
    "serving": ["serving", "search"],
    "search": ["search"],
}
each_image = pytest.mark.parametrize("image", IMAGES)
LINE = re.compile(r"^(\S+)==(\S+)", re.MULTILINE)


@pytest.fixture(scope="module")
def bills(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What is written, by image."""
    out = tmp_path_factory.mktemp("sbom")
    sbom.main([f"--out={out}"])
    return {path.name.removesuffix(".cdx.json"): json.loads(path.read_text()) for path in sorted(out.iterdir())}


def test_every_image_of_the_dockerfile_has_one(bills: dict[str, dict[str, Any]]) -> None:
    assert bills.keys() == IMAGES.keys()
    assert {name: locks for name, (locks, _) in sbom.images((ROOT / "Dockerfile").read_text()).items()} == {
        name: [f"requirements/{lock}.lock" for lock in locks] for name, locks in IMAGES.items()
    }


@each_image
def test_every_line_of_the_locks_is_in_it_with_its_hashes(image: str, bills: dict[str, dict[str, Any]]) -> None:
    there = {one["purl"]: {hash_["content"] for hash_ in one["hashes"]} for one in bills[image]["components"] if "purl" in one}
    texts = [(ROOT / "requirements" / f"{lock}.lock").read_text() for lock in IMAGES[image]]
    lines = {f"pkg:pypi/{name.split('[')[0].lower()}@{version}" for text in texts for name, version in LINE.findall(text)}
    alone = {url for url in there if url.startswith("pkg:pypi/kfp@")}
    assert len(alone) == (image != "serving")
    assert there.keys() == lines | alone
    hashes = {found for text in texts for found in re.findall(r"sha256:([0-9a-f]{64})", text)}
    assert hashes == {one for url in lines for one in there[url]}


def test_licences_are_those_that_installed_packages_of_the_version_declare(bills: dict[str, dict[str, Any]]) -> None:
    components = {one["name"]: one for one in bills["search"]["components"]}
    assert components["numpy"]["version"] == importlib.metadata.version("numpy")
    assert components["httpx"]["licenses"] == [{"license": {"name": "BSD-3-Clause", "acknowledgement": "declared"}}]
    assert components["pydantic"]["licenses"] == [{"expression": "MIT", "acknowledgement": "declared"}]
    assert sum("licenses" in one for one in components.values()) >= 0.95 * len(components)
    other = sbom.merged([sbom.Package("httpx", "0.0.1", "", frozenset("a"))])[0]
    assert (other.name, other.version) not in sbom.licences()


def test_the_same_locks_give_the_same_bytes(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        sbom.main(["signals", f"--out={tmp_path / folder}"])
    one, two = ((tmp_path / folder / "signals.cdx.json").read_bytes() for folder in ("one", "two"))
    assert one == two
    assert b"timestamp" not in one


def test_serial_numbers_follow_the_content(bills: dict[str, dict[str, Any]]) -> None:
    assert len({one["serialNumber"] for one in bills.values()}) == len(bills)
    known = sbom.images((ROOT / "Dockerfile").read_text())["search"]
    assert sbom.bill("search", known, sbom.licences())["serialNumber"] == bills["search"]["serialNumber"]
    assert sbom.bill("search", known, {})["serialNumber"] != bills["search"]["serialNumber"]


@each_image
def test_it_is_valid_by_the_schema_of_cyclonedx(image: str, bills: dict[str, dict[str, Any]]) -> None:
    # Checkov writes bills, too, by the library that brings the schema.
    checkov = Environment("checkov")
    found = sorted(checkov.folder.glob("venv/lib/python*/site-packages/cyclonedx/schema/_res"))
    if not checkov.is_installed() or not found:
        pytest.skip(f"Checkov, with the schema of CycloneDX, is not in {checkov.folder}: .venv/bin/python -m tests.charts.checkov")
    read = {path.name: json.loads(path.read_text()) for path in found[0].glob("*.schema.json")}
    schema = read["bom-1.6.SNAPSHOT.schema.json"]
    base = schema["$id"].rpartition("/")[0]
    others = [
        (f"{base}/{name}", Resource.from_contents(read[name])) for name in ("spdx.SNAPSHOT.schema.json", "jsf-0.82.SNAPSHOT.schema.json")
    ]
    validator = Draft7Validator(schema, registry=Registry().with_resources(others))
    assert [error.message for error in validator.iter_errors(bills[image])] == []
    spoiled = bills[image] | {"serialNumber": "7"}
    assert not validator.is_valid(spoiled)


@pytest.mark.parametrize("line", ["numpy>=1.26", "numpy==1.26.4", "numpy==1.26.4 --hash=md5:00", "git+https://example.org/x"])
def test_a_line_that_pins_no_file_is_refused(line: str, tmp_path: Path) -> None:
    lock = tmp_path / "x.lock"
    lock.write_text(f"# a comment\n{line}\n")
    with pytest.raises(UserError, match="expected name==version"):
        sbom.read_lock(lock)


def test_an_unknown_image_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no target web.*signals, train, serving, search"):
        sbom.main(["web", f"--out={tmp_path}"])
