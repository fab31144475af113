"""Which ZIPs are refused, and why; touches neither disk nor network.

The order of use: ``find_directory`` on the archive's last bytes, ``read_directory`` on the
directory, then for each member ``check_local_header`` and ``check_descriptor`` around its packed
bytes. Whoever inflates must see exactly ``compressed`` bytes make exactly ``size`` bytes with
``crc32``, and counts while doing so.

**One reading.** Python's zipfile, unzip, libarchive and streaming readers find members in four
different ways. Every byte of an accepted archive therefore has one meaning: members one behind
another from the first byte, the directory directly behind them, the end records directly behind
that, nothing else. Each account of a fact (local header, data descriptor, directory, ZIP64 field,
Unicode path, both end records) says the same.

**One place.** A name is a relative path that means the same file on every system
(``names``), and an entry is a plain file or folder: no link, device or label, by whichever of
its attributes or extra fields.

**One cost.** Caps on members (with the folders they imply), on the directory, on unpacked bytes
and on ratios (``limits``), before a byte is unpacked. Reading takes linear time, and memory
in proportion to the directory.

**Tolerated**, since real writers do it and no reader is misled:

- any order of the directory's entries; comments of archive and entries, if no end record hides
  in them; a nested archive, which is a file as any other and never opened;
- extra fields that only describe (times, owners, padding), any permissions, any time stamp: none
  of them is used, files get the user's own defaults;
- data descriptors with or without signature, with 4 or 8 bytes a size, and a local header that
  has zeros or the true values where one follows, also for stored members;
- ZIP64 fields in a local header that would not need them (streaming writers), and ZIP64 end
  records that would not be needed, when they agree;
- 65,535 members without ZIP64 (Python writes that);
- names without the UTF-8 flag: CP437, as the format says, also where Info-ZIP or macOS meant
  UTF-8 without a word; UTF-8 when a Unicode path field tells the very same bytes.

Refused although the format allows it: digital signatures, archive-wide encryption, several disks,
extensible data in ZIP64's end record, ZIP64 fields in the directory longer than needed, folders
with content, and every method but stored and deflated.
"""

from esdctl.transfer.zip.directory import Member, read_directory
from esdctl.transfer.zip.end_record import TAIL_SIZE, DirectoryPlace, find_directory
from esdctl.transfer.zip.limits import Limits
from esdctl.transfer.zip.local_header import (
    check_descriptor,
    check_local_header,
    local_header_length,
)
from esdctl.transfer.zip.names import check_name, check_names

__all__ = [
    "TAIL_SIZE",
    "DirectoryPlace",
    "Limits",
    "Member",
    "check_descriptor",
    "check_local_header",
    "check_name",
    "check_names",
    "find_directory",
    "local_header_length",
    "read_directory",
]
