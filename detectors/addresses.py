"""IPv4 addresses of a whole frame as numbers, read from the bytes of its texts at once."""

from __future__ import annotations

from typing import Final

import numpy as np
import pyarrow as pa

from detectors.state import Array

NOT_SAID: Final = -2
OTHER: Final = -1
"""IPv6, or no address."""
_SHORTEST, _LONGEST = 7, 15  # letters of an address


def numbers_of(texts: pa.StringArray) -> Array:
    """Each text's number, OTHER, or NOT_SAID; one more NOT_SAID at the end, for null.

    >>> numbers_of(pa.array(["0.0.1.2", "1.2.3.256", "::1", ""])).tolist()
    [258, -1, -1, -2, -2]
    """
    told = np.full(len(texts) + 1, NOT_SAID, np.int64)
    offsets, letters = _buffers(texts)
    lengths = np.diff(offsets)
    told[:-1][lengths > 0] = OTHER
    likely = np.flatnonzero((lengths >= _SHORTEST) & (lengths <= _LONGEST))
    if len(likely):
        told[likely] = _read(letters, offsets[likely], lengths[likely])
    return told


def _buffers(texts: pa.StringArray) -> tuple[Array, Array]:
    """Where each text begins, and where the last ends; all bytes."""
    _, offsets, letters = texts.buffers()
    begins = np.frombuffer(offsets, np.int32)[texts.offset : texts.offset + len(texts) + 1] if offsets else np.zeros(1)
    return begins.astype(np.int64), np.frombuffer(letters, np.uint8) if letters else np.zeros(0, np.uint8)


def _read(letters: Array, begins: Array, lengths: Array) -> Array:
    """Letter by letter, for all of them: OTHER where one is not four numbers of 0 to 255 without leading zeros."""
    number, part, digits, dots = np.zeros(len(begins), np.int64), *np.zeros((3, len(begins)), np.int16)
    good = np.ones(len(begins), bool)
    last = len(letters) - 1
    for at in range(int(lengths.max())):
        letter = np.where(at < lengths, letters[np.minimum(begins + at, last)], ord("\0"))
        digit, dot = (letter >= ord("0")) & (letter <= ord("9")), letter == ord(".")
        good &= digit | dot | (at >= lengths)
        good &= ~(digit & (digits > 0) & (part == 0)) & ~(dot & (digits == 0))
        part = np.where(digit, part * 10 + letter - ord("0"), part).astype(np.int16)
        digits += digit
        good &= digits < 4  # no number grows beyond what its place can hold
        good &= part <= 255
        number = np.where(dot, number * 256 + part, number)
        part[dot] = digits[dot] = 0
        dots += dot
    good &= (dots == 3) & (digits > 0)
    told: Array = np.where(good, number * 256 + part, OTHER)
    return told
