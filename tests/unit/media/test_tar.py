"""Archive members: any tar reads them, and their bytes depend on nothing but their content."""

import io
import subprocess
import tarfile
from pathlib import Path

import pytest

from reelspace.core.errors import CorruptArtifact
from reelspace.media.tar import END_OF_ARCHIVE, member, members

FILES = [("000000000007.json", b'{"a": 1}'), ("000000000007.f00.jpg", bytes(512)), ("000000000007.s16", b""), ("x", b"y" * 1025)]


def archive() -> bytes:
    return b"".join(member(name, data) for name, data in FILES) + END_OF_ARCHIVE


def test_pythons_tarfile_reads_what_is_written() -> None:
    with tarfile.open(fileobj=io.BytesIO(archive())) as tar:
        found = [(info.name, tar.extractfile(info).read()) for info in tar]  # type: ignore[union-attr]
        assert all((info.mtime, info.uid, info.gid, info.mode) == (0, 0, 0, 0o644) for info in tar.getmembers())
    assert found == FILES


def test_the_systems_tar_lists_what_is_written(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(archive())
    listed = subprocess.run(["tar", "-tf", str(tmp_path / "a.tar")], capture_output=True, text=True, check=True)
    assert listed.stdout.split() == [name for name, _ in FILES]
    assert not listed.stderr


def test_members_are_read_back() -> None:
    assert list(members(archive()[: -len(END_OF_ARCHIVE)])) == FILES


@pytest.mark.parametrize("cut", [100, 600, 1100])
def test_a_part_that_is_no_row_of_members_is_refused(cut: int) -> None:
    with pytest.raises(CorruptArtifact):
        list(members(archive()[:cut]))
    with pytest.raises(CorruptArtifact):
        list(members(b"\xff" * 512))
