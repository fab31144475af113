"""The extra fields of a member: ZIP64's numbers, the Unicode name, and those that are refused.

Tolerated are fields that only describe (times, owners, padding, comments): nothing of them is
used. Refused are fields that would make other readers see another archive than we do: links,
devices, encryption, patches, names in another encoding. Section numbers are APPNOTE 6.3.10's.
"""

import stat
import struct
import zlib
from collections.abc import Sequence

from esdctl.transfer.refusal import refusal

_ZIP64 = 0x0001  # 4.5.3
_LANGUAGE_ENCODING = 0x0008  # 4.5.2
_PATCH = 0x000F  # 4.5.2
_PKWARE_UNIX = 0x000D  # 4.5.7
_STRONG_ENCRYPTION = 0x0017  # 4.5.12
_ASI_UNIX = 0x756E  # 4.6.1; its layout is in Info-ZIP's proginfo/extrafld.txt
_UNICODE_PATH = 0x7075  # 4.6.9
_AES = 0x9901  # 4.6.1

_REFUSED = {
    _STRONG_ENCRYPTION: "is encrypted (strong encryption)",
    _AES: "is encrypted (AES)",
    _PATCH: "is patch data",
    _LANGUAGE_ENCODING: "has a name in another encoding",
}
_PKWARE_UNIX_FIXED = 12  # two times, user and group; a link's target or a device's number follows
_PLAIN = (0, stat.S_IFREG, stat.S_IFDIR)

Fields = dict[int, bytes]


def read_extra(extra: bytes, member: str) -> Fields:
    """Split extra fields, and refuse those that change what a member is.

    Args:
        extra: the bytes of all fields.
        member: names the member in messages.

    Raises:
        IntegrityError: fields that are cut off, doubled, or of a refused kind.
    """
    fields: Fields = {}
    at = 0
    while at < len(extra):
        if at + 4 > len(extra):
            raise refusal(f"{member} has {len(extra) - at} bytes of junk in its extra fields")
        kind, length = struct.unpack_from("<2H", extra, at)
        at += 4
        if at + length > len(extra):
            raise refusal(f"{member} has a cut-off extra field 0x{kind:04x}")
        if kind in fields and kind in (_ZIP64, _UNICODE_PATH):
            raise refusal(f"{member} has two extra fields 0x{kind:04x}")
        fields[kind] = extra[at : at + length]
        _check_field(kind, fields[kind], member)
        at += length
    return fields


def with_zip64_values(
    fields: Fields, narrow: Sequence[tuple[int, int]], member: str
) -> tuple[int, ...]:
    """Replace each value that says "see ZIP64" by the ZIP64 field's.

    Args:
        fields: of the member.
        narrow: value and the value that means "see ZIP64", in the field's order (4.5.3).
        member: names the member in messages.

    Raises:
        IntegrityError: the ZIP64 field is missing, or shorter or longer than needed.
    """
    wanted = sum(value == widest for value, widest in narrow)
    zip64 = fields.get(_ZIP64)
    if zip64 is None:
        if wanted:
            raise refusal(f"{member} needs a ZIP64 field for its sizes or place, and has none")
        return tuple(value for value, _ in narrow)
    # The disk number, last in the field, has 4 bytes, the others 8.
    widths = ["L" if widest == 0xFFFF else "Q" for value, widest in narrow if value == widest]
    layout = struct.Struct("<" + "".join(widths))
    if len(zip64) != layout.size:
        raise refusal(f"{member} has a ZIP64 field of {len(zip64)} bytes, not {layout.size}")
    wide = iter(layout.unpack(zip64))
    return tuple(next(wide) if value == widest else value for value, widest in narrow)


def local_sizes(fields: Fields, compressed: int, size: int, member: str) -> tuple[int, int]:
    """The sizes in a local header, packed and unpacked.

    There the field holds both sizes or nothing (4.5.3), unpacked first.

    Raises:
        IntegrityError: the field is missing, has another length, or contradicts the header.
    """
    zip64 = fields.get(_ZIP64)
    widest = 0xFFFFFFFF
    if zip64 is None:
        if widest in (compressed, size):
            raise refusal(f"{member} needs a ZIP64 field in its local header, and has none")
        return compressed, size
    if len(zip64) != 16:
        raise refusal(f"{member} has a ZIP64 field of {len(zip64)} bytes locally, not 16")
    wide_size, wide_compressed = struct.unpack("<2Q", zip64)
    if compressed not in (widest, wide_compressed) or size not in (widest, wide_size):
        raise refusal(f"{member} has a local header whose ZIP64 field contradicts it")
    return wide_compressed, wide_size


def unicode_name(fields: Fields, raw: bytes, member: str) -> str | None:
    """The name in the Unicode path field; None without the field.

    Args:
        fields: of the member.
        raw: the name in the header; the field counts when it holds the CRC32 of these bytes.
        member: names the member in messages.

    Raises:
        IntegrityError: the field is too short, belongs to another name, or is not UTF-8.
    """
    field = fields.get(_UNICODE_PATH)
    if field is None:
        return None
    if len(field) < 5 or field[0] != 1:
        raise refusal(f"{member} has a Unicode path field of an unknown form")
    if int.from_bytes(field[1:5], "little") != zlib.crc32(raw):
        raise refusal(f"{member} has a Unicode path field that belongs to another name")
    try:
        return field[5:].decode("utf-8", "strict")
    except UnicodeDecodeError as error:
        raise refusal(f"{member} has a Unicode path field that is not UTF-8") from error


def _check_field(kind: int, content: bytes, member: str) -> None:
    if kind in _REFUSED:
        raise refusal(f"{member} {_REFUSED[kind]}")
    if kind == _PKWARE_UNIX and len(content) > _PKWARE_UNIX_FIXED:
        raise refusal(f"{member} is a link or a device, says its extra field 0x{kind:04x}")
    if kind == _ASI_UNIX and len(content) >= 6:
        mode = int.from_bytes(content[4:6], "little")
        if stat.S_IFMT(mode) not in _PLAIN:
            raise refusal(f"{member} is a link or a device, says its extra field 0x{kind:04x}")
