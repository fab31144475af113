"""Finds where a block begins in the middle of a deflate stream (RFC 1951), to go on from there.

A decompressor's state cannot be kept, so a stream that was cut off is entered anew. Deflate blocks
begin at any bit and bear no mark. But a dynamic block opens with a code of code lengths that has to
be complete (3.2.7), a stored one with a length and its complement (3.2.4); few other places look
like that, and only a true one unpacks to the bytes that are on the disk already. What precedes the
block is given to the decompressor as its dictionary (the window of 32 KiB).
"""

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

WINDOW = 32 * 1024  # how far deflate refers back
PROBE = 4096  # packed bytes that a place has to survive before it is tried in full
SLACK = 64  # bytes that a decompressor may hold back at the end of its input
_LENGTHS_OF_CODES = 19  # symbols of the code length code, 3 bits each
_HEADER_BITS = 3 + 5 + 5 + 4
_LARGEST_HEADER = _HEADER_BITS + 3 * _LENGTHS_OF_CODES
_CODE_SPACE = 128  # 2**7: lengths of code lengths are at most 7

Bits = NDArray[np.uint8]
Places = NDArray[np.intp]


class Inflater(Protocol):
    """What zlib's and isal's decompression objects share."""

    def decompress(self, data: bytes, max_length: int) -> bytes: ...


@dataclass(frozen=True)
class Boundary:
    """Where to enter.

    Args:
        lead: bytes to feed first: empty blocks up to the right bit, and that byte's other bits.
        packed: offset of the next packed byte after ``lead``.
        unpacked: offset of the first byte that comes out.
    """

    lead: bytes
    packed: int
    unpacked: int


def find_boundary(
    packed: bytes, unpacked: bytes, new_inflater: Callable[[bytes], Inflater]
) -> Boundary | None:
    """Find the first place in ``packed`` where a block begins whose bytes are known.

    Args:
        packed: a part of a raw deflate stream.
        unpacked: what came out of the stream up to the end of ``packed``, the last bytes of it: at
            least the window, and what ``packed`` unpacks to.
        new_inflater: dictionary -> decompressor of a raw stream.

    Returns:
        The place, proven by unpacking from there to the end; None when there is none.
    """
    most = max(1, len(unpacked) - WINDOW)
    for byte, lead in _leads(packed):
        probe = zlib.decompressobj(wbits=-zlib.MAX_WBITS, zdict=bytes(WINDOW))
        try:
            probe.decompress(lead + packed[byte : byte + PROBE], most)
            entered = new_inflater(bytes(WINDOW))
            length = len(entered.decompress(lead + packed[byte:], most))
        except Exception:  # isal's error is no zlib.error, and either says: not here
            continue
        for held_back in range(SLACK):
            start = len(unpacked) - length - held_back
            if start <= WINDOW:  # too early; perhaps more came out than is known
                break
            entered = new_inflater(unpacked[start - WINDOW : start])
            if entered.decompress(lead + packed[byte:], most) == unpacked[start : start + length]:
                return Boundary(lead, byte, start)
    return None


def _leads(packed: bytes) -> Iterator[tuple[int, bytes]]:
    """Places that look like the beginning of a block: offset of the next byte, and its lead."""
    bits = np.unpackbits(np.frombuffer(packed, np.uint8), bitorder="little")
    dynamic = [(int(place), False) for place in _dynamic_headers(bits)]
    stored = [(8 * place, True) for place in _stored_lengths(packed)]
    for place, is_stored in sorted(dynamic + stored):
        byte, bit = divmod(place, 8)
        if is_stored:
            yield byte, b"\0"  # the block's first three bits; the rest of their byte is padding
        else:
            yield byte + 1, _lead(bit, packed[byte])


def _dynamic_headers(bits: Bits) -> Places:
    """Bit offsets at which a dynamic block that is not the last may begin."""
    last = len(bits) - _LARGEST_HEADER
    if last <= 0:
        return np.empty(0, np.intp)
    is_header = (bits[:last] == 0) & (bits[1 : last + 1] == 0) & (bits[2 : last + 2] == 1)
    places = np.flatnonzero(is_header)
    literals, distances = _number(bits, places + 3, 5), _number(bits, places + 8, 5)
    places = places[(literals <= 29) & (distances <= 29)]
    used = _number(bits, places + 13, 4) + 4
    space = np.zeros(len(places), np.int64)
    for index in range(_LENGTHS_OF_CODES):
        length = _number(bits, places + _HEADER_BITS + 3 * index, 3)
        space += np.where((length > 0) & (index < used), _CODE_SPACE >> length, 0)
    found: Places = places[space == _CODE_SPACE]
    return found


def _number(bits: Bits, places: Places, width: int) -> NDArray[np.int64]:
    """The numbers of ``width`` bits at these places, least significant bit first."""
    number = np.zeros(len(places), np.int64)
    for index in range(width):
        number |= bits[places + index].astype(np.int64) << index
    return number


def _stored_lengths(packed: bytes) -> list[int]:
    """Byte offsets of what looks like LEN and NLEN of a stored block."""
    octets = np.frombuffer(packed, np.uint8)
    if len(octets) < 4:
        return []
    is_complement = (octets[:-3] ^ octets[2:-1] == 255) & (octets[1:-2] ^ octets[3:] == 255)
    return [int(place) for place in np.flatnonzero(is_complement)]


def _lead(bit: int, byte: int) -> bytes:
    """Empty blocks that end at ``bit`` of a byte, whose other bits are those of ``byte``."""
    bits = [] if bit % 2 == 0 else list(_EMPTY_DYNAMIC)
    while len(bits) % 8 != bit:
        bits += _EMPTY_FIXED
    bits += [byte >> index & 1 for index in range(bit, 8)]
    return np.packbits(np.array(bits, np.uint8), bitorder="little").tobytes()


def _field(number: int, width: int) -> list[int]:
    return [number >> index & 1 for index in range(width)]


_EMPTY_FIXED = [0, 1, 0, *_field(0, 7)]  # 10 bits: header, end of block
# An empty block of an odd number of bits (91). Code lengths 1 and 18 (a run of zeros) have one bit
# each: 1, 138 zeros, 117 zeros, 1 (end of block), 1 (a distance code).
_EMPTY_DYNAMIC = [
    0, 0, 1, *_field(0, 5), *_field(0, 5), *_field(14, 4),
    *(bit for symbol in (16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1)
      for bit in _field(symbol in (1, 18), 3)),
    0, 1, *_field(138 - 11, 7), 1, *_field(117 - 11, 7), 0, 0,
    1,
]  # fmt: skip
