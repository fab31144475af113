"""Whether a delta or an export holds what its run left: the same values, or a LoRA near to them."""

import math
from collections.abc import Iterator, Mapping

import torch

from esdctl.checkpoints.changes.apply import Change
from esdctl.checkpoints.changes.delta import read_delta
from esdctl.checkpoints.changes.diff import Difference, compare
from esdctl.checkpoints.changes.export import Parts
from esdctl.checkpoints.changes.lora_reading import lora_ranks, read_lora
from esdctl.checkpoints.tensor_file import TensorFile
from esdctl.counting import counted
from esdctl.models.erased import Erased
from esdctl.verification.checks import Check
from esdctl.verification.origin import Origin

# Of a matrix' change, what a LoRA may lose beside its rank: factors in bf16 lose 2^-8 each.
LORA_TOLERANCE = 0.01


def differences(first: Parts, second: Parts) -> Difference:
    """Compare two models in the second one's types, so that rounding alone is no difference."""
    return compare({part: _Rounded(first[part], second.get(part, {})) for part in first}, second)


def check_same_change(
    origin: Origin, base: Erased, model: Erased, change: Change | None
) -> list[Check]:
    """Hold a delta or an export against the delta of its run.

    Args:
        origin: the run.
        base: what both stand on.
        model: the delta or export, on its base.
        change: its file, where it is no whole model.

    Returns:
        A check called ``run``; of a LoRA a second one, ``left out``, where biases or norms changed.

    Raises:
        InputError: the run's delta is damaged.
        IntegrityError: a value is not finite.
    """
    said, run = model.about.get("base_digest"), origin.about.get("base_digest")
    allowed = f"the delta of {origin.run.name}"
    if said and run and said != run:
        return [Check("run", "made from another base than the run", allowed, False)]
    values = read_delta(origin.delta)
    if change is not None and change.form == "lora":
        return _check_lora(change.file, values, base, allowed)
    parts = base.parts()
    denoiser = base.base.files.denoiser
    found = differences({**parts, denoiser: {**parts[denoiser], **values}}, model.parts())
    others = [tensor.name for tensor in found.tensors]
    others += [*found.only_in_first, *found.only_in_second, *found.misshapen]
    measured = f"{counted(len(values), 'tensor')} equal"
    if others:
        measured = f"{counted(len(others), 'tensor')} not, such as {others[0]}"
    return [Check("run", measured, allowed, not others)]


def _check_lora(
    file: TensorFile, values: Mapping[str, torch.Tensor], base: Erased, allowed: str
) -> list[Check]:
    """Whether each matrix is as near to the run's change as its rank allows (Eckart and Young).

    The least error of rank r is the norm of the singular values beyond the first r. Matrices that
    are one in the file, such as q, k and v, are held against the run as one.
    """
    weights = base.parts()[base.base.files.denoiser]
    added, ranks = read_lora(file, weights), lora_ranks(file, weights)
    missing = reachable = whole = 0.0  # squared norms
    wrong = [name for name in added if name not in values]
    left_out = []
    for names in _matrices(ranks, values):
        wanted = torch.cat([_change(name, values, weights) for name in names])
        size = float(wanted.norm())
        is_held = any(name in added for name in names)
        if size == 0 or (not is_held and (wanted.ndim < 2 or names[0].endswith(".bias"))):
            left_out += [*names] if size else []
            continue
        error = float((wanted - _sum(names, added, weights)).norm())
        singular = torch.linalg.svdvals(wanted.flatten(1))  # (min(out, in * kh * kw),)
        least = float(singular[ranks.get(names, 0) :].norm())
        if error > least + LORA_TOLERANCE * size:
            wrong.append(next(name for name in names if name in values))
        missing, reachable, whole = missing + error**2, reachable + least**2, whole + size**2
    share = math.sqrt(missing / whole) if whole else math.inf
    least_share = math.sqrt(reachable / whole) if whole else 0.0
    measured = f"{share:.3g} of the change lost, at least {least_share:.3g} by rank"
    if wrong:
        measured = f"{counted(len(wrong), 'tensor')} further away than by rank, such as {wrong[0]}"
    checks = [Check("run", measured, f"{allowed}, as near as its ranks allow", not wrong)]
    if left_out:
        why = (
            f"{counted(len(left_out), 'changed tensor')} that no LoRA holds, such as {left_out[0]}"
        )
        checks.append(Check("left out", why, "of the run's change", None))
    return checks


def _matrices(
    ranks: Mapping[tuple[str, ...], int], values: Mapping[str, torch.Tensor]
) -> list[tuple[str, ...]]:
    """The matrices of a LoRA that the run changes some of, and what the run changes beside them."""
    held = [names for names in ranks if any(name in values for name in names)]
    within = {name for names in held for name in names}
    return [*held, *((name,) for name in values if name not in within)]


def _change(
    name: str, values: Mapping[str, torch.Tensor], weights: Mapping[str, torch.Tensor]
) -> torch.Tensor:
    """What the run adds to a parameter; zeros where it leaves it as it is."""
    weight = weights[name].double()
    return values[name].double() - weight if name in values else torch.zeros_like(weight)


def _sum(
    names: tuple[str, ...],
    added: Mapping[str, torch.Tensor],
    weights: Mapping[str, torch.Tensor],
) -> torch.Tensor:
    """What a LoRA adds to a matrix of several parameters, one below the other."""
    parts = (
        added[name] if name in added else torch.zeros_like(weights[name], dtype=torch.float32)
        for name in names
    )
    return torch.cat([*parts])


class _Rounded(Mapping[str, torch.Tensor]):
    """Tensors in the types of others of the same names, one at a time."""

    def __init__(
        self, tensors: Mapping[str, torch.Tensor], like: Mapping[str, torch.Tensor]
    ) -> None:
        self._tensors, self._like = tensors, like

    def __getitem__(self, name: str) -> torch.Tensor:
        tensor = self._tensors[name]
        return tensor.to(self._like[name].dtype) if name in self._like else tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)
