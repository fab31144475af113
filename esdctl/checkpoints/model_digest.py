"""One SHA-256 for a model's weights, whatever the layout of the files that hold them.

It is the SHA-256 of the lines ``<part> <name> <dtype> <shape> <sha256 of the bytes>``, sorted, for
each tensor of each part under its canonical name. The same weights as a CompVis checkpoint, a
diffusers folder or its shards have the same digest; another precision has another.
"""

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

from esdctl.checkpoints.tensor_info import NAMES
from esdctl.storage.user_cache import recall, remember

KIND = "digests"  # folder in the user's cache
VERSION = 1  # of the rule above
SETTLED = 2.0  # seconds; a file may change twice within one tick of a disk's clock
THREADS = 4  # hashing leaves the interpreter's lock, and waits for the disk


def digest_of(parts: Mapping[str, Mapping[str, torch.Tensor]]) -> str:
    """The digest of a model's tensors, in hexadecimal.

    Args:
        parts: part -> canonical name -> tensor; each is read once.
    """
    names = sorted((part, name) for part, tensors in parts.items() for name in tensors)

    def line(place: tuple[str, str]) -> str:
        part, name = place
        return _line(part, name, parts[part][name])

    with ThreadPoolExecutor(THREADS) as pool:
        text = "".join(pool.map(line, names))
    return hashlib.sha256(text.encode()).hexdigest()


def remembered_digest(files: Sequence[Path]) -> str | None:
    """The digest that these files had, if they are still what they were; reads none of them."""
    return recall(KIND, _key(files))


def remember_digest(files: Sequence[Path], digest: str) -> None:
    """Keep a digest in the user's cache, for as long as no file changes.

    A file that was written a moment ago is not trusted to show its next change.
    """
    if max(path.stat().st_mtime for path in files) < time.time() - SETTLED:
        remember(KIND, _key(files), digest)


def _line(part: str, name: str, tensor: torch.Tensor) -> str:
    content = tensor.detach().contiguous().cpu().reshape(-1).view(torch.uint8).numpy()
    shape = "x".join(str(side) for side in tensor.shape)
    sha256 = hashlib.sha256(content.data).hexdigest()
    return f"{part} {name} {NAMES[tensor.dtype]} {shape} {sha256}\n"


def _key(files: Sequence[Path]) -> str:
    states = []
    for path in files:
        state = path.stat()
        whole = str(path.resolve())
        times = (state.st_mtime_ns, state.st_ctime_ns)
        states.append([whole, state.st_size, *times, state.st_ino])
    return hashlib.sha256(json.dumps([VERSION, sorted(states)]).encode()).hexdigest()
