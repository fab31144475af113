"""A LoRA: the change of each weight matrix as a product of two thin ones.

The format is kohya's, which diffusers, ComfyUI and A1111 read: for a module called M, tensors
``lora_unet_M.lora_down.weight`` (r, in, ...), ``lora_unet_M.lora_up.weight`` (out, r, ...) and
``lora_unet_M.alpha``, so that the change is (alpha / r) up @ down. Alpha is one for the whole file,
because diffusers (0.42) loses the alphas of attention modules where they differ. M is diffusers'
name of the module with underscores for dots; in SDXL it is LDM's, since kohya's tools train LDM's
U-Net there. Of a transformer it is its authors' (``double_blocks_0_txt_attn_qkv``), where a fused
matrix has one pair of factors, found for the whole of it, and each pair its own alpha, which is its
rank, since diffusers passes over that of the final layer. diffusers' own form of a transformer has
no alpha: ``transformer.M.lora_A`` (r, in) and ``lora_B`` (out, r), all of one rank, since diffusers
takes one scale for all. A LoRA holds no bias and no normalisation; ``factorise`` tells what it
leaves out. ``lora_reading`` reads these forms and others.
"""

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file

from esdctl.checkpoints.changes.fused import fused_changes
from esdctl.checkpoints.layouts.key_map import to_compvis, unet_to_compvis
from esdctl.checkpoints.safetensors.metadata import written_metadata
from esdctl.errors import UsageError
from esdctl.models.families.family import LoraNames, TransformerTable
from esdctl.models.families.tensor_names import LORA_TRANSFORMER, LORA_UNET
from esdctl.storage.atomic import write_with

FORMAT = "esdctl-lora-1"
DOWN, UP, ALPHA = ".lora_down.weight", ".lora_up.weight", ".alpha"
_OUTSIDE_BLOCKS = ("conv_in.", "conv_out.", "time_embedding.", "add_embedding.")
# Whose names -> modules that kohya's loader, or diffusers' of kohya's form (0.42), passes over.
_PASSED_OVER: Mapping[LoraNames, tuple[str, ...]] = {
    "diffusers": _OUTSIDE_BLOCKS, "compvis": _OUTSIDE_BLOCKS,
    "bfl": ("img_in.", "txt_in.", "time_in.", "vector_in.", "guidance_in.", "final_layer."),
    "bfl2": ("img_in.", "txt_in.", "time_in.", "double_stream_", "single_stream_", "final_layer."),
}  # fmt: skip
ENERGY = 0.99  # of each matrix' squared change, where neither rank nor energy is named


@dataclass(frozen=True)
class Pair:
    """The change of one weight, about ``up @ down``.

    Args:
        down: (r, in) of a linear layer, (r, in, kh, kw) of a convolution.
        up: (out, r), or (out, r, 1, 1).
    """

    down: torch.Tensor
    up: torch.Tensor

    @property
    def rank(self) -> int:
        """r."""
        return self.down.shape[0]

    def change(self) -> torch.Tensor:
        """up @ down, in the weight's shape."""
        product = self.up.flatten(1).double() @ self.down.flatten(1).double()
        return product.reshape(self.up.shape[0], *self.down.shape[1:])


@dataclass(frozen=True)
class Lora:
    """What could be carried of a change, and what could not.

    Args:
        pairs: name of the weight, with ``.weight`` -> its two factors: diffusers' name, or its
            authors' in kohya's form of a transformer.
        error: the norm of the weights' change that is missing, relative to their whole change.
        left_out: names of changed biases and normalisations, which a LoRA cannot hold.
        error_with_left_out: the same as ``error``, over all that changed.
    """

    pairs: Mapping[str, Pair]
    error: float
    left_out: tuple[str, ...]
    error_with_left_out: float


def factorise(
    changes: Iterable[tuple[str, torch.Tensor]],
    rank: int | None = None,
    energy: float | None = None,
) -> Lora:
    """Split each change into two thin matrices, by singular value decomposition.

    Args:
        changes: parameter names with new minus old values; those without any change are skipped.
        rank: of every matrix, at most its smaller side.
        energy: else the least rank that keeps this share of the squared singular values, 0..1.

    Raises:
        UsageError: rank or energy is outside its range, both are given, or no weight changed.
    """
    check_lora_size(rank, energy)
    pairs: dict[str, Pair] = {}
    left_out: list[str] = []
    carried = missing = lost = 0.0  # squared norms
    for name, change in changes:
        size = float(change.double().square().sum())
        if size == 0:
            continue
        if change.ndim < 2 or not name.endswith(".weight"):
            left_out.append(name)
            lost += size
            continue
        pair = _decompose(change, rank, ENERGY if energy is None else energy)
        pairs[name] = pair
        carried += size
        missing += float((change.double() - pair.change()).square().sum())
    if not pairs:
        raise UsageError(
            "no weight matrix changed, so there is nothing that a LoRA could hold",
            "export it as delta or diffusers",
        )
    whole = math.sqrt((missing + lost) / (carried + lost))
    return Lora(pairs, math.sqrt(missing / carried), tuple(left_out), whole)


def changes_in(
    layout: LoraNames,
    changes: Iterable[tuple[str, torch.Tensor]],
    changed: Collection[str],
    names: Iterable[str],
) -> Iterable[tuple[str, torch.Tensor]]:
    """The changes of the matrices that a LoRA has factors of, for ``factorise``.

    Args:
        layout: whose names the LoRA uses; of a transformer's authors, matrices may be fused.
        changes: parameter names with new minus old values.
        changed: the names in it.
        names: all parameters of the base's denoiser, under diffusers' names.
    """
    table = _table_of(layout)
    if table is None:
        return changes
    weights = [name for name in names if name.endswith(".weight")]
    return fused_changes(changes, changed, to_compvis(table, weights))


def passed_over(lora: Lora, layout: LoraNames) -> tuple[int, float]:
    """What other programs' loaders drop in silence: some matrices outside the denoiser's blocks.

    Args:
        lora: the factors.
        layout: whose names it is written with.

    Returns:
        How many there are, and the norm of their change relative to the whole LoRA's.
    """
    sizes = {name: float(pair.change().square().sum()) for name, pair in lora.pairs.items()}
    outside = [name for name in lora.pairs if name.startswith(_PASSED_OVER.get(layout, ()))]
    share = sum(sizes[name] for name in outside) / sum(sizes.values())
    return len(outside), math.sqrt(share)


def check_lora_size(rank: int | None, energy: float | None) -> None:
    """Refuse what is no size of a LoRA.

    Raises:
        UsageError: rank or energy is outside its range, or both are given.
    """
    if rank is not None and energy is not None:
        raise UsageError("--rank and --energy exclude each other", "give one of them")
    if rank is not None and rank < 1:
        raise UsageError(f"--rank is {rank}", "give 1 or more")
    if energy is not None and not 0 < energy <= 1:
        raise UsageError(f"--energy is {energy}", "give a share above 0, at most 1")


def _decompose(change: torch.Tensor, rank: int | None, energy: float) -> Pair:
    """The best approximation of a rank (Eckart and Young 1936), by the smaller Gram matrix.

    With D = U S V', the eigenvectors of D D' are U and its eigenvalues S^2; U_r (U_r' D) is the
    truncated decomposition. A convolution of 1280 x 11520 costs an eigenproblem of 1280.
    """
    matrix = change.flatten(1).double()  # (out, in * kh * kw)
    is_wide = matrix.shape[0] <= matrix.shape[1]
    side = matrix if is_wide else matrix.T  # (n, m), n <= m
    squares, vectors = torch.linalg.eigh(side @ side.T)  # (n,) ascending, (n, n)
    squares, vectors = squares.flip(0).clamp(min=0), vectors.flip(1)
    kept = _rank(squares, energy) if rank is None else min(rank, len(squares))
    basis = vectors[:, :kept]  # (n, r)
    rest = basis.T @ side  # (r, m) = S V'
    balance = squares[:kept].clamp(min=float(squares[0]) * 1e-12).pow(0.25)  # root of S
    left, right = basis * balance, rest / balance[:, None]
    up, down = (left, right) if is_wide else (right.T, left.T)
    spatial = (1,) * (change.ndim - 2)
    return Pair(
        down.reshape(kept, *change.shape[1:]).float().contiguous(),
        up.reshape(change.shape[0], kept, *spatial).float().contiguous(),
    )


def _rank(squares: torch.Tensor, energy: float) -> int:
    """The least number of values that make up the share ``energy`` of the sum."""
    if energy == 1:
        return len(squares)
    shares = squares.cumsum(0) / squares.sum()
    return min(len(squares), int((shares < energy).sum()) + 1)


def write_lora(
    path: Path,
    lora: Lora,
    names: Iterable[str],
    layout: LoraNames,
    about: Mapping[str, str],
    dtype: torch.dtype = torch.float32,
) -> None:
    """Write a LoRA atomically.

    Args:
        path: a ``.safetensors`` file.
        lora: the factors, of what ``changes_in`` gives for the layout.
        names: all parameters of the base's denoiser, under diffusers' names.
        layout: whose names of the denoiser's modules to use; the family says it.
        about: strings for the metadata; ``format`` is added.
        dtype: of the factors.

    Raises:
        StorageError: the disk is full or not writable.
    """
    if layout == "transformer":
        content = _of_diffusers(lora, dtype)
    else:
        has_own_alphas = _table_of(layout) is not None
        content = _of_kohya(lora, kohya_modules(names, layout), has_own_alphas, dtype)
    metadata = written_metadata({**about, "format": FORMAT})
    write_with(path, lambda temporary: save_file(content, temporary, metadata))


def _of_kohya(
    lora: Lora, modules: Mapping[str, str], has_own_alphas: bool, dtype: torch.dtype
) -> dict[str, torch.Tensor]:
    """Both factors of each weight, and alpha: its rank, or one for all."""
    spelled = {weight: module for module, weight in modules.items()}
    largest = max(pair.rank for pair in lora.pairs.values())
    content = {}
    for name, pair in lora.pairs.items():
        module = spelled[name]
        alpha = float(pair.rank if has_own_alphas else largest)
        share = math.sqrt(pair.rank / alpha)  # each factor takes half of what alpha / r adds
        content[module + DOWN] = (pair.down * share).to(dtype)
        content[module + UP] = (pair.up * share).to(dtype)
        content[module + ALPHA] = torch.tensor(alpha)
    return content


def _of_diffusers(lora: Lora, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Both factors of each weight, filled up with zeros to one rank."""
    rank = max(pair.rank for pair in lora.pairs.values())
    content = {}
    for name, pair in lora.pairs.items():
        module, missing = LORA_TRANSFORMER + name.removesuffix(".weight"), rank - pair.rank
        down = torch.cat([pair.down, pair.down.new_zeros(missing, *pair.down.shape[1:])])
        up = torch.cat([pair.up, pair.up.new_zeros(pair.up.shape[0], missing)], dim=1)
        content[f"{module}.lora_A.weight"] = down.to(dtype)
        content[f"{module}.lora_B.weight"] = up.to(dtype)
    return content


def kohya_modules(names: Iterable[str], layout: LoraNames) -> dict[str, str]:
    """kohya's module names -> the weights that they stand for: diffusers', or a whole fused one.

    Args:
        names: all parameters of the denoiser, under diffusers' names.
        layout: whose names of the modules to use; of a transformer's authors, the weights have
            their names, too.
    """
    weights = [name for name in names if name.endswith(".weight")]
    table = _table_of(layout)
    if table is not None:
        held = [place.name for place in to_compvis(table, weights).values()]
        return {LORA_UNET + _underscored(name): name for name in held if name.endswith(".weight")}
    spelled: Mapping[str, str] = {name: name for name in weights}
    if layout == "compvis":
        spelled = unet_to_compvis(weights)
    return {LORA_UNET + _underscored(spelled[name]): name for name in weights}


def _table_of(layout: LoraNames) -> TransformerTable | None:
    """Where a transformer's authors' names are; None where a LoRA has one pair for each weight."""
    return layout if layout == "bfl" or layout == "bfl2" or layout == "mmdit" else None


def _underscored(weight: str) -> str:
    return weight.removesuffix(".weight").replace(".", "_")
