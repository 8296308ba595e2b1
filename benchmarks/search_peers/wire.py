"""Messages between the benchmark and its workers: one JSON header, then raw arrays; nothing a reader would have to execute."""

import struct
from collections.abc import Mapping
from typing import IO, Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray

_LENGTH: Final = struct.Struct("<I")
DTYPES: Final = ("float32", "float64", "int64")


def write_message(stream: IO[bytes], header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]] | None = None) -> None:
    """Write a header of JSON values and named arrays of `DTYPES`."""
    arrays = {name: np.ascontiguousarray(array) for name, array in (arrays or {}).items()}
    assert all(str(array.dtype) in DTYPES for array in arrays.values()), "a new dtype needs a line in DTYPES"
    described = [[name, str(array.dtype), list(array.shape)] for name, array in arrays.items()]
    head = orjson.dumps({"header": header, "arrays": described})
    stream.write(_LENGTH.pack(len(head)) + head)
    for array in arrays.values():
        stream.write(array.reshape(-1).view(np.uint8).data)
    stream.flush()


def read_message(stream: IO[bytes]) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Read one message.

    Raises:
        EOFError: the other side has gone.
    """
    (length,) = _LENGTH.unpack(_read(stream, _LENGTH.size))
    head = orjson.loads(_read(stream, length))
    arrays = {}
    for name, dtype, shape in head["arrays"]:
        array = np.empty(shape, np.dtype(DTYPES[DTYPES.index(dtype)]))
        array.reshape(-1).view(np.uint8)[:] = np.frombuffer(_read(stream, array.nbytes), np.uint8)
        arrays[name] = array
    return head["header"], arrays


def _read(stream: IO[bytes], num_bytes: int) -> bytes:
    data = stream.read(num_bytes)
    if len(data) < num_bytes:
        raise EOFError(f"expected {num_bytes} bytes, {len(data)} came before the end of the stream")
    return data
