"""CRC-64 with the ISO 3309 polynomial, as tar-split records carry it.

The polynomial is x^64 + x^4 + x^3 + x + 1, bits reflected, initial value and final xor all ones. No module of the
standard library has it. ISA-L, which `isal` carries for its decompressor, does (20 GB/s); where its function cannot be
reached the same is computed by folding big integers (about 150 MB/s), which this sparse polynomial makes possible.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable

_ONES = 0xFFFFFFFFFFFFFFFF
_BLOCK = 1 << 14


def crc64_portable(data: bytes, crc: int = 0) -> int:
    """The CRC of `data`, which continues data whose CRC is `crc`. Pure Python."""
    state = crc ^ _ONES
    for start in range(0, len(data), _BLOCK):
        state = _fold(data[start : start + _BLOCK], state)
    return state ^ _ONES


def _fold(data: bytes, state: int) -> int:
    """Reduce data * x^64 modulo the polynomial.

    In the integer `rest` bit i is the coefficient of x^(width-1-i). With s a power of two, x^(64s) is congruent to
    x^4s + x^3s + x^s + 1 = (x^s + 1)(x^3s + 1): squaring is linear over GF(2). So the upper part of the polynomial is
    folded onto the lower with two shifts, and each round halves the width.
    """
    rest = int.from_bytes(data, "little") ^ state
    width = 8 * len(data) + 64
    while width > 64:
        s = 1 << (((width - 1) // 64).bit_length() - 1)
        kept = 64 * s
        high_width = width - kept
        high, low = rest & ((1 << high_width) - 1), rest >> high_width
        high ^= high << s
        high ^= high << 3 * s
        width = max(kept, high_width + 4 * s)
        rest = (low << (width - kept)) ^ (high << (width - high_width - 4 * s))
    return rest


def load() -> Callable[[bytes, int], int]:
    """The fastest `(data, crc) -> crc` of this machine. Loads isal: call it where a layer is about to be read."""
    try:
        import isal.isal_zlib  # lazy: only processes that unpack or check layers need it

        native = ctypes.CDLL(isal.isal_zlib.__file__).crc64_iso_refl
    except (ImportError, OSError, AttributeError):
        return crc64_portable
    native.restype = ctypes.c_uint64
    native.argtypes = [ctypes.c_uint64, ctypes.c_char_p, ctypes.c_uint64]

    def crc64(data: bytes, crc: int = 0) -> int:
        return int(native(crc, data, len(data)))

    return crc64 if crc64(b"123456789") == crc64_portable(b"123456789") else crc64_portable
