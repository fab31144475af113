"""Every tensor of a CompVis checkpoint is accounted for: used, left aside by a rule, or refused."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path

from esdctl.checkpoints.layouts.architecture import Architecture
from esdctl.checkpoints.layouts.key_map import Place, places
from esdctl.checkpoints.layouts.schedule_buffers import SCHEDULE_BUFFERS
from esdctl.checkpoints.layouts.skeleton import skeleton
from esdctl.checkpoints.layouts.transformer_shapes import quantised
from esdctl.checkpoints.layouts.transforms import shape_of_whole
from esdctl.checkpoints.tensor_info import Shape, TensorInfo
from esdctl.errors import InputError
from esdctl.models.families.family import Family, Part
from esdctl.models.families.registry import titles
from esdctl.models.families.tensor_names import (
    COMFY_CLIP_L,
    COMFY_T5,
    LDM_EMA,
    LDM_TEXT,
    LDM_VAE,
    SGM_TEXT_1,
    V_PREDICTION_MARK,
    ZERO_SNR_MARK,
)
from esdctl.names import nearest

SHOWN = 10  # pairs of names in an error
_COMPARED = 40  # missing names that are compared with all unexpected ones
_FLOATING = ("F64", "F32", "F16", "BF16")

# Tensors beside the model that no picture depends on. All others have to find a place.
_UNUSED = (
    re.compile(rf"(?:{'|'.join(sorted(SCHEDULE_BUFFERS))})"),
    re.compile(r"logvar|lvlb_weights|scale_factor|denoiser\.sigmas"),  # LDM's and SGM's tables
    re.compile(r".*\bposition_ids"),  # 0, 1, 2, ... in CLIP
    re.compile(r".*\blogit_scale"),  # of CLIP's training
    re.compile(
        rf"(?:{re.escape(LDM_TEXT)}|{re.escape(SGM_TEXT_1)})(?:transformer\.)?text_projection.*"
    ),
    re.compile(rf"{re.escape(LDM_TEXT)}model\.text_projection"),  # SD 2.x: no pooled embedding
    re.compile(rf"{re.escape(COMFY_CLIP_L)}transformer\.text_projection\.weight"),
    re.compile(rf"{re.escape(COMFY_T5)}transformer\.encoder\.embed_tokens\.weight"),  # a second
)
_TRAINING = (
    re.compile(rf"(?:\w+\.)?{re.escape(LDM_EMA)}.+"),  # averages; see ``ldm_names``
    re.compile(rf"(?:{re.escape(LDM_VAE)})?(?:loss|discriminator)\..+"),
)


@dataclass(frozen=True)
class Account:
    """Where everything in a checkpoint belongs.

    Args:
        places: part -> canonical diffusers name -> where it lies in the file.
        unused: tensors that belong to a complete checkpoint though no picture depends on them.
        left_out: those of parts that the architecture does without.
    """

    places: Mapping[Part, Mapping[str, Place]]
    unused: tuple[str, ...]
    left_out: tuple[str, ...] = ()


def account(
    infos: Mapping[str, TensorInfo], architecture: Architecture, source: Path | None = None
) -> Account:
    """Find every tensor of a checkpoint, and a use for every tensor found.

    Left aside: the noise schedule's tables, ``position_ids``, CLIP's ``logit_scale`` and unused
    projection, OpenCLIP's last layer in SD 2.x, averaged weights (``model_ema.``), losses.

    Args:
        infos: the checkpoint's tensors.
        architecture: what it should be.
        source: the file, for messages.

    Raises:
        InputError: tensors are missing, unexpected or of another shape; it lists them.
    """
    if ZERO_SNR_MARK in infos:
        raise InputError(
            f"{source or 'the checkpoint'} was trained with zero terminal SNR (it holds ztsnr)",
            "this version has no such noise schedule; use a model without it",
        )
    expected = skeleton(architecture)
    found = {
        part: places(architecture.family, part, stored_names(architecture.family, part, shapes))
        for part, shapes in expected.items()
    }
    allowed: dict[str, list[Shape]] = {}
    for part, shapes in expected.items():
        for name, place in found[part].items():
            allowed[place.name] = _stored_shapes(shapes[name], place)
    if architecture.family.one_file is not None:
        _refuse_fp8(infos, allowed, source)
    others = [name for name in infos if name not in allowed]
    left_out = _left_out(others, architecture)
    rest = [name for name in others if name not in left_out]
    unused = [name for name in rest if is_unused(name, architecture)]
    known = {*unused, *(name for name in rest if _matches(_TRAINING, name))}
    missing = [name for name in allowed if name not in infos]
    unexpected = [name for name in rest if name not in known]
    misfits = [
        _misfit(name, infos[name], allowed[name])
        for name in allowed
        if name in infos and not _fits(infos[name], allowed[name])
    ]
    if missing or unexpected or misfits:
        raise _refusal(missing, unexpected, misfits, architecture, source)
    return Account(found, tuple(unused), tuple(left_out))


def stored_names(family: Family, part: Part, names: Iterable[str]) -> list[str]:
    """The names of a part that a checkpoint holds: all but those of matrices that are known."""
    return [name for name in names if name not in family.parts[part].identity]


def _left_out(names: list[str], architecture: Architecture) -> dict[str, None]:
    """The tensors of parts that are not read from this file."""
    parts = architecture.family.parts.items()
    absent = tuple(kind.prefix for part, kind in parts if part not in architecture.configs)
    prefixes = tuple(filter(None, absent))
    return dict.fromkeys(name for name in names if name.startswith(prefixes))


def _refuse_fp8(infos: Mapping[str, TensorInfo], used: Iterable[str], source: Path | None) -> None:
    for name in used:
        if name in infos and infos[name].dtype.startswith("F8"):
            raise quantised(source or Path("the checkpoint"), f"{name} is fp8")


def is_unused(name: str, architecture: Architecture) -> bool:
    """Whether a tensor belongs to a complete checkpoint, but no picture depends on it."""
    family = architecture.family
    for encoder in architecture.encoders:
        if encoder.full_layers is None:
            continue
        layers = architecture.config(encoder.part)["num_hidden_layers"]
        unused = f"{family.parts[encoder.part].prefix}transformer.resblocks.{layers}."
        if name.startswith(unused):
            return True
    return name == V_PREDICTION_MARK or _matches(_UNUSED, name)


def _matches(rules: Iterable[re.Pattern[str]], name: str) -> bool:
    return any(rule.fullmatch(name) for rule in rules)


def _stored_shapes(shape: Shape, place: Place) -> list[Shape]:
    """The shapes in which a tensor may lie in CompVis' layout."""
    if place.transform == "transposed":
        return [shape[::-1]]
    if place.transform == "conv":  # some writers keep diffusers' linear layers
        return [(*shape, 1, 1), shape]
    return [shape_of_whole(shape, place.transform)]


def _fits(info: TensorInfo, shapes: list[Shape]) -> bool:
    return info.shape in shapes and info.dtype in _FLOATING


def _misfit(name: str, info: TensorInfo, shapes: list[Shape]) -> str:
    if info.shape in shapes:
        return f"{name} has the type {info.dtype}"
    return f"{name} is {_shown(info.shape)}, not {_shown(shapes[0])}"


def _shown(shape: Shape) -> str:
    return "x".join(str(side) for side in shape) or "a single number"


def _refusal(
    missing: list[str],
    unexpected: list[str],
    misfits: list[str],
    architecture: Architecture,
    source: Path | None,
) -> InputError:
    counts = (
        f"{len(missing)} tensors missing, {len(unexpected)} unexpected, "
        f"{len(misfits)} of another shape or type"
    )
    pairs = nearest_pairs(missing, unexpected)
    paired = {name for pair in pairs for name in pair}
    lines = [f"{source or 'the checkpoint'} is no {architecture.family.name} checkpoint: {counts}"]
    lines += [f"  missing {ours}, unexpected {theirs}" for ours, theirs in pairs]
    lines += _listed("missing", [name for name in missing if name not in paired])
    lines += _listed("unexpected", [name for name in unexpected if name not in paired])
    lines += _listed("misshapen", misfits)
    if not missing and not unexpected and all(" has the type " in misfit for misfit in misfits):
        return InputError("\n".join(lines), "get the same model in fp16, bf16 or fp32")
    if architecture.family.one_file is not None:
        title = architecture.family.title
        return InputError("\n".join(lines), f"get the file again, or a pipeline folder of {title}")
    return InputError(
        "\n".join(lines),
        f"get a complete checkpoint of {titles(in_one_file=True)}; --model-config-path names the "
        "LDM config file of a model with other sizes",
    )


def _listed(what: str, names: list[str]) -> list[str]:
    lines = [f"  {what} {name}" for name in names[:SHOWN]]
    more = len(names) - SHOWN
    return [*lines, f"  and {more} more {what}"] if more > 0 else lines


def nearest_pairs(missing: list[str], unexpected: list[str]) -> list[tuple[str, str]]:
    """Missing names beside the unexpected ones that look most like them, the likest first."""
    pairs: list[tuple[float, str, str]] = []
    for name in missing[:_COMPARED]:
        for near in nearest(name, unexpected[:1000], n=1, cutoff=0.8):
            pairs.append((SequenceMatcher(None, name, near).ratio(), name, near))
    pairs.sort(key=lambda pair: -pair[0])
    return [(name, near) for _, name, near in pairs[:SHOWN]]
