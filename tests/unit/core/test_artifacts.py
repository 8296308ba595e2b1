"""Artifacts: the id is the content, and no wrong byte gets through."""

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from reelspace.core.artifacts import Artifact, open_artifact, read_manifest_file, write_artifact, write_manifest_file
from reelspace.core.errors import ArtifactMissing, CorruptArtifact, InternalError, ReelspaceError, UserError
from reelspace.core.store import Store, open_store

FILES = {
    "a.bin": b"0123456789" * 50,
    "empty": b"",
    "folder/b.json": b'{"a": 1}',
    "folder/deep/c": bytes(range(256)),
    "标签.txt": "好".encode(),
}
PARENT = "ab" * 32

WRITER = """
import sys
from pathlib import Path
from reelspace.core.artifacts import write_artifact
from reelspace.core.store import open_store
store = open_store(sys.argv[1])
print("ready", flush=True)
write_artifact(store, "kind", Path(sys.argv[2]), parents=(), code="code", settings={})
print("done", flush=True)
"""


def filled(directory: Path, files: dict[str, bytes] = FILES) -> Path:
    for name, data in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return directory


def written(store: Store, directory: Path) -> Artifact:
    return write_artifact(store, "kind", filled(directory), parents=[PARENT], code="code", settings={"b": 1, "a": [0.1]}, run={"loss": 0.5})


def test_an_artifact_reads_back_as_written(store: Store, tmp_path: Path) -> None:
    artifact = open_artifact(store, written(store, tmp_path / "in").id)
    assert artifact.names() == tuple(sorted(FILES))
    assert {name: artifact.read(name) for name in artifact.names()} == FILES
    out = artifact.fetch(tmp_path / "out")
    assert {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*") if path.is_file()} == FILES
    assert artifact.read_range("a.bin", 3, 4) == b"3456"
    assert artifact.run_facts() == {"loss": 0.5}


def test_the_id_is_the_sha256_of_canonical_json(store: Store, tmp_path: Path) -> None:
    artifact = written(store, tmp_path / "in")
    files = [{"path": name, "sha256": hashlib.sha256(data).hexdigest(), "size_bytes": len(data)} for name, data in sorted(FILES.items())]
    expected = {"kind": "kind", "format_version": 1, "files": files, "parents": [PARENT], "code": "code", "settings": {"a": [0.1], "b": 1}}
    text = json.dumps(expected, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert artifact.id == hashlib.sha256(text.encode()).hexdigest()
    assert store.get(f"artifacts/{artifact.id}/manifest.json") == text.encode()


def test_content_alone_makes_the_id(tmp_path: Path) -> None:
    stores = [open_store(str(tmp_path / name)) for name in ("one", "two")]
    ids = {
        write_artifact(
            store, "kind", filled(tmp_path / f"in{number}"), parents=["cd" * 32, PARENT][::step], code="c", settings={}, run={"n": number}
        ).id
        for number, (store, step) in enumerate(zip(stores, (1, -1), strict=True))
    }
    assert len(ids) == 1


def test_every_part_of_the_manifest_changes_the_id(tmp_path: Path) -> None:
    store, directory = open_store(str(tmp_path / "store")), filled(tmp_path / "in")

    def artifact_id(kind: str = "kind", parents: tuple[str, ...] = (), code: str = "c", lr: float = 0.1, version: int = 1) -> str:
        return write_artifact(store, kind, directory, parents=parents, code=code, settings={"lr": lr}, format_version=version).id

    ids = [
        artifact_id(),
        artifact_id("other"),
        artifact_id(parents=(PARENT,)),
        artifact_id(code="d"),
        artifact_id(lr=0.2),
        artifact_id(version=2),
    ]
    (directory / "empty").write_bytes(b"x")
    assert len({*ids, artifact_id()}) == 7


def test_writing_again_gives_the_same_artifact_and_heals_it(store: Store, tmp_path: Path) -> None:
    artifact = written(store, tmp_path / "in")
    for name in ("a.bin", "manifest.json"):
        store.put(f"artifacts/{artifact.id}/{name}", b"damaged")
    assert written(store, tmp_path / "in").id == artifact.id
    open_artifact(store, artifact.id).verify()


def flip(data: bytes, position: int) -> bytes:
    return data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]


@pytest.mark.parametrize("name", sorted(FILES))
@pytest.mark.parametrize("damage", ["flip", "truncate", "append", "remove"])
def test_a_damaged_file_is_refused_by_name(store: Store, tmp_path: Path, name: str, damage: str) -> None:
    if damage in ("flip", "truncate") and not FILES[name]:
        damage = "append"
    artifact = open_artifact(store, written(store, tmp_path / "in").id)
    key, data = f"artifacts/{artifact.id}/{name}", FILES[name]
    if damage == "remove":
        store.delete(key)
    else:
        middle = len(data) // 2
        store.put(key, {"flip": lambda: flip(data, middle), "truncate": lambda: data[:-1], "append": lambda: data + b"x"}[damage]())
    uses: list[Callable[[], object]] = [lambda: artifact.read(name), lambda: artifact.fetch(tmp_path / "out"), artifact.verify]
    for use in uses:
        with pytest.raises(CorruptArtifact, match=name) as caught:
            use()
        assert artifact.id in str(caught.value)
    assert not (tmp_path / "out" / name).exists(), "unchecked bytes appeared under the file's name"
    assert not list((tmp_path / "out").rglob("*.partial"))


def test_every_flipped_byte_of_every_file_is_refused(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "store"))
    artifact = written(store, tmp_path / "in")
    for name in (*FILES, "manifest.json"):
        path = tmp_path / "store/artifacts" / artifact.id / name
        data = path.read_bytes()
        for position in range(len(data)):
            path.write_bytes(flip(data, position))
            with pytest.raises(CorruptArtifact, match=name):
                open_artifact(store, artifact.id).verify()
        path.write_bytes(data)
    open_artifact(store, artifact.id).verify()


def test_a_manifest_that_does_not_hash_to_its_id_is_refused(store: Store, tmp_path: Path) -> None:
    artifact = written(store, tmp_path / "in")
    key = f"artifacts/{artifact.id}/manifest.json"
    forged = json.loads(store.get(key))
    forged["files"][0]["sha256"] = "0" * 64
    for data in (json.dumps(forged).encode(), json.dumps(json.loads(store.get(key)), indent=1).encode(), b"", b"[]"):
        store.put(key, data)
        with pytest.raises(CorruptArtifact, match=r"manifest\.json"):
            open_artifact(store, artifact.id)


def test_an_unknown_artifact_is_named(store: Store) -> None:
    with pytest.raises(ArtifactMissing, match=PARENT):
        open_artifact(store, PARENT)
    for bad in ("", "../..", "AB" * 32, "ab"):
        with pytest.raises(UserError, match="64 hex digits"):
            open_artifact(store, bad)


def test_a_file_the_artifact_lacks_is_our_bug(store: Store, tmp_path: Path) -> None:
    with pytest.raises(InternalError, match=r"nope\.txt"):
        written(store, tmp_path / "in").read("nope.txt")


def test_only_plain_files_with_free_names_enter(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "store"))

    def refused(name: str, prepare: Callable[[Path], object], words: str) -> None:
        directory = tmp_path / name
        directory.mkdir()
        prepare(directory)
        with pytest.raises(InternalError, match=words):
            write_artifact(store, "kind", directory, parents=(), code="c", settings={})

    refused("link", lambda directory: (directory / "x").symlink_to("/etc/passwd"), "plain files")
    refused("folder-link", lambda directory: (directory / "x").symlink_to("/etc"), "plain files")
    refused("pipe", lambda directory: os.mkfifo(directory / "x"), "plain files")
    refused("manifest", lambda directory: (directory / "manifest.json").write_text("{}"), "may not be named")
    refused("nothing", lambda directory: None, "at least one file")
    assert list(store.list("")) == []


def test_the_manifest_file_carries_the_id_and_nothing_else(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "store"))
    artifact = written(store, tmp_path / "in")
    write_manifest_file(artifact.manifest, tmp_path / "new/folder/labels")
    assert read_manifest_file(tmp_path / "new/folder/labels") == artifact.manifest
    assert read_manifest_file(tmp_path / "new/folder/labels").id == artifact.id
    assert hashlib.sha256((tmp_path / "new/folder/labels").read_bytes()).hexdigest() == artifact.id


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"kind": "x"}', "\0"])
def test_a_file_that_is_no_manifest_is_refused_by_name(tmp_path: Path, text: str) -> None:
    (tmp_path / "labels").write_text(text)
    with pytest.raises(CorruptArtifact, match="labels is not a manifest"):
        read_manifest_file(tmp_path / "labels")
    with pytest.raises(ArtifactMissing, match="teacher"):
        read_manifest_file(tmp_path / "teacher")


def test_a_manifest_may_not_name_a_file_outside(tmp_path: Path) -> None:
    entry = {"path": "../outside", "sha256": "0" * 64, "size_bytes": 1}
    manifest = {"kind": "k", "format_version": 1, "files": [entry], "parents": [], "code": "c", "settings": {}}
    (tmp_path / "labels").write_text(json.dumps(manifest))
    with pytest.raises(CorruptArtifact, match="outside"):
        read_manifest_file(tmp_path / "labels")


def kill_writers(store_url: str, directory: Path, num_kills: int, seed: int) -> int:
    """Kill writers of one artifact at random moments; give how many died before it was visible."""
    draws = random.Random(seed)
    start_s = time.monotonic()
    expected = write_artifact(open_store(store_url + "-rehearsal"), "kind", directory, parents=(), code="code", settings={}).id
    longest_s = 1.5 * (time.monotonic() - start_s)
    num_before = 0
    store = open_store(store_url)
    for turn in range(num_kills):
        command = [sys.executable, "-c", WRITER, store_url, str(directory)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            assert writer.stdout.readline() == b"ready\n"
            time.sleep(draws.uniform(0, longest_s))
            writer.send_signal(signal.SIGKILL)
        try:
            open_artifact(store, expected).verify()
        except ArtifactMissing:
            num_before += 1
        except ReelspaceError as error:
            pytest.fail(f"seed {seed}, kill {turn}: a half artifact is visible: {error}")
        assert write_artifact(store, "kind", directory, parents=(), code="code", settings={}).id == expected
        open_artifact(store, expected).verify()
        for key in list(store.list("artifacts/")):
            store.delete(key)
    return num_before


def large(directory: Path) -> Path:
    return filled(directory, {f"part-{number}": os.urandom(400_000) for number in range(8)})


def test_a_killed_writer_leaves_no_half_artifact(tmp_path: Path) -> None:
    seed = random.randrange(1 << 30)
    num_before = kill_writers(str(tmp_path / "store"), large(tmp_path / "in"), 24, seed)
    print(f"seed {seed}: {num_before} of 24 kills before the artifact was visible")
    assert num_before > 0


def test_a_killed_writer_leaves_no_half_artifact_on_s3(tmp_path: Path, s3_url: str) -> None:
    seed = random.randrange(1 << 30)
    num_before = kill_writers(s3_url, large(tmp_path / "in"), 4, seed)
    print(f"seed {seed}: {num_before} of 4 kills before the artifact was visible")


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_200_killed_writers_leave_no_half_artifact(tmp_path: Path) -> None:
    seed = random.randrange(1 << 30)
    num_before = kill_writers(str(tmp_path / "store"), large(tmp_path / "in"), 200, seed)
    print(f"seed {seed}: {num_before} of 200 kills before the artifact was visible")
    assert num_before > 20
