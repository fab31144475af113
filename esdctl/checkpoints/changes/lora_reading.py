"""LoRAs of other tools, read whole or refused: every tensor has a use, or its kind is named.

Read: kohya's form (``lora_unet_M.lora_down.weight``), diffusers' present one
(``unet.M.lora_A.weight``, ``transformer.M.lora_A.weight``) and its earlier ones
(``unet.M.lora.down.weight``, ``M.processor.to_q_lora.down.weight``), and plain differences of
weights (``.diff``) and biases (``.diff_b``). M is a module of the denoiser, under diffusers' names
or, in kohya's form, LDM's or a transformer's authors': what one pair of factors says of a fused
matrix is cut into the changes of its parts. Authors' names come below ``diffusion_model.``, too.
"""

import math
import re
from collections.abc import Iterable, Mapping

import torch

from esdctl.checkpoints.changes.fused import Parts, part_changes, part_shapes, parts_in
from esdctl.checkpoints.changes.lora import Pair, kohya_modules
from esdctl.checkpoints.changes.other_kinds import listed, other_kind
from esdctl.checkpoints.layouts.key_map import to_compvis, transformer_table
from esdctl.checkpoints.tensor_file import TensorFile, TensorInfo
from esdctl.checkpoints.tensor_info import Shape
from esdctl.errors import InputError
from esdctl.models.families.tensor_names import (
    AUTHORS_TRANSFORMER,
    DIFFUSERS_TRANSFORMER,
    LORA_TRANSFORMER,
    LORA_UNET,
)

_SUFFIXES = {
    "lora_down.weight": "down", "lora_up.weight": "up",
    "lora_A.weight": "down", "lora_B.weight": "up",
    "lora.down.weight": "down", "lora.up.weight": "up",
    "lora_A.default.weight": "down", "lora_B.default.weight": "up",
    "alpha": "alpha", "diff": "diff", "diff_b": "diff_b",
}  # fmt: skip
_KEY = re.compile(rf"(?P<module>.+)\.(?P<kind>{'|'.join(map(re.escape, _SUFFIXES))})")
_PROCESSOR = re.compile(
    r"(?P<attention>.+)\.processor\.to_(?P<which>q|k|v|out)_lora\.(?P<kind>down|up)\.weight"
)
# What other kinds of adapter are called in their keys; none of them is up @ down.
_OTHER_KINDS = {
    "DoRA (a magnitude beside the factors)": r"\.(dora_scale|lora_magnitude_vector)",
    "a LoCon with Tucker decomposition (lora_mid)": r"\.lora_mid\.",
    "LoHa": r"\.hada_", "LoKr": r"\.lokr_", "GLoRA": r"\.[ab][12]\.weight", "OFT": r"\.oft_",
    "IA3": r"\.on_input|ia3_", "norms (LyCORIS)": r"\.[wb]_norm",
}  # fmt: skip
_TEXT = ("lora_te", "text_encoder", "te1_", "te2_", "lora_prior_te")


def is_lora(names: Iterable[str]) -> bool:
    """Whether the tensors of a file are a LoRA's, of a form that is read or of another one."""
    found = list(names)
    others = re.compile("|".join((*_OTHER_KINDS.values(), r"[._]lora[._](A|B|down|up)[._]")))
    return bool(found) and any(
        name.startswith("lora_") or _part_of(name) is not None or others.search(name)
        for name in found
    )


def ranks_of(infos: Mapping[str, TensorInfo]) -> set[int]:
    """The ranks of a LoRA's matrices."""
    parts = ((info, _part_of(key)) for key, info in infos.items())
    return {info.shape[0] for info, part in parts if part is not None and part[1] == "down"}


def read_lora(file: TensorFile, names: Iterable[str]) -> dict[str, torch.Tensor]:
    """The changes that a LoRA stands for, in fp32.

    Args:
        file: a LoRA of the denoiser.
        names: all parameters of the base's denoiser, under diffusers' names.

    Returns:
        Name of the parameter -> what is added to it, in its own shape.

    Raises:
        InputError: it holds something beside changes of it, or a factor is missing or does
            not fit the other.
    """
    parameters = set(names)
    fused = _fused(parameters)
    changes: dict[str, torch.Tensor] = {}
    for weight, keys in _parts_of(file, parameters).items():
        for name, change in _changes(file, weight, keys).items():
            changes |= part_changes(name, change, fused)
    _refuse_strangers(file, changes, parameters)
    return changes


def lora_shapes(file: TensorFile, names: Iterable[str]) -> dict[str, Shape]:
    """What ``read_lora`` would give, by names and shapes alone: no tensor is read.

    Returns:
        Name of the parameter -> the shape of what is added to it.

    Raises:
        InputError: as ``read_lora``.
    """
    parameters = set(names)
    fused = _fused(parameters)
    changed: dict[str, Shape] = {}
    for weight, keys in _parts_of(file, parameters).items():
        for name, shape in _changed_shapes(file, weight, keys).items():
            changed |= part_shapes(name, shape, fused)
    _refuse_strangers(file, changed, parameters)
    return changed


def lora_ranks(file: TensorFile, names: Iterable[str]) -> dict[tuple[str, ...], int]:
    """The rank of each matrix that a LoRA holds as two factors; no tensor is read.

    Returns:
        Names of weights, under diffusers' names -> rank; more than one where they are one matrix
        there, whose rows they are in this order.

    Raises:
        InputError: as ``read_lora``.
    """
    parameters = set(names)
    fused = _fused(parameters)
    ranks: dict[tuple[str, ...], int] = {}
    for weight, keys in _parts_of(file, parameters).items():
        if "down" in keys:
            parts = tuple(name for name, _ in fused.get(weight, ((weight, "same"),)))
            ranks[parts] = file.infos[keys["down"]].shape[0]
    return ranks


def _fused(parameters: set[str]) -> Parts:
    """What lies in the tensors that a transformer's authors' names speak of; nothing of a U-Net."""
    table = transformer_table(parameters)
    return {} if table is None else parts_in(to_compvis(table, parameters))


def _parts_of(file: TensorFile, parameters: set[str]) -> dict[str, dict[str, str]]:
    """Weight -> kind of tensor (down, up, alpha, diff, diff_b) -> its key."""
    weights = _weights_of(parameters)
    parts: dict[str, dict[str, str]] = {}
    unread: list[str] = []
    for key in file.infos:
        part = _part_of(key)
        if part is None or part[0] not in weights:
            unread.append(key)
            continue
        keys = parts.setdefault(weights[part[0]], {})
        if part[1] in keys:
            raise InputError(f"{file.path}: {key} is there as {keys[part[1]]}, too", _HINT)
        keys[part[1]] = key
    if unread:
        raise _refusal(file, unread)
    for keys in parts.values():
        _refuse_odd_shapes(file, keys)
    _refuse_uncut(file, parts, _fused(parameters))
    return parts


def _refuse_uncut(file: TensorFile, parts: Mapping[str, Mapping[str, str]], fused: Parts) -> None:
    """Refuse what is no change of a fused matrix, or changes one beside it that lies in it."""
    changed: set[str] = set()
    for weight, keys in parts.items():
        for name, shape in _changed_shapes(file, weight, keys).items():
            lying = part_shapes(name, shape, fused)
            key = next(iter(keys.values()))
            if not lying:
                raise InputError(f"{file.path}: {key} {shape} cannot be cut into its parts", _HINT)
            twice = changed & lying.keys()
            if twice:
                raise InputError(f"{file.path}: {key} changes {min(twice)} once more", _HINT)
            changed |= lying.keys()


def _refuse_odd_shapes(file: TensorFile, keys: Mapping[str, str]) -> None:
    """Refuse parts of one module that do not belong together; no tensor is read for it."""
    if ("down" in keys) != ("up" in keys) or ("alpha" in keys and "down" not in keys):
        lone = ", ".join(keys.values())
        raise InputError(f"{file.path}: {lone} stands alone; a factor is missing", _HINT)
    shapes = {kind: file.infos[key].shape for kind, key in keys.items()}
    if "alpha" in keys and math.prod(shapes["alpha"]) != 1:
        raise InputError(f"{file.path}: {keys['alpha']} is not one number", _HINT)
    if "down" not in keys:
        return
    down, up = shapes["down"], shapes["up"]
    rank = down[0] if len(down) > 1 else 0
    if rank == 0 or len(up) < 2 or up[1:] != (rank, *(1 for _ in up[2:])):
        raise InputError(
            f"{file.path}: {keys['up']} {up} and {keys['down']} {down} have no common rank", _HINT
        )
    if shapes.get("diff", (up[0], *down[1:])) != (up[0], *down[1:]):
        raise InputError(f"{file.path}: {keys['diff']} is not of the factors' shape", _HINT)


def _part_of(key: str) -> tuple[str, str] | None:
    """The module that a key names, and the kind of tensor: down, up, alpha, diff or diff_b."""
    processor = _PROCESSOR.fullmatch(key)
    if processor is not None:
        which = {"out": "to_out.0"}.get(processor["which"], f"to_{processor['which']}")
        return f"{processor['attention']}.{which}", processor["kind"]
    found = _KEY.fullmatch(key)
    return None if found is None else (found["module"], _SUFFIXES[found["kind"]])


def _weights_of(parameters: set[str]) -> dict[str, str]:
    """Module, however it is spelt -> its weight, under diffusers' names."""
    dotted = {
        prefix + name.removesuffix(".weight"): name
        for name in parameters
        if name.endswith(".weight")
        for prefix in ("", "unet.", "base_model.model.", "unet.base_model.model.", LORA_TRANSFORMER)
    }
    if any(name.startswith(DIFFUSERS_TRANSFORMER) for name in parameters):
        table = transformer_table(parameters)
        fused = {} if table is None else kohya_modules(parameters, table)
        dotted |= {
            AUTHORS_TRANSFORMER + name.removesuffix(".weight"): name for name in fused.values()
        }
        return {**dotted, **fused, **kohya_modules(parameters, "diffusers")}
    return {
        **dotted,
        **kohya_modules(parameters, "compvis"),
        **kohya_modules(parameters, "diffusers"),
    }


def _changes(file: TensorFile, weight: str, keys: Mapping[str, str]) -> dict[str, torch.Tensor]:
    """What the parts of one module add to its weight, and to its bias."""
    changes: dict[str, torch.Tensor] = {}
    if "down" in keys:
        pair = Pair(file.read(keys["down"]), file.read(keys["up"]))
        alpha = float(file.read(keys["alpha"])) if "alpha" in keys else pair.rank
        changes[weight] = (pair.change() * (alpha / pair.rank)).float()
    if "diff" in keys:
        changes[weight] = changes.get(weight, 0.0) + file.read(keys["diff"]).float()
    if "diff_b" in keys:
        changes[_bias_of(weight)] = file.read(keys["diff_b"]).float()
    return changes


def _changed_shapes(file: TensorFile, weight: str, keys: Mapping[str, str]) -> dict[str, Shape]:
    """The shapes of what ``_changes`` would give."""
    shapes = {kind: file.infos[key].shape for kind, key in keys.items()}
    changed: dict[str, Shape] = {}
    if "down" in keys:
        changed[weight] = (shapes["up"][0], *shapes["down"][1:])
    elif "diff" in keys:
        changed[weight] = shapes["diff"]
    if "diff_b" in keys:
        changed[_bias_of(weight)] = shapes["diff_b"]
    return changed


def _bias_of(weight: str) -> str:
    return f"{weight.removesuffix('.weight')}.bias"


def _refuse_strangers(
    file: TensorFile, changes: Mapping[str, object], parameters: set[str]
) -> None:
    strangers = [name for name in changes if name not in parameters]
    if strangers or not changes:
        what = f"changes {strangers[0]}, which the base lacks" if strangers else "is empty"
        raise InputError(f"{file.path} {what}", _HINT)


_HINT = "use the base that the LoRA was made for, or get the whole file again"


def _refusal(file: TensorFile, unread: list[str]) -> InputError:
    """An error that says what kind of thing the tensors are that have no use."""
    for what, pattern in _OTHER_KINDS.items():
        found = [key for key in unread if re.search(pattern, key)]
        if found:
            return InputError(
                f"{file.path} is an adapter of another kind: {what} ({listed(found)})",
                "let the tool that made it merge it into a checkpoint, and use that",
            )
    text = [key for key in unread if key.startswith(_TEXT)]
    if text:
        return InputError(
            f"{file.path} changes the text encoder as well ({listed(text)}), which is not applied",
            "let the tool that made it merge it into a checkpoint, or take a LoRA without it",
        )
    kind = other_kind(unread)
    if kind is not None:
        return InputError(f"{file.path} is {kind.name} ({listed(unread)})", kind.hint)
    is_a_lora = any(key.startswith((LORA_UNET, LORA_TRANSFORMER, "unet.")) for key in unread)
    what = "modules that the base lacks" if is_a_lora else "tensors of no known kind"
    return InputError(f"{file.path} holds {what}: {listed(unread)}", _HINT)
