"""From diffusers' names of tensors to CompVis', by one table. Loads no torch.

The rows are in ``key_rows``. They depend on a model's size, which is read off its names: give all
names of a part at once. Most tensors are the same in both; ``Transform`` says how others differ.
Names are without CompVis' prefixes, which a family's parts have, and without the ``text_model.``
that transformers 5.6 dropped from its text encoders.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from esdctl.checkpoints.layouts.key_rows import rows_for
from esdctl.checkpoints.layouts.key_rows_transformer import MARKS
from esdctl.checkpoints.layouts.transforms import OF_BIASES, Transform
from esdctl.errors import InputError
from esdctl.models.families.family import Family, NameTable, Part, TransformerTable
from esdctl.models.families.registry import titles


@dataclass(frozen=True)
class Place:
    """Where a diffusers tensor lies in CompVis' layout.

    Args:
        name: the CompVis tensor; several share one where it is fused.
        transform: how it lies there.
    """

    name: str
    transform: Transform = "same"


def places(family: Family, part: Part, names: Iterable[str]) -> dict[str, Place]:
    """Where each tensor of a part lies in a whole CompVis checkpoint, prefix included.

    Args:
        family, part: which part of which model.
        names: all diffusers names of the part.

    Raises:
        InputError: a name has no place in CompVis' layout.
    """
    prefix, table = family.parts[part].prefix, family.parts[part].table
    assert table is not None  # a checkpoint of one file is of a family that has one
    found = to_compvis(table, names)
    return {name: Place(prefix + place.name, place.transform) for name, place in found.items()}


def to_compvis(table: NameTable, names: Iterable[str]) -> dict[str, Place]:
    """diffusers names -> their places in CompVis' layout, in the given order.

    Raises:
        InputError: a name has no place there.
    """
    names = list(names)
    rows = {diffusers: (ldm, transform) for ldm, diffusers, transform in rows_for(table, names)}
    found: dict[str, Place] = {}
    for name in names:
        (ldm, transform), rest = _longest(rows, name)
        is_so = rest in ("", ".weight") or transform in OF_BIASES
        found[name] = Place(ldm + rest, transform if is_so else "same")
    return found


def transformer_table(names: Iterable[str]) -> TransformerTable | None:
    """Which table names a transformer's tensors as its authors do; None where we have none.

    Args:
        names: all of its parameters, under diffusers' names.
    """
    found = list(names)
    for table, marks in MARKS.items():
        if all(any(name.startswith(mark) for name in found) for mark in marks):
            return table
    return None


def unet_to_compvis(names: Iterable[str]) -> dict[str, str]:
    """A U-Net's diffusers names -> CompVis names."""
    return {name: place.name for name, place in to_compvis("unet", names).items()}


def _longest(
    rows: Mapping[str, tuple[str, Transform]], name: str
) -> tuple[tuple[str, Transform], str]:
    """The row of the longest module that the name begins with, and the rest of the name."""
    end = len(name)
    while end > 0:
        if name[:end] in rows:
            return rows[name[:end]], name[end:]
        end = name.rfind(".", 0, end)
    raise InputError(
        f"the tensor {name} has no name in the CompVis layout",
        f"the model is of another kind than {titles()}",
    )
