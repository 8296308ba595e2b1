"""A version directory names its files with their bytes, and what is not as it was written is refused by name."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from reelspace.core.errors import CorruptArtifact
from reelspace.serving.version import GRAPH_FILE, TOKENIZER_FILE, VERSION_FILE, Version

FACTS = Version(model="text_encoder", artifact_id="0" * 64, space_id="0123456789abcdef", dimension=8, text_length=4, opset=17)
FILES = {GRAPH_FILE: bytes(range(256)) * 40, TOKENIZER_FILE: b'{"words": []}', "weights/1.bin": b"\0" * 100}


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "weights").mkdir()
    for name, data in FILES.items():
        (tmp_path / name).write_bytes(data)
    FACTS.write(tmp_path)
    return tmp_path


def flipped(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "a flipped bit": flipped,
    "half of it": lambda data: data[: len(data) // 2],
    "one byte more": lambda data: data + b"\n",
    "nothing": lambda data: b"",
    "two bytes exchanged": lambda data: data[1:2] + data[:1] + data[2:] if data[0] != data[1] else b"\1\0" + data[2:],
}


def test_what_is_written_is_read_back_and_agrees(directory: Path) -> None:
    version = Version.open(directory)
    assert [entry.path for entry in version.files] == sorted(FILES)
    assert version.model_copy(update={"files": (), "sha256": None}) == FACTS


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_is_refused_by_its_name(directory: Path, name: str, damage: str) -> None:
    path = directory / name
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    with pytest.raises(CorruptArtifact, match=f"{name}: expected .*export the model again"):
        Version.open(directory)


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_gone_is_refused_by_its_name(directory: Path, name: str) -> None:
    (directory / name).unlink()
    with pytest.raises(CorruptArtifact, match=f"{name}: expected a file, got none"):
        Version.open(directory)


def test_no_byte_of_the_facts_can_change_unseen(directory: Path) -> None:
    """Also where the facts still read: another size, another space, another file's hash."""
    path = directory / VERSION_FILE
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << place % 7]) + whole[place + 1 :])
        with pytest.raises(CorruptArtifact, match=VERSION_FILE):
            Version.read(directory)


def test_facts_that_are_changed_by_hand_are_refused(directory: Path) -> None:
    path = directory / VERSION_FILE
    facts = json.loads(path.read_text())
    path.write_text(json.dumps(facts | {"space_id": "fedcba9876543210"}))
    with pytest.raises(CorruptArtifact, match=r"version\.json: expected facts with SHA-256"):
        Version.read(directory)
    path.write_text(json.dumps(facts))
    Version.read(directory)


def test_facts_without_their_own_hash_may_name_no_files(directory: Path) -> None:
    """Else whoever drops one line could change all others."""
    path = directory / VERSION_FILE
    facts = json.loads(path.read_text())
    path.write_text(json.dumps({name: value for name, value in facts.items() if name != "sha256"}))
    with pytest.raises(CorruptArtifact, match=r"version\.json: expected facts with SHA-256"):
        Version.read(directory)


def test_a_version_of_before_is_read_and_its_files_are_not_known(directory: Path) -> None:
    new = {"weights", "files", "sha256"}
    facts = {name: value for name, value in FACTS.model_dump(mode="json").items() if name not in new}
    (directory / VERSION_FILE).write_text(json.dumps(facts, indent=1) + "\n")
    version = Version.open(directory)
    assert version == FACTS
