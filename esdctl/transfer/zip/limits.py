"""How much an archive may unpack to: caps against bombs, per member and in total."""

from dataclasses import dataclass

from esdctl.transfer.refusal import refusal
from esdctl.transfer.zip.names import MAX_NAMES

STORED = 0
DEFLATED = 8

# zlib's "Maximum Compression Factor": two bits make 258 bytes, so no deflate stream gives more.
_DEFLATE_CEILING = 1032
_MIB = 2**20


@dataclass(frozen=True)
class Limits:
    """What an archive may hold.

    Args:
        max_members: members, and also members with the folders that they imply.
        max_directory: bytes of the central directory, which is read into memory.
        max_total: bytes of all members unpacked.
        max_ratio: unpacked over packed bytes of one member; 1,032 is what deflate can reach.
        max_total_ratio: unpacked bytes of all members over the bytes of the archive.
        ratio_from: bytes; nothing that unpacks to less is a bomb, whatever its ratio.
    """

    max_members: int = MAX_NAMES
    max_directory: int = 32 * _MIB
    max_total: int = 2**40
    max_ratio: int = 200
    max_total_ratio: int = 100
    ratio_from: int = _MIB


DEFAULT_LIMITS = Limits()


def check_size(member: str, method: int, compressed: int, size: int, limits: Limits) -> None:
    """Refuse sizes of one member that are impossible or a bomb's.

    Raises:
        IntegrityError: what is wrong, with the member.
    """
    if method == STORED and compressed != size:
        raise refusal(f"{member} is stored, yet {size} bytes are said to lie in {compressed}")
    if method == DEFLATED and compressed == 0:
        raise refusal(f"{member} is deflated into no byte at all")
    if size > limits.max_total:
        raise refusal(f"{member} unpacks to {size} bytes, more than {limits.max_total}")
    if method == DEFLATED and size > compressed * _DEFLATE_CEILING:
        raise refusal(f"{member} claims {size} bytes, which deflate cannot pack in {compressed}")
    if size > limits.ratio_from and size > compressed * limits.max_ratio:
        raise refusal(f"{member} is a bomb: {compressed} bytes unpack to {size}")


def check_total(unpacked: int, total: int, limits: Limits) -> None:
    """Refuse an archive of ``total`` bytes that unpacks to too much.

    Raises:
        IntegrityError: the cap on bytes or on the ratio is passed.
    """
    if unpacked > limits.max_total:
        raise refusal(f"the archive unpacks to {unpacked} bytes, more than {limits.max_total}")
    if unpacked > limits.ratio_from and unpacked > total * limits.max_total_ratio:
        raise refusal(f"the archive is a bomb: {total} bytes unpack to {unpacked}")
