"""All pictures that the embedded models learn from, drawn once and kept on disk."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import Pool
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from esdctl.pocket.canvas import OBJECTS, STYLE_NAMES, draw

PER_CELL = 80  # pictures of each style x object
NAMES = (list(STYLE_NAMES), list(OBJECTS))
Number = TypeVar("Number", bound=np.generic)


@dataclass(frozen=True)
class Canvas:
    """The drawn pictures and their classes, in the order of cell, then seed."""

    pictures: npt.NDArray[np.uint8]  # (N, 128, 128, 3), a memory map
    styles: npt.NDArray[np.int64]  # (N,)
    objects: npt.NDArray[np.int64]  # (N,)


def draw_canvas(work: Path, per_cell: int) -> Canvas:
    """Draw every cell's pictures once, in two processes, and keep them on disk."""
    jobs = [(s, o, seed) for s in STYLE_NAMES for o in OBJECTS for seed in range(per_cell)]
    path = work / "pictures.npy"

    def drawn() -> npt.NDArray[np.uint8]:
        print(f"drawing {len(jobs)} pictures", file=sys.stderr, flush=True)
        with Pool(2) as pool:
            return np.stack(pool.starmap(draw, jobs, chunksize=200))

    pictures = kept_array(path, drawn)
    cell = np.arange(len(jobs)) // per_cell
    return Canvas(pictures, cell // len(OBJECTS), cell % len(OBJECTS))


def kept_array(path: Path, compute: Callable[[], npt.NDArray[Number]]) -> npt.NDArray[Number]:
    """An array that is computed once and then read from disk."""
    if not path.exists():
        temporary = path.with_suffix(".partial.npy")
        np.save(temporary, compute())
        temporary.replace(path)
    array: npt.NDArray[Number] = np.load(path, mmap_mode="r")
    return array
