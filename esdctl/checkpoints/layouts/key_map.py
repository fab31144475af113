"""CompVis' names beside diffusers': one table, read in both directions. Loads no torch.

The rows are in ``key_rows``. They depend on a model's size, which is read off its names: give all
names of a part at once. Most tensors are the same in both; ``Form`` says where they differ. Names
are without CompVis' prefixes (``PREFIXES``), and without the ``text_model.`` that transformers 5.6
dropped from its text encoders.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeVar, get_args

from esdctl.checkpoints.layouts.key_rows import Form, Table, rows_for
from esdctl.errors import InputError

Family = Literal["sd1", "sd2", "sdxl"]
Part = Literal["unet", "vae", "text_encoder", "text_encoder_2"]
_Row = TypeVar("_Row")

PARTS: tuple[Part, ...] = get_args(Part)

# Where a part's tensors lie in a CompVis checkpoint, and which rows translate them.
PREFIXES: Mapping[tuple[Family, Part], tuple[str, Table]] = {
    ("sd1", "unet"): ("model.diffusion_model.", "unet"),
    ("sd1", "vae"): ("first_stage_model.", "vae"),
    ("sd1", "text_encoder"): ("cond_stage_model.transformer.", "clip"),
    ("sd2", "unet"): ("model.diffusion_model.", "unet"),
    ("sd2", "vae"): ("first_stage_model.", "vae"),
    ("sd2", "text_encoder"): ("cond_stage_model.model.", "open_clip"),
    ("sdxl", "unet"): ("model.diffusion_model.", "unet"),
    ("sdxl", "vae"): ("first_stage_model.", "vae"),
    ("sdxl", "text_encoder"): ("conditioner.embedders.0.transformer.", "clip"),
    ("sdxl", "text_encoder_2"): ("conditioner.embedders.1.model.", "open_clip"),
}


@dataclass(frozen=True)
class Place:
    """Where a diffusers tensor lies in CompVis' layout.

    Args:
        name: the CompVis tensor; three share one under the forms q, k and v.
        form: how it lies there.
    """

    name: str
    form: Form = "same"


def family_parts(family: Family) -> tuple[Part, ...]:
    """The parts that a family's model has, in a fixed order."""
    return tuple(part for part in PARTS if (family, part) in PREFIXES)


def places(family: Family, part: Part, names: Iterable[str]) -> dict[str, Place]:
    """Where each tensor of a part lies in a whole CompVis checkpoint, prefix included.

    Args:
        family, part: which part of which model.
        names: all diffusers names of the part.

    Raises:
        InputError: a name has no place in CompVis' layout.
    """
    prefix, table = PREFIXES[family, part]
    found = to_compvis(table, names)
    return {name: Place(prefix + place.name, place.form) for name, place in found.items()}


def to_compvis(table: Table, names: Iterable[str]) -> dict[str, Place]:
    """diffusers names -> their places in CompVis' layout, in the given order.

    Raises:
        InputError: a name has no place there.
    """
    names = list(names)
    rows = {diffusers: (ldm, form) for ldm, diffusers, form in rows_for(table, names)}
    found: dict[str, Place] = {}
    for name in names:
        (ldm, form), rest = _longest(rows, name, "CompVis")
        found[name] = Place(ldm + rest, form if rest in ("", ".weight") else "same")
    return found


def to_diffusers(table: Table, names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """CompVis names -> diffusers names, in the given order; a fused tensor has three.

    Raises:
        InputError: a name has no counterpart.
    """
    names = list(names)
    rows: dict[str, tuple[str, ...]] = {}
    for ldm, diffusers, _ in rows_for(table, names):
        rows[ldm] = (*rows.get(ldm, ()), diffusers)
    found: dict[str, tuple[str, ...]] = {}
    for name in names:
        modules, rest = _longest(rows, name, "diffusers")
        found[name] = tuple(module + rest for module in modules)
    return found


def unet_to_compvis(names: Iterable[str]) -> dict[str, str]:
    """A U-Net's diffusers names -> CompVis names."""
    return {name: place.name for name, place in to_compvis("unet", names).items()}


def unet_to_diffusers(names: Iterable[str]) -> dict[str, str]:
    """A U-Net's CompVis names -> diffusers names."""
    return {name: found[0] for name, found in to_diffusers("unet", names).items()}


def vae_to_compvis(names: Iterable[str]) -> dict[str, str]:
    """A VAE's diffusers names -> CompVis names; its attention is a 1x1 convolution there."""
    return {name: place.name for name, place in to_compvis("vae", names).items()}


def vae_to_diffusers(names: Iterable[str]) -> dict[str, str]:
    """A VAE's CompVis names -> diffusers names."""
    return {name: found[0] for name, found in to_diffusers("vae", names).items()}


def _longest(rows: Mapping[str, _Row], name: str, layout: str) -> tuple[_Row, str]:
    """The row of the longest module that the name begins with, and the rest of the name."""
    end = len(name)
    while end > 0:
        if name[:end] in rows:
            return rows[name[:end]], name[end:]
        end = name.rfind(".", 0, end)
    raise InputError(
        f"the tensor {name} has no name in the {layout} layout",
        "the model is of another kind than Stable Diffusion 1.x, 2.x or XL",
    )
