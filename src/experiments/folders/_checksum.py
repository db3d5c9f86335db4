"""The checksum of TensorBoard's records, CRC-32C, which TensorBoard's own function needs a millisecond per 9 kB for."""

import struct
from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

POLYNOMIAL = 0x82F63B78
"""Of CRC-32C (Castagnoli), reflected; see RFC 3720, appendix B.4."""
BLOCK = 256
"""Bytes that one table is for: the table has the checksum of each byte at each place in a block."""
SHORT = 60
"""The longest record that a loop over its bytes is faster for."""
LENGTH, CHECKSUM = struct.Struct("<Q"), struct.Struct("<I")


def record(content: bytes) -> bytes:
    """Return a record of an event file: the length and its checksum, the content and its checksum."""
    length = LENGTH.pack(len(content))
    return b"".join((length, CHECKSUM.pack(masked(length)), content, CHECKSUM.pack(masked(content))))


def masked(content: bytes) -> int:
    """Return the checksum in the form in which a record has it."""
    value = function()(content)
    return (((value >> 15) | (value << 17)) + 0xA282EAD8) & 0xFFFFFFFF


@cache
def function() -> Callable[[bytes], int]:
    """Return the fastest function that is installed."""
    try:
        google_crc32c: Any = import_module("google_crc32c")
    except ImportError:
        return checksum
    own: Callable[[bytes], int] = google_crc32c.value
    return own


def checksum(content: bytes) -> int:
    """Return the CRC-32C of bytes.

    The checksum is linear: that of a block is the exclusive or of the checksums of its bytes, each with as many zeros
    behind it as the byte has successors. So all blocks are looked up at once, and then joined.
    """
    flat, table, offsets = tables()
    if len(content) <= SHORT:
        value = 0xFFFFFFFF
        for byte in content:
            value = (value >> 8) ^ table[0][(value ^ byte) & 0xFF]
        return value ^ 0xFFFFFFFF
    padding = -len(content) % BLOCK  # zeros in front do not count
    padded = np.zeros(padding + len(content), dtype=np.int32)
    padded[padding:] = np.frombuffer(content, dtype=np.uint8)
    padded[padding : padding + 4] ^= 0xFF  # the value that a checksum begins with
    blocks = np.bitwise_xor.reduce(flat[padded.reshape(-1, BLOCK) + offsets], axis=1)
    first, second, third, fourth = (table[BLOCK - 1 - byte] for byte in range(4))
    value = 0
    for block in blocks.tolist():
        value = (
            block
            ^ first[value & 0xFF]
            ^ second[(value >> 8) & 0xFF]
            ^ third[(value >> 16) & 0xFF]
            ^ fourth[value >> 24]
        )
    return int(value) ^ 0xFFFFFFFF


@cache
def tables() -> tuple[NDArray[np.uint32], dict[int, list[int]], NDArray[np.int32]]:
    """Return the checksums of each byte followed by 0 to 255 zeros, as one array by place in a block, those that are
    needed as lists by the number of zeros, and the place of each byte of a block in the array."""
    single = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        single = np.where(single & 1, (single >> 1) ^ np.uint32(POLYNOMIAL), single >> 1)
    rows = [single]
    for _ in range(BLOCK - 1):
        rows.append((rows[-1] >> 8) ^ single[rows[-1] & 0xFF])
    lists = {zeros: rows[zeros].tolist() for zeros in (0, *range(BLOCK - 4, BLOCK))}
    return np.concatenate(rows[::-1]), lists, np.arange(BLOCK, dtype=np.int32) * 256
