"""Attacks by the file: tricks with ZIP records, and what is no checkpoint."""

from dataclasses import replace

from esdctl.errors import InputError
from tests.attacks.checkpoint_attack import CheckpointAttack
from tests.attacks.checkpoint_builder import (
    FLOATS,
    entries_of,
    legacy_file,
    state_dict,
    tar_file,
    tensor,
    zip_file,
)
from tests.attacks.zip_builder import DEFLATED, Archive, Entry

_GOOD = state_dict(tensor())
_ENTRIES = entries_of(_GOOD)
_PICKLE, _STORAGE, _VERSION = _ENTRIES
_SOUND = zip_file(_GOOD)


def _zip(title: str, message: str, *entries: Entry, **options: object) -> CheckpointAttack:
    archive = replace(Archive(entries), **options)  # type: ignore[arg-type]
    return CheckpointAttack(title, message, archive.build())


def _beside(title: str, message: str, *more: Entry) -> CheckpointAttack:
    return _zip(title, message, *_ENTRIES, *more)


def _other(title: str, message: str, data: bytes) -> CheckpointAttack:
    return CheckpointAttack(title, message, data, InputError)


ZIPS = (
    _beside("pickle twice", "holds the record 'archive/data.pkl' twice",
            replace(_PICKLE, data=b"N.")),
    _beside("storage twice", "holds the record 'archive/data/0' twice", _STORAGE),
    _beside("two pickles", "its ZIP holds several data.pkl", Entry("other/data.pkl", _GOOD)),
    _beside("file beside the checkpoint", "holds 'evil.py' beside the checkpoint",
            Entry("evil.py", b"")),
    _beside("absolute record", "is a path that leads elsewhere", Entry("/etc/passwd")),
    _beside("record above the folder", "is a path that leads elsewhere",
            Entry("archive/../../evil.py")),
    _beside("record on another drive", "is a path that leads elsewhere", Entry("C:evil.py")),
    _beside("record with backslashes", "is a path that leads elsewhere",
            Entry("archive\\..\\evil.py")),
    _beside("record with a NUL", "has a control character", Entry("archive/data.pkl\0.txt")),
    _zip("compressed bomb as the pickle", "is compressed, and torch compresses nothing",
         replace(_PICKLE, data=bytes(2**24), method=DEFLATED), _STORAGE, _VERSION),
    _zip("compressed bomb as a storage", "is compressed, and torch compresses nothing",
         _PICKLE, replace(_STORAGE, data=bytes(2**24), method=DEFLATED), _VERSION),
    _zip("stored with two sizes", "is stored, yet has two sizes",
         _PICKLE, replace(_STORAGE, central={"size": 2**31}), _VERSION),
    _zip("encrypted record", "is encrypted", _PICKLE, replace(_STORAGE, flags=1), _VERSION),
    _zip("two records on the same bytes", "overlaps the next one",
         _PICKLE, replace(_STORAGE, central={"compressed": 60, "size": 60}), _VERSION),
    _zip("record beyond the directory", "overlaps the next one",
         _PICKLE, _STORAGE, replace(_VERSION, central={"compressed": 999, "size": 999})),
    _zip("record on another's local header", "overlaps the next one",
         _PICKLE, replace(_STORAGE, central={"offset": 0}), _VERSION),
    _zip("local header of another name", "described otherwise by its local header",
         _PICKLE, replace(_STORAGE, local={"name": b"archive/data/1"}), _VERSION),
    _zip("local header of another method", "described otherwise by its local header",
         replace(_PICKLE, local={"method": 8}), _STORAGE, _VERSION),
    _zip("record without a local header", "has no local header",
         _PICKLE, replace(_STORAGE, local={"signature": b"evil"}), _VERSION),
    _zip("damaged pickle", "the CRC32 differs",
         replace(_PICKLE, packed=_GOOD.replace(b"weight", b"w?ight")), _STORAGE, _VERSION),
    _zip("damaged storage", "the CRC32 differs",
         _PICKLE, replace(_STORAGE, packed=FLOATS[:-1] + b"\x41"), _VERSION),
    _other("big-endian", "written by a big-endian machine",
           Archive((*_ENTRIES, Entry("archive/byteorder", b"big"))).build()),
    _zip("directory of 2 GB", "its ZIP directory claims", *_ENTRIES, end={"size": 2**31}),
    _zip("directory elsewhere", "begins with bytes of no record", *_ENTRIES, end={"offset": 2**30}),
    _zip("directory of another kind", "its ZIP directory is damaged",
         _PICKLE, replace(_STORAGE, central={"signature": b"evil"}), _VERSION),
    _zip("bytes behind the end", "has no end", *_ENTRIES, after=b"evil"),
    _zip("comment", "has no end", *_ENTRIES, comment=b"evil"),
    _zip("junk before the first record", "begins with bytes of no record", *_ENTRIES,
         before=b"PK\3\4" + bytes(60)),
    _zip("cut off", "has no end: the file was cut off", *_ENTRIES, cut=40),
    _zip("cut off within the first record", "has no end: the file was cut off", *_ENTRIES,
         cut=len(_SOUND) - 50),
    _other("TorchScript", "a TorchScript archive, which holds code",
           Archive((*_ENTRIES, Entry("archive/constants.pkl", b"N."))).build()),
    _other("ZIP of pictures", "it has no data.pkl", Archive((Entry("dog.jpg"),)).build()),
)  # fmt: skip

OTHERS = (
    _other("HTML page", "is an HTML page, not a checkpoint",
           b"\n<!DOCTYPE html><html><title>404</title></html>"),
    _other("JSON answer", "is a JSON text", b'{"error": "Repository not found"}'),
    _other("Git LFS pointer", "is a Git LFS pointer",
           b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 4265380512\n"),
    _other("gzip", "is compressed by gzip", b"\x1f\x8b\x08" + bytes(20)),
    _other("tar of 2016", "is a tar archive, which torch wrote until 2016", tar_file()),
    _other("GGUF", "is a GGUF file", b"GGUF" + bytes(20)),
    _other("picture", "is a picture", b"\x89PNG\r\n\x1a\n" + bytes(20)),
    _other("text", "it is no checkpoint of any form", b"The quick brown fox jumps over it.\n"),
    _other("settings", "it is no checkpoint of any form", b"ckpt_path: a.ckpt\nlr: 1e-5\n"),
    _other("noise", "it is no checkpoint of any form", bytes(range(120, 250))),
    CheckpointAttack("empty file", "is empty", b""),
    CheckpointAttack("zeros", "holds zeros alone", bytes(4096)),
    CheckpointAttack("legacy form cut off in its pickle", "its pickle is cut off or damaged",
                     legacy_file(_GOOD)[:150]),
)  # fmt: skip

FILES = (*ZIPS, *OTHERS)
