"""Several erasures on one base: the sum of their changes to its denoiser.

A change is read from a delta, from the authors' form, or from a LoRA. With one delta at scale 1 its
values are taken as they are; else a parameter becomes base + scale * (sum of value - base).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from esdctl.checkpoints.changes.authors_delta import authors_metadata, parse_authors_name
from esdctl.checkpoints.changes.delta import FORMAT
from esdctl.checkpoints.changes.lora_reading import is_lora, lora_shapes, read_lora
from esdctl.checkpoints.changes.other_kinds import listed, refuse_other_kinds
from esdctl.checkpoints.layouts.ldm_names import is_checkpoint
from esdctl.checkpoints.safetensors.metadata import read_metadata
from esdctl.checkpoints.tensor_file import RenamedFile, TensorFile, open_tensors, peek_tensors
from esdctl.checkpoints.tensor_info import Shape
from esdctl.errors import InputError, IntegrityError
from esdctl.models.families.tensor_names import LDM_EMA, LDM_VAE, SGM_TEXT

ChangeForm = Literal["delta", "authors", "lora"]
_WHOLE = (LDM_VAE, LDM_EMA, SGM_TEXT)  # what tells a whole CompVis checkpoint
_ITS_BASE = "use the base model that it was made from"
_UNET = "unet."  # before the names of a U-Net's tensors in the authors' first files


@dataclass(frozen=True)
class Change:
    """One file that changes a denoiser.

    Args:
        file: its tensors.
        form: what the tensors are: new values, or a LoRA's factors.
        about: what its metadata or its name say: concept, train_method, base_digest, ...
    """

    file: TensorFile
    form: ChangeForm
    about: Mapping[str, str]


def is_change(path: Path) -> bool:
    """Whether a file changes a model in place of being one.

    Raises:
        InputError: it is neither, but something else, which is named.
    """
    peeked = peek_tensors(path)
    if any(name.startswith(_WHOLE) for name in peeked.infos) or is_checkpoint(peeked.infos):
        return False
    about = read_metadata(peeked.metadata)
    if about.get("format") != FORMAT and not is_lora(peeked.infos):
        refuse_other_kinds(path, bare_names(peeked.infos))
    return True


def open_change(path: Path) -> Change:
    """Open a delta, an authors' delta or a LoRA, told by its content.

    Raises:
        InputError: it is missing, a complete checkpoint, or something else, which is named.
        IntegrityError: the file is damaged or lies.
    """
    file = open_tensors(path)
    about = read_metadata(file.metadata)
    if about.get("format") == FORMAT:
        return Change(file, "delta", about)
    file = without_unet_prefix(file)
    if is_lora(file.infos):
        return Change(file, "lora", about)
    if is_checkpoint(file.infos):
        raise InputError(
            f"{path} is a complete model, which cannot be added to another",
            "give a run folder, a delta or a LoRA; esdctl diff compares two models",
        )
    refuse_other_kinds(path, file.infos)
    name = parse_authors_name(path)
    if name is not None:
        about = {"concept": name.concept, "train_method": name.method, **about}
    about = {**authors_metadata(file.metadata), **about}
    return Change(file, "authors", about)


def without_unet_prefix(file: TensorFile) -> TensorFile:
    """The file itself, or its tensors without ``unet.``, as ESD's authors wrote them at first.

    Those files hold ``{"unet.down_blocks...attn2.to_k": {"weight": ...}}``, the same flat, or all
    below ``"unet"``.
    """
    bare = bare_names(file.infos)
    names = dict(zip(bare, file.infos, strict=True))
    return file if is_lora(file.infos) or bare == list(file.infos) else RenamedFile(file, names)


def bare_names(names: Iterable[str]) -> list[str]:
    """The names without ``unet.``, where all of them begin with it."""
    found = list(names)
    has_prefix = all(name.startswith(_UNET) for name in found)
    return [name.removeprefix(_UNET) for name in found] if has_prefix else found


def refuse_another_base(changes: Sequence[Change], base: str, base_digest: str) -> list[str]:
    """Compare each change's base with the one at hand.

    Args:
        changes: what shall be applied.
        base: the name of the base at hand.
        base_digest: its sha256.

    Returns:
        The names of the files that do not say what they were made from.

    Raises:
        IntegrityError: one says that it was made from another base.
    """
    silent = []
    for change in changes:
        made_from = change.about.get("base_digest")
        if made_from is None:
            silent.append(change.file.path.name)
        elif made_from != base_digest:
            raise IntegrityError(
                f"{change.file.path} was made from {change.about.get('base', 'another base')}, "
                f"which is not the present {base}",
                "name its own base with --base, or pass --force to apply it nevertheless",
            )
    return silent


def check_fits(change: Change, shapes: Mapping[str, Shape]) -> None:
    """Refuse a change that does not fit the base, by names and shapes: no tensor is read.

    Args:
        change: one file.
        shapes: of all parameters of the base's denoiser, under diffusers' names.

    Raises:
        InputError: a LoRA is of another kind, or changes modules that the base lacks.
        IntegrityError: a tensor's name or shape is not the base's.
    """
    if change.form == "lora":
        changed: Mapping[str, Shape] = lora_shapes(change.file, shapes)
    else:
        changed = {name: info.shape for name, info in change.file.infos.items()}
    strangers = [name for name in changed if name not in shapes]
    if strangers:
        raise IntegrityError(
            f"{change.file.path} does not fit the base model, which lacks {listed(strangers)}",
            _ITS_BASE,
        )
    for name, shape in changed.items():
        _refuse_misfit(name, shape, shapes[name], change.file.path)


def add_changes(
    changes: Sequence[Change], base: Mapping[str, torch.Tensor], scale: float = 1.0
) -> dict[str, torch.Tensor]:
    """The new values of every parameter that at least one change touches.

    Args:
        changes: one or more.
        base: the denoiser's parameters under diffusers' names.
        scale: of every change; 1 is the whole erasure.

    Returns:
        Name -> new value, in fp32 or the delta's own type, the base's shape.

    Raises:
        InputError: a LoRA does not fit.
        IntegrityError: a tensor's name or shape is not the base's.
    """
    if len(changes) == 1 and scale == 1.0 and changes[0].form != "lora":
        file = changes[0].file
        values = {name: file.read(name) for name in file.infos}
        _refuse_misfits(values, base, file.path)
        return values
    sums: dict[str, torch.Tensor] = {}
    for change in changes:
        for name, difference in _differences(change, base).items():
            sums[name] = sums[name] + difference if name in sums else difference
    return {name: base[name].float() + scale * total for name, total in sums.items()}


def _differences(change: Change, base: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """What a change adds to each parameter, in fp32."""
    file = change.file
    if change.form == "lora":
        added = read_lora(file, base)
        _refuse_misfits(added, base, file.path)
        return added
    values = {name: file.read(name) for name in file.infos}
    _refuse_misfits(values, base, file.path)
    return {name: value.float() - base[name].float() for name, value in values.items()}


def _refuse_misfits(
    values: Mapping[str, torch.Tensor], base: Mapping[str, torch.Tensor], source: Path
) -> None:
    if not values:
        raise InputError(f"{source} holds no tensor", "give a run folder, a delta or a LoRA")
    for name, value in values.items():
        expected = base[name].shape if name in base else None
        _refuse_misfit(name, value.shape, expected, source)


def _refuse_misfit(name: str, shape: Shape, expected: Shape | None, source: Path) -> None:
    if shape != expected:
        raise IntegrityError(
            f"{source}: {name} {tuple(shape)} does not fit the base model", _ITS_BASE
        )
