"""torch's ZIP form (1.6 and later): ``data.pkl`` and one stored record a storage.

Python's ``zipfile`` reads the directory; the rules here make sure that every other reader would see
the same records, and that each storage is a run of bytes of its own in the file.
"""

import struct
import zipfile
import zlib
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from esdctl.checkpoints.pickles.machine import run_pickle
from esdctl.checkpoints.pickles.storages import MAX_PICKLE, Storage, storage_of
from esdctl.checkpoints.pickles.stored_tensor import TorchCalls
from esdctl.checkpoints.pickles.values import PickleFault
from esdctl.untrusted_text import shown

MAX_RECORDS = 100_000
_MAX_DIRECTORY = 32 * 2**20  # bytes; about 100 a record
_LOCAL = struct.Struct("<4s5H3L2H")  # ZIP's local file header
_END = struct.Struct("<4s4H2LH")  # its end of central directory record
_END64 = struct.Struct("<4sQ2H2L4Q")  # ZIP64's
_ENCRYPTED = 0x1
_TORCHSCRIPT = ("constants.pkl", "code/")


def read_zip(path: Path) -> tuple[object, tuple[str, ...]]:
    """The value of the pickle in a ZIP checkpoint, and the classes that it left aside.

    Its storages are found in the file.

    Raises:
        PickleFault: what is wrong with the file.
    """
    with path.open("rb") as file:
        records = _read_records(file)
        top, pickle = _pickle_of(records)
        _check_kind(file, records, top)
        if pickle.file_size > MAX_PICKLE:
            raise PickleFault(f"its pickle has {pickle.file_size} bytes, more than {MAX_PICKLE}")
        content = _read_record(file, pickle)
    calls = TorchCalls(_StoragesOfRecords(records, top).load)
    return run_pickle(BytesIO(content), calls), calls.left_aside


class _StoragesOfRecords:
    """Persistent ids to storages, each held against the record that it names."""

    def __init__(self, records: dict[str, zipfile.ZipInfo], top: str) -> None:
        self._records = records
        self._top = top
        self._known: dict[str, Storage] = {}

    def load(self, identity: object) -> object:
        storage = storage_of(identity, self._known)
        record = self._records.get(f"{self._top}data/{storage.key}")
        if record is None:
            raise PickleFault(f"its storage {shown(storage.key)} has no record in the ZIP")
        if record.file_size != storage.bytes:
            fault = f"claims {storage.bytes} bytes, its record has {record.file_size}"
            raise PickleFault(f"its storage {shown(storage.key)} {fault}")
        storage.start = record.header_offset  # moved behind the local header by _read_records
        storage.crc32 = record.CRC
        return storage


def _read_records(file: BinaryIO) -> dict[str, zipfile.ZipInfo]:
    """Every record by name; ``header_offset`` moved to where its data begins."""
    _check_end(file)
    try:
        with zipfile.ZipFile(file) as archive:
            infos = archive.infolist()
            directory = archive.start_dir
    except (zipfile.BadZipFile, ValueError, OverflowError, NotImplementedError, struct.error) as e:
        raise PickleFault(f"its ZIP directory is damaged ({shown(str(e))})") from None
    if len(infos) > MAX_RECORDS:
        raise PickleFault(f"its ZIP has {len(infos)} records, more than {MAX_RECORDS}")
    records: dict[str, zipfile.ZipInfo] = {}
    infos.sort(key=lambda info: info.header_offset)
    if not infos or infos[0].header_offset != 0:
        raise PickleFault("its ZIP begins with bytes of no record")
    ends = [info.header_offset for info in infos[1:]] + [directory]
    for info, end in zip(infos, ends, strict=True):
        name = _checked_name(info)
        if name in records:
            raise PickleFault(f"its ZIP holds the record {shown(name)} twice")
        records[name] = info
        start = _data_start(file, info)
        if start + info.compress_size > end:
            raise PickleFault(f"its record {shown(name)} overlaps the next one")
        info.header_offset = start
    return records


def _check_end(file: BinaryIO) -> None:
    """The end record must end the file, and name no absurd directory; before zipfile reads it."""
    size = file.seek(0, 2)
    file.seek(max(0, size - _END.size - 20 - _END64.size))
    tail = file.read()
    if len(tail) < _END.size or not tail[-_END.size :].startswith(b"PK\x05\x06"):
        raise PickleFault("its ZIP has no end: the file was cut off, or bytes follow it")
    *_, directory, _, comment = _END.unpack(tail[-_END.size :])
    place = tail.find(b"PK\x06\x06")
    if directory == 0xFFFFFFFF and 0 <= place <= len(tail) - _END64.size:
        directory = _END64.unpack_from(tail, place)[8]
    if comment:
        raise PickleFault("its ZIP has a comment, which no checkpoint has")
    if directory > _MAX_DIRECTORY:
        raise PickleFault(f"its ZIP directory claims {directory} bytes, more than {_MAX_DIRECTORY}")


def _checked_name(info: zipfile.ZipInfo) -> str:
    name = info.orig_filename
    parts = PurePosixPath(name).parts
    if name.startswith(("/", "\\")) or "\\" in name or ".." in parts or name[1:2] == ":":
        raise PickleFault(f"its record {shown(name)} is a path that leads elsewhere")
    if not name.isprintable():
        raise PickleFault(f"its record {shown(name)} has a control character in its name")
    if info.flag_bits & _ENCRYPTED:
        raise PickleFault(f"its record {shown(name)} is encrypted")
    if info.compress_type != zipfile.ZIP_STORED:
        raise PickleFault(f"its record {shown(name)} is compressed, and torch compresses nothing")
    if info.file_size != info.compress_size:
        raise PickleFault(f"its record {shown(name)} is stored, yet has two sizes")
    return name


def _data_start(file: BinaryIO, info: zipfile.ZipInfo) -> int:
    """Where the record's bytes begin; the local header must name the record as the directory."""
    file.seek(info.header_offset)
    header = file.read(_LOCAL.size)
    if len(header) < _LOCAL.size or not header.startswith(b"PK\x03\x04"):
        raise PickleFault(f"its record {shown(info.orig_filename)} has no local header")
    _, _, flags, method, _, _, _, _, _, name_length, extra_length = _LOCAL.unpack(header)
    raw = file.read(name_length)
    try:
        spelled = raw.decode("utf-8" if flags & 0x800 else "cp437")
    except UnicodeDecodeError:
        spelled = ""
    if spelled != info.orig_filename or method != info.compress_type or flags & _ENCRYPTED:
        name = shown(info.orig_filename)
        raise PickleFault(f"its record {name} is described otherwise by its local header")
    lengths: int = name_length + extra_length
    return info.header_offset + _LOCAL.size + lengths


def _pickle_of(records: dict[str, zipfile.ZipInfo]) -> tuple[str, zipfile.ZipInfo]:
    """The folder that holds everything (with a slash), and the pickle in it."""
    pickles = [name for name in records if name == "data.pkl" or name.endswith("/data.pkl")]
    if not pickles:
        raise PickleFault("its ZIP is no checkpoint: it has no data.pkl", is_other_kind=True)
    if len(pickles) > 1:
        raise PickleFault("its ZIP holds several data.pkl")
    top = pickles[0].removesuffix("data.pkl")
    strays = [name for name in records if not name.startswith(top)]
    if strays:
        raise PickleFault(f"its ZIP holds {shown(strays[0])} beside the checkpoint")
    return top, records[pickles[0]]


def _check_kind(file: BinaryIO, records: dict[str, zipfile.ZipInfo], top: str) -> None:
    if any(name.startswith(tuple(top + part for part in _TORCHSCRIPT)) for name in records):
        raise PickleFault("it is a TorchScript archive, which holds code", is_other_kind=True)
    order = records.get(f"{top}byteorder")
    if order is not None and (order.file_size > 16 or _read_record(file, order) != b"little"):
        raise PickleFault("it was written by a big-endian machine", is_other_kind=True)


def _read_record(file: BinaryIO, info: zipfile.ZipInfo) -> bytes:
    file.seek(info.header_offset)
    content = file.read(info.file_size)
    # torch writes 0 where it was told to count no CRC32.
    if len(content) != info.file_size or info.CRC not in (0, zlib.crc32(content)):
        name = shown(info.orig_filename)
        raise PickleFault(f"its record {name} is damaged: the CRC32 differs")
    return content
