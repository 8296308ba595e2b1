"""Hits in columns as the bytes of the dialect's messages: an object for each would cost more than the search that found them.

Legend: Q queries, K hits, H hits of all queries, B bytes.
"""

import struct
from typing import Final

import numpy as np
from numpy.typing import NDArray

from reelspace.search.storage.ids import NO_ID

Bytes = NDArray[np.uint8]
# Tags: the number of a field and how it is written; see https://protobuf.dev/programming-guides/encoding.
_RESULT: Final = b"\x0a"
_TIME: Final = b"\x11"
_VERSION: Final = b"\x28"
_DOUBLE: Final = struct.Struct("<d")
_ID_START: Final = 5
"""Bytes of a hit before the digits of its id: tag and length of the hit, of its id, and the tag of a number."""
_SCORE_BYTES: Final = 5
_RESULT_TAG, _ID_TAG, _NUMBER_TAG, _SCORE_TAG = 0x0A, 0x0A, 0x08, 0x1D


def batch_bytes(ids_QK3: NDArray[np.uint64], scores_QK: NDArray[np.float32], version: int, seconds: float) -> bytes:
    """Write a `QueryBatchResponse`.

    Args:
        ids_QK3: as `ids.id_words`, none of them a UUID; no hit where the kind is NO_ID.
    """
    sizes_QK, data = _hits(ids_QK3, scores_QK, version)
    parts: list[bytes] = []
    start = 0
    for size in sizes_QK.sum(axis=1).tolist():
        parts += (_RESULT, varint(size), data[start : start + size])
        start += size
    return b"".join((*parts, _TIME, _DOUBLE.pack(seconds)))


def varint(number: int) -> bytes:
    """Write a number in groups of 7 bits, the lowest first; all but the last byte have their highest bit set."""
    digits = bytearray()
    while number > 127:
        digits.append(number & 127 | 128)
        number >>= 7
    digits.append(number)
    return bytes(digits)


def _hits(ids_QK3: NDArray[np.uint64], scores_QK: NDArray[np.float32], version: int) -> tuple[NDArray[np.int64], bytes]:
    """Give the size of each hit, 0 for none, and the bytes of all, each as an element of a repeated field 1."""
    ids_H, are_hits_H = ids_QK3[:, :, 2].reshape(-1), (ids_QK3[:, :, 0] != NO_ID).reshape(-1)
    most = max(1, -(-int(ids_H.max(initial=0)).bit_length() // 7))
    end = np.frombuffer(_VERSION + varint(version) if version else b"", np.uint8)
    score = _ID_START + most
    # The same byte of all hits lies together, for numpy takes many times longer over rows of a few bytes.
    hits_BH = np.empty((score + _SCORE_BYTES + len(end), len(ids_H)), dtype=np.uint8)
    written_BH = np.empty(hits_BH.shape, dtype=np.bool_)
    written_BH[:] = are_hits_H
    num_digits_H = _write_digits(ids_H, hits_BH[_ID_START:score], written_BH[_ID_START:score])
    hits_BH[0] = _RESULT_TAG
    np.add(num_digits_H, _ID_START - 2 + _SCORE_BYTES + len(end), out=hits_BH[1])
    hits_BH[2] = _ID_TAG
    np.add(num_digits_H, 1, out=hits_BH[3])
    hits_BH[4] = _NUMBER_TAG
    hits_BH[score] = _SCORE_TAG
    hits_BH[score + 1 : score + _SCORE_BYTES] = np.ascontiguousarray(scores_QK, dtype="<f4").reshape(-1, 1).view(np.uint8).T
    hits_BH[score + _SCORE_BYTES :] = end[:, None]
    sizes_H = (hits_BH[1].astype(np.int64) + 2) * are_hits_H
    return sizes_H.reshape(scores_QK.shape), np.compress(written_BH.T.reshape(-1), hits_BH.T.reshape(-1)).tobytes()


def _write_digits(ids_H: NDArray[np.uint64], digits_BH: Bytes, written_BH: NDArray[np.bool_]) -> Bytes:
    """Write numbers as `varint` does, tell which bytes are not theirs, and give how many are."""
    num_digits_H = np.ones(len(ids_H), dtype=np.uint8)
    for place, digits_H in enumerate(digits_BH):
        rest_H = ids_H >> np.uint64(7)
        goes_on_H = rest_H > 0
        np.bitwise_or(ids_H.astype(np.uint8) & 127, goes_on_H.view(np.uint8) << 7, out=digits_H)
        num_digits_H += goes_on_H
        if place + 1 < len(written_BH):
            written_BH[place + 1] &= num_digits_H > place + 1
        ids_H = rest_H
    return num_digits_H
