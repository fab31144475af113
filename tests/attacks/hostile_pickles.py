"""Attacks by a pickle: calls by every opcode and protocol, bombs, and opcodes that lie."""

import os
import pickle
import pickletools
import struct

from esdctl.errors import InputError
from tests.attacks.checkpoint_attack import CheckpointAttack
from tests.attacks.checkpoint_builder import (
    call,
    legacy_file,
    name,
    number,
    pickled,
    row,
    state_dict,
    table,
    tensor,
    text,
    zip_file,
)

CANARY = "canary"
COMMAND = f"touch {CANARY}"
_SYSTEM = name("posix", "system")
RUNS = "which would run code on loading"


class Payload:
    """Unpickled, it runs a shell command."""

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (COMMAND,)


def _beside(title: str, message: str, value: bytes) -> CheckpointAttack:
    """A sound checkpoint with something beside its weights."""
    return CheckpointAttack(title, message, zip_file(state_dict(tensor(), extra=value)))


def _alone(title: str, message: str, content: bytes) -> CheckpointAttack:
    return CheckpointAttack(title, message, zip_file(content))


def _names(module: str, attribute: str, spelled: str = "") -> CheckpointAttack:
    value = call(name(module, attribute), text(COMMAND))
    shown = spelled or f"{module}.{attribute}"
    return _beside(f"call of {module}.{attribute}", f"its pickle names '{shown}', {RUNS}", value)


def _without_frame(content: bytes) -> bytes:
    """A pickle's opcodes without PROTO, FRAME and STOP, to stand inside another."""
    ends = [*(place for _, _, place in pickletools.genops(content)), len(content)][1:]
    kept = b""
    for (opcode, _, place), end in zip(pickletools.genops(content), ends, strict=True):
        assert place is not None
        assert end is not None
        if opcode.name not in ("PROTO", "FRAME", "STOP"):
            kept += content[place:end]
    return kept


PROTOCOLS = tuple(
    _alone(
        f"os.system under protocol {protocol}",
        f"its pickle names 'posix.system', {RUNS}",
        pickled(
            table({"weight": tensor(), "extra": _without_frame(pickle.dumps(Payload(), protocol))}),
            protocol,
        ),
    )
    for protocol in range(6)
)

_ON_STACK = text("posix") + text("system") + b"\x93"
_ARGUMENT = row(text(COMMAND))
OPCODES = (
    _beside("os.system by INST", RUNS, b"(" + text(COMMAND) + b"iposix\nsystem\n"),
    _beside("os.system by OBJ", RUNS, b"(" + _SYSTEM + text(COMMAND) + b"o"),
    _beside("os.system by NEWOBJ", RUNS, _SYSTEM + _ARGUMENT + b"\x81"),
    _beside("os.system by NEWOBJ_EX", RUNS, _SYSTEM + _ARGUMENT + b"}\x92"),
    _beside("os.system by STACK_GLOBAL", RUNS, _ON_STACK + _ARGUMENT + b"R"),
    _beside("os.system as state of an object", RUNS,
            name("pl.callbacks", "Timer") + b")\x81" + table({"__setstate__": _SYSTEM}) + b"b"),
    _beside("os.system put into the memo and fetched", RUNS,
            _SYSTEM + b"q\x05" + b"0h\x05" + _ARGUMENT + b"R"),
    _beside("os.system as a persistent id's class", RUNS,
            row(text("storage"), _SYSTEM, text("0"), text("cpu"), number(4)) + b"Q"),
    _beside("os.system as a hook of a tensor", RUNS,
            call(name("torch._utils", "_rebuild_parameter"), tensor(), b"\x88",
                 call(_SYSTEM, text(COMMAND)))),
    _alone("os.system as the whole checkpoint", RUNS, pickled(call(_SYSTEM, text(COMMAND)))),
    _beside("extension registry", "the opcode EXT1, which no checkpoint needs", b"\x82\x01"),
    _beside("buffer from outside", "the opcode NEXT_BUFFER, which no checkpoint needs", b"\x97"),
    _beside("call of a call's result", "its pickle calls a value that it made itself",
            call(call(name("pl.callbacks", "Timer")), text(COMMAND))),
    _beside("call of a text", "its pickle calls a value that it made itself",
            call(text("os.system"), text(COMMAND))),
    _beside("call without a tuple", "without a tuple of arguments",
            name("pl.callbacks", "Timer") + text(COMMAND) + b"R"),
    _beside("class changed by BUILD", "a class and not an object",
            name("pl.callbacks", "Timer") + table({"run": number(1)}) + b"b"),
    _beside("name that is no text", "names a global by something else than a text",
            number(1) + text("system") + b"\x93"),
    _beside("storage that is none", "a persistent id is no storage of torch",
            text("exec") + b"Q"),
)  # fmt: skip

NAMES = (
    _names("os", "popen"),
    _names("nt", "system"),
    _names("subprocess", "Popen"),
    _names("commands", "getoutput", "subprocess.getoutput"),
    _names("builtins", "eval"),
    _names("__builtin__", "exec", "builtins.exec"),
    _names("builtins", "__import__"),
    _names("builtins", "getattr"),
    _names("builtins", "open"),
    _names("importlib", "import_module"),
    _names("runpy", "run_path"),
    _names("operator", "attrgetter"),
    _names("pickle", "loads"),
    _names("ctypes", "CDLL"),
    _names("socket", "create_connection"),
    _names("shutil", "rmtree"),
    _names("webbrowser", "open"),
    _names("timeit", "timeit"),
    _names("code", "interact"),
    _names("pip", "main"),
    _names("pathlib", "Path.unlink"),
    _names("collections", "OrderedDict.__init__.__globals__"),
    _names("torch.hub", "load"),
    _names("torch", "load"),
    _names("torch.storage", "_load_from_bytes"),
    _names("torch.jit._script", "script"),
    _names("torch.nn.modules", "os.system"),
    _names("numpy", "load"),
    _names("numpy.testing._private.utils", "runstring"),
)

_DEEP = 5000
_LAUGHS = b"]q\x01" + b"".join(
    b"](" + bytes([ord("h"), index]) * 10 + b"eq" + bytes([index + 1]) for index in range(1, 120)
)
_SHARED_PAIRS = (
    name("collections", "OrderedDict") + b"q\x01]q\x02(" + b"".join(
        text(str(key)) + b"N\x86" for key in range(10_000)
    ) + b"e\x85q\x03" + b"0h\x01h\x03R" * 500
)  # fmt: skip
BOMBS = (
    _beside("tuples in tuples", "nests containers deeper than 100", b")" + b"\x85" * _DEEP),
    _beside("lists in lists", "nests containers deeper than 100",
            b"]" * _DEEP + b"a" * (_DEEP - 1)),
    _beside("a billion laughs", "nests containers deeper than 100", _LAUGHS),
    _beside("pairs of one list in many tables", "arguments in all", _SHARED_PAIRS),
    _beside("marks without end", "values from an empty stack",
            b"(" * 1000 + b"1" * 1001 + b"0" * 9),
    _beside("number of the memo", "which is a memo bomb", b"N" + b"r" + b"\xff\xff\xff\x7f"),
    _beside("negative number of the memo", "which is a memo bomb", b"Np-7\n"),
    _beside("memo that was never filled", "takes a value that it never numbered", b"h\xfe"),
    _beside("integer of a kilobyte", "an integer of over 16 bytes",
            b"\x8b" + struct.pack("<i", 1024) + b"\x7f" * 1024),
    _beside("integer of ten thousand digits", "its pickle is cut off or damaged",
            b"L" + b"9" * 10_000 + b"L\n"),
    _beside("text of 2 GB that is not there", "its pickle is cut off or damaged",
            b"X" + struct.pack("<I", 2**31) + b"short"),
    _beside("bytes of 2^62 that are not there", "its pickle is cut off or damaged",
            b"\x8e" + struct.pack("<Q", 2**62) + b"short"),
    _beside("integer of negative length", "its pickle is cut off or damaged",
            b"\x8b" + struct.pack("<i", -1)),
    _alone("protocol 9", "of protocol 9, which does not exist", pickled(table({}), 9)),
    _alone("no STOP", "its pickle is cut off or damaged", b"\x80\x02}"),
    _alone("unknown opcode", "its pickle is cut off or damaged", pickled(b"\xff")),
    _alone("empty pickle", "its pickle is cut off or damaged", b""),
    _alone("values left on the stack", "ends with values left on the stack", pickled(b"NN")),
    _beside("mark as a value", "takes a mark for a value", b"(\x85"),
    _beside("key without a value", "sets a key without a value", b"}(Nu"),
    _beside("items of a number", "sets items of a value that is no table", b"K\x01(NNu"),
    _beside("append to a text", "appends to a value that is no list", text("a") + b"Na"),
    _beside("text that is not UTF-8", "holds a text that is not UTF-8", b"X\x02\0\0\0\xff\xfe"),
    _alone("key that is there twice", "lists the key 'weight' twice",
           pickled(b"}(" + text("weight") + tensor() + text("weight") + tensor() + b"u")),
)  # fmt: skip

_RUN = pickled(table({"state_dict": table({"weight": tensor()}),
                      "extra": call(_SYSTEM, text(COMMAND))}))  # fmt: skip
FORMS = (
    CheckpointAttack("os.system in the legacy form", RUNS, legacy_file(_RUN)),
    CheckpointAttack("os.system in place of the magic number", RUNS,
                     pickled(call(_SYSTEM, text(COMMAND)))),
    CheckpointAttack("os.system in a text pickle", RUNS, pickle.dumps(Payload(), 0)),
    CheckpointAttack("os.system as facts of the machine", RUNS,
                     legacy_file(state_dict(tensor()), facts=Payload())),
    CheckpointAttack("os.system as the list of storages", RUNS,
                     legacy_file(state_dict(tensor()), keys=Payload())),
    CheckpointAttack("bare pickle", "a bare pickle, not written by torch.save",
                     pickle.dumps({"weight": 1}), InputError),
)  # fmt: skip

PICKLES = (*PROTOCOLS, *OPCODES, *NAMES, *BOMBS, *FORMS)
