"""State as bytes: a small JSON part and arrays, byte planes apart, compressed. Versioned; nothing in it is executed."""

from __future__ import annotations

import json
import math
from typing import Any, Final

import numpy as np
import pyarrow as pa

from detectors.state import Array

MAGICS: Final = (b"KFS4", b"KFS5")
"""Versions. The newer one is the same but for the shards that keys are in: see `snapshots.py`."""
_MAX_BYTES: Final = 1 << 30
_LEVEL: Final = 3


def encode(meta: dict[str, Any], arrays: dict[str, Array], *, magic: bytes = MAGICS[0]) -> bytes:
    """The same values give the same bytes.

    >>> meta, arrays = decode(encode({"clock": 7}, {"peak": np.array([1.5, 2.5], "f4")}))
    >>> meta, arrays["peak"].tolist()
    ({'clock': 7}, [1.5, 2.5])
    """
    shapes = [(name, array.dtype.str, list(array.shape)) for name, array in arrays.items()]
    head = json.dumps({"meta": meta, "arrays": shapes}, separators=(",", ":"), sort_keys=True).encode()
    payload = b"".join((len(head).to_bytes(4, "little"), head, *map(_planes, arrays.values())))
    packed: bytes = pa.Codec("zstd", _LEVEL).compress(payload, asbytes=True)
    return magic + len(payload).to_bytes(8, "little") + packed


def decode(data: bytes) -> tuple[dict[str, Any], dict[str, Array]]:
    """The JSON part and arrays of `encode`; ValueError when the bytes are of no such version or damaged."""
    size = int.from_bytes(data[4:12], "little")
    if data[:4] not in MAGICS or size > _MAX_BYTES:
        raise ValueError("not a state of this version")
    try:
        payload: bytes = pa.Codec("zstd").decompress(data[12:], decompressed_size=size, asbytes=True)
        end = 4 + int.from_bytes(payload[:4], "little")
        head = json.loads(payload[4:end])
        return head["meta"], _arrays(head["arrays"], payload, end)
    except (pa.ArrowInvalid, OSError, KeyError, IndexError, TypeError) as error:
        raise ValueError(f"damaged state: {error}") from error


def _arrays(shapes: list[tuple[str, str, list[int]]], payload: bytes, start: int) -> dict[str, Array]:
    arrays = {}
    for name, dtype_text, shape in shapes:
        dtype, count = np.dtype(dtype_text), math.prod(shape)
        planes = np.frombuffer(payload, np.uint8, count * dtype.itemsize, start)
        arrays[name] = planes.reshape(dtype.itemsize, count).T.copy().view(dtype).reshape(shape)
        start += count * dtype.itemsize
    return arrays


def _planes(array: Array) -> bytes:
    """First bytes of all numbers, then second bytes: high bytes are nearly all alike and compress to nothing."""
    flat = np.ascontiguousarray(array).reshape(-1)
    return flat.view(np.uint8).reshape(len(flat), array.dtype.itemsize).T.tobytes()
