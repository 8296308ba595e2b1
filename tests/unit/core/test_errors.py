"""The tree of errors and its exit codes."""

import errno
import inspect
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reelspace.core import errors
from reelspace.core.errors import DiskFull, InternalError, ReelspaceError, TemporaryError, UserError, as_reelspace_error

TREE = [value for value in vars(errors).values() if inspect.isclass(value) and issubclass(value, ReelspaceError)]


def test_exit_codes_follow_the_branch() -> None:
    for error in TREE:
        branch = [(UserError, 2), (TemporaryError, 75), (ReelspaceError, 70)]
        assert error.exit_code == next(code for parent, code in branch if issubclass(error, parent))


def test_the_drawing_shows_the_whole_tree() -> None:
    drawing = errors.__doc__ or ""
    assert [error.__name__ for error in TREE if error.__name__ not in drawing] == []


def test_an_error_of_ours_stays_what_it_is() -> None:
    for error in TREE:
        instance = error("words")
        assert as_reelspace_error(instance) is instance


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_temporary(number: int) -> None:
    found = as_reelspace_error(OSError(number, "words", "file"))
    assert (type(found), found.exit_code) == (DiskFull, 75)


def test_a_full_disk_wrapped_by_a_library_is_found() -> None:
    wrapped = RuntimeError("polars says: No space left on device (os error 28)")
    assert isinstance(as_reelspace_error(wrapped), DiskFull)
    chained = ValueError("writing failed")
    chained.__cause__ = OSError(errno.ENOSPC, "full")
    assert isinstance(as_reelspace_error(chained), DiskFull)


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="needs /dev/full, a device that is always full")
def test_a_full_disk_under_arrow_is_found() -> None:
    # Arrow gets an open file, never the path: write_table removes its target when it fails, and root may remove a device.
    table = pa.table({"a": list(range(100_000))})
    with pytest.raises(OSError, match="space") as caught, open("/dev/full", "wb", buffering=0) as full:
        pq.write_table(table, full)
    assert isinstance(as_reelspace_error(caught.value), DiskFull)


def test_a_disk_that_became_read_only_is_temporary() -> None:
    found = as_reelspace_error(OSError(errno.EROFS, "Read-only file system", "/store/a"))
    assert found.exit_code == 75
    assert "/store/a" in str(found)


def test_an_error_of_ours_behind_another_is_found() -> None:
    outer = RuntimeError("outer")
    outer.__cause__ = UserError("inner")
    assert as_reelspace_error(outer) is outer.__cause__


def test_anything_else_is_our_bug_on_one_line() -> None:
    found = as_reelspace_error(KeyError("two\nlines"))
    assert (type(found), found.exit_code) == (InternalError, 70)
    assert "\n" not in str(found)
    assert "KeyError" in str(found)
    assert isinstance(as_reelspace_error(OSError(errno.EACCES, "no")), InternalError)
