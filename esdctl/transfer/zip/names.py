"""Which file names from outside are refused: those that mean another place on some system.

The rules hold for names in ZIP directories and in a hub's listings alike, on every system, so that
what was fetched on one can be copied to any other. Two names are twins when a disk may take them
for one: their keys (NFC, case folded, invisible characters dropped) are equal.

Tolerated, since they lead nowhere else: names in NFD (macOS writes them), leading dots and spaces,
and ``< > " | ? *``, which Windows refuses by itself.
"""

import re
import unicodedata
from collections.abc import Iterable

from esdctl.transfer.refusal import refusal
from esdctl.untrusted_text import shown

MAX_PATH = 1024  # bytes of UTF-8: PATH_MAX of macOS, the smallest among the systems
MAX_COMPONENT = 255  # bytes of UTF-8: NAME_MAX of Linux, macOS and others
MAX_NAMES = 100_000  # files and folders together

# "Naming Files, Paths, and Namespaces", Microsoft; the stem alone counts: NUL.tar.gz is NUL.
_DEVICE = re.compile(
    r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9\u00b9\u00b2\u00b3]) *(\..*)?"
)
# Unicode's embeddings, overrides and isolates; "gpj.exe" shows as "exe.jpg" behind one of them.
_REORDERING = re.compile("[\u200e\u200f\u061c\u202a-\u202e\u2066-\u2069]")
# Control characters, line and paragraph separators.
_CONTROL = {"Cc", "Zl", "Zp"}
_OWN = ".esdctl"  # the manifest and the journal lie beside the files


def check_name(name: str) -> None:
    """Refuse a relative POSIX path that is not plainly one file below the folder it is meant for.

    Args:
        name: without a slash at its end, also where it names a folder.

    Raises:
        IntegrityError: what is wrong with the name.
    """
    fault = _fault_of_path(name)
    if not fault:
        faults = (_fault_of_component(component) for component in name.split("/"))
        fault = next((fault for fault in faults if fault), "")
    if fault:
        raise refusal(f"the name {shown(name)} {fault}")


def check_names(names: Iterable[str]) -> None:
    """Refuse a listing with a hostile name, twins, or a file that is also a folder.

    Args:
        names: of files alone; the folders follow from them.

    Raises:
        IntegrityError: what is wrong, with the names.
    """
    tree = NameTree()
    for name in names:
        tree.add(name, is_folder=False)


class NameTree:
    """The names seen so far; bounded by ``MAX_NAMES`` files and folders, however deep."""

    def __init__(self, limit: int = MAX_NAMES) -> None:
        self._limit = limit
        # (number of the parent, key of the component) -> (number, spelling, is_file, is_listed)
        self._nodes: dict[tuple[int, str], tuple[int, str, bool, bool]] = {}

    def add(self, name: str, *, is_folder: bool) -> None:
        """Check ``name`` by itself and against all before it.

        Raises:
            IntegrityError: what is wrong, with the names.
        """
        check_name(name)
        *folders, last = name.split("/")
        parent = 0
        for folder in folders:
            parent = self._enter(parent, folder, name, is_file=False, is_listed=False)
        self._enter(parent, last, name, is_file=not is_folder, is_listed=True)

    def _enter(
        self, parent: int, component: str, name: str, *, is_file: bool, is_listed: bool
    ) -> int:
        place = (parent, _key(component))
        known = self._nodes.get(place)
        if known is None:
            if len(self._nodes) >= self._limit:
                raise refusal(f"more than {self._limit} files and folders")
            number = len(self._nodes) + 1
            self._nodes[place] = (number, component, is_file, is_listed)
            return number
        number, spelling, was_file, was_listed = known
        if spelling != component:
            raise refusal(
                f"the name {shown(name)} is a twin: its {shown(component)} and the "
                f"{shown(spelling)} of another name are one on some disks"
            )
        if is_listed and was_listed and is_file == was_file:
            raise refusal(f"the name {shown(name)} is there twice")
        if is_file or was_file:
            raise refusal(f"the name {shown(name)} needs {shown(component)} as file and as folder")
        if is_listed:
            self._nodes[place] = (number, spelling, False, True)
        return number


def _fault_of_path(name: str) -> str:
    if not name:
        return "is empty"
    if any("\ud800" <= character <= "\udfff" for character in name):
        return "is not valid Unicode"
    if len(name.encode()) > MAX_PATH:
        return f"is longer than {MAX_PATH} bytes"
    if "\0" in name:
        return "holds a NUL"
    if name.startswith(("//", "\\\\")):
        return "is a network path"
    if "\\" in name:
        return "holds a backslash"
    if name.startswith("/"):
        return "is absolute"
    if re.match(r"[a-zA-Z]:", name):
        return "begins with a drive letter"
    return ""


def _fault_of_component(component: str) -> str:
    """What is wrong with one part between slashes; empty when nothing is."""
    if not component:
        return "has an empty part"
    if component == "..":
        return "leaves its folder by '..'"
    if component == ".":
        return "has the part '.'"
    if len(component.encode()) > MAX_COMPONENT:
        return f"has a part longer than {MAX_COMPONENT} bytes"
    if ":" in component:
        return "holds a colon, which opens a drive or a stream on Windows"
    if any(unicodedata.category(character) in _CONTROL for character in component):
        return "holds a control character"
    if _REORDERING.search(component):
        return "holds a character that reorders text"
    if component.endswith((".", " ")):
        return "has a part that ends with a dot or a space, which Windows drops"
    key = _key(component)
    if _DEVICE.fullmatch(key):
        return f"has the part {shown(component)}, a device on Windows"
    if key.startswith(_OWN):
        return f"begins like esdctl's own files ({_OWN})"
    if key in ("", ".", ".."):
        return "has a part of invisible characters and dots alone"
    return ""


def _key(component: str) -> str:
    """Equal for components that are one on a disk that folds case, form or invisible marks."""
    if component.isascii():
        return component.lower()
    folded = unicodedata.normalize("NFC", component).casefold()
    visible = (character for character in folded if unicodedata.category(character) != "Cf")
    return unicodedata.normalize("NFC", "".join(visible))
