"""Arrays in numpy's .npy files: opened without reading them, written without knowing how many rows will come.

The header is read by numpy's own functions, which take no pickles; shape and size are checked before anything is mapped.
Format: numpy.lib.format, versions 1.0 and 2.0 (3.0 is for names of record fields, which are refused).
"""

import math
import mmap
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.lib import format as _npy
from numpy.typing import NDArray

from reelspace.core.errors import TableError

# numpy does not type these.
npy: Any = _npy
_HEADERS: Final = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


def open_npy(path: Path, num_axes: int) -> NDArray[Any]:
    """Map an array into memory; rows are read when they are touched.

    Raises:
        TableError: it is no .npy file, has objects or another number of axes, or its size is not what its header says.
    """
    try:
        with path.open("rb") as file:
            shape, is_fortran, dtype = _header(path, file)
            offset, size = file.tell(), file.seek(0, 2)
    except OSError as error:
        raise TableError(f"{path}: expected a readable file: {error.strerror}") from error
    if dtype.hasobject or len(shape) != num_axes or min(shape, default=0) < 0:
        raise TableError(f"{path}: expected an array of numbers of {num_axes} axes, it says {dtype} of shape {list(shape)}")
    # Python's integers do not overflow.
    wanted = math.prod(shape) * dtype.itemsize
    if size - offset != wanted:
        raise TableError(f"{path}: expected {wanted:,} bytes for {dtype} of shape {list(shape)}, got {size - offset:,}")
    if not wanted:
        return np.empty(shape, dtype)
    return np.memmap(path, dtype=dtype, mode="r", offset=offset, shape=shape, order="F" if is_fortran else "C")


def let_go(mapped: NDArray[Any]) -> None:
    """Give back the memory of what was read of a mapped array; it is read again when it is touched."""
    if isinstance(mapped.base, mmap.mmap):
        mapped.base.madvise(mmap.MADV_DONTNEED)


def _header(path: Path, file: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    try:
        shape, is_fortran, dtype = _HEADERS[npy.read_magic(file)](file)
    except (ValueError, KeyError) as error:
        raise TableError(f"{path}: expected a .npy file of version 1.0 or 2.0: {error}") from error
    return shape, is_fortran, dtype


class NpyRows:
    """A .npy file that grows by rows."""

    def __init__(self, file: BinaryIO, dtype: np.dtype[Any], row_shape: tuple[int, ...]) -> None:
        self.num_rows, self.dtype = 0, dtype
        self._file, self._row_shape = file, row_shape
        self._write_header()

    def append(self, rows: NDArray[Any]) -> None:
        """Write rows at the end."""
        assert rows.shape[1:] == self._row_shape
        self._file.write(np.ascontiguousarray(rows, dtype=self.dtype).data)
        self.num_rows += len(rows)

    def _write_header(self) -> None:
        # numpy leaves room for a longer number of rows, so that the header written last is as long as the first.
        shape = (self.num_rows, *self._row_shape)
        header = {"descr": npy.dtype_to_descr(self.dtype), "fortran_order": False, "shape": shape}
        npy.write_array_header_1_0(self._file, header)

    def finish(self) -> None:
        """Write the number of rows into the header."""
        end = self._file.tell()
        self._file.seek(0)
        self._write_header()
        assert self._file.tell() == end - self.num_rows * self.dtype.itemsize * math.prod(self._row_shape)
        self._file.seek(end)
