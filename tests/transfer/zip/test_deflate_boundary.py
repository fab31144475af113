"""A deflate stream that was cut off is entered anew: at a true block, or not at all."""

import random
import struct
import zlib

import pytest

from esdctl.transfer.zip.deflate_boundary import WINDOW, find_boundary
from esdctl.transfer.zip.inflate import new_inflater

KIB = 1024


def weights(draw: random.Random) -> bytes:
    return struct.pack("<80000f", *(draw.gauss(0, 0.02) for _ in range(80_000)))


def text(draw: random.Random) -> bytes:
    words = ["style", "of", "an", "image", "in", "abstract", "towers", "mosaic"]
    return " ".join(f"{draw.choice(words)} {draw.randrange(10**6)}" for _ in range(60_000)).encode()


def mixture(draw: random.Random) -> bytes:
    return b"".join(
        draw.choice([draw.randbytes(3000), bytes(2000), b"abc" * 1000]) for _ in range(500)
    )


CONTENTS = {"weights": weights, "text": text, "noise": lambda d: d.randbytes(700_000),
            "mixture": mixture}  # fmt: skip


def cut(kind: str, level: int) -> tuple[bytes, bytes, bytes, bytes]:
    """Content, its stream, the part of the stream before a cut, and what came out of that."""
    content = CONTENTS[kind](random.Random(level))
    packer = zlib.compressobj(level, zlib.DEFLATED, -zlib.MAX_WBITS)
    stream = packer.compress(content) + packer.flush()
    before = stream[: len(stream) * 2 // 3]
    unpacked = new_inflater().decompress(before, len(content))
    return content, stream, before, unpacked


@pytest.mark.parametrize("level", [1, 6, 9])
@pytest.mark.parametrize("kind", CONTENTS)
def test_the_rest_of_the_stream_follows_from_there(kind: str, level: int) -> None:
    content, stream, before, unpacked = cut(kind, level)
    first = max(0, len(before) - 128 * KIB)
    boundary = find_boundary(before[first:], unpacked, new_inflater)
    assert boundary is not None
    inflater = new_inflater(unpacked[boundary.unpacked - WINDOW : boundary.unpacked])
    rest = inflater.decompress(boundary.lead + stream[first + boundary.packed :], len(content))
    assert rest == content[boundary.unpacked :]
    assert inflater.eof


def test_other_bytes_on_the_disk_are_no_place_to_enter() -> None:
    _, _, before, unpacked = cut("weights", 6)
    wrong = bytearray(unpacked)
    wrong[-1] ^= 1
    assert find_boundary(before[-128 * KIB :], bytes(wrong), new_inflater) is None


def test_what_is_no_deflate_stream_has_no_place_to_enter() -> None:
    draw = random.Random(5)
    noise, unpacked = draw.randbytes(128 * KIB), draw.randbytes(256 * KIB)
    assert find_boundary(noise, unpacked, new_inflater) is None


def test_a_bomb_is_not_unpacked_further_than_the_bytes_that_are_known() -> None:
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    bomb = packer.compress(bytes(200 * KIB * KIB)) + packer.flush()  # 200 MiB in 200 kB
    assert find_boundary(bomb, bytes(2 * WINDOW), new_inflater) is None
