"""The student and its frozen copy: one network with the selected parameters twice, or two.

On one device both share every parameter that does not move. With a second device the frozen copy is
a network of its own there, and the two compute at the same time.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import torch

from esdctl.diffusion.conditioning import Conditioning
from esdctl.errors import UsageError
from esdctl.models.families.family import Denoiser
from esdctl.models.precision import is_whole, predicted

Answer = TypeVar("Answer")
Other = TypeVar("Other")


@dataclass(frozen=True)
class Student:
    """A denoiser whose selected parameters move, beside their frozen values.

    Args:
        network: its selected parameters are the student's.
        kind: how the network is asked.
        selected: the parameters that are trained, by name, in fp32.
        frozen: their original values, by name, in ``dtype``.
        dtype: what both compute in.
        copy: the frozen network on a device of its own; None where ``network`` serves for both.
        compiled: has ``network`` inside and gives the same faster; None where nothing is compiled.
        working: ``selected`` in ``dtype``, which ``network`` has in their place and which get the
            gradients; None where it has ``selected`` themselves.
    """

    network: torch.nn.Module
    kind: Denoiser
    selected: dict[str, torch.nn.Parameter]
    frozen: dict[str, torch.Tensor]
    dtype: torch.dtype = torch.float32
    copy: torch.nn.Module | None = None
    compiled: torch.nn.Module | None = None
    working: dict[str, torch.nn.Parameter] | None = None

    @property
    def device(self) -> torch.device:
        """Where the student is, and all that it gives and takes."""
        return next(iter(self.selected.values())).device

    @property
    def asked(self) -> dict[str, torch.nn.Parameter]:
        """The parameters of ``network`` that get gradients, by name."""
        return self.selected if self.working is None else self.working

    def denoise(
        self, latents: torch.Tensor, timesteps: torch.Tensor, conditioning: Conditioning
    ) -> torch.Tensor:
        """eps: latents (B, C, h, w), timesteps (B,), B conditions -> (B, C, h, w), fp32."""
        network = self.network if self.compiled is None else self.compiled
        return predicted(network, self.kind, latents, timesteps, conditioning, self.dtype)

    @torch.no_grad()
    def denoise_frozen(
        self, latents: torch.Tensor, timesteps: torch.Tensor, conditioning: Conditioning
    ) -> torch.Tensor:
        """eps*: the same with the original values, without gradient."""
        here = latents.device
        if self.copy is not None:
            there = next(self.copy.parameters()).device
            moved = latents.to(there), timesteps.to(there), conditioning.to(there)
            return predicted(self.copy, self.kind, *moved, self.dtype).to(here)
        network, frozen = self.network, self.frozen
        if self.compiled is not None:
            network = self.compiled
            frozen = {f"network.{name}": value for name, value in self.frozen.items()}
        return predicted(network, self.kind, latents, timesteps, conditioning, self.dtype, frozen)

    def predict_both(
        self, of_frozen: Callable[[], Answer], of_student: Callable[[], Other]
    ) -> tuple[Answer, Other]:
        """Both answers; at the same time where each has its own network, else one by one."""
        if self.copy is None:
            return of_frozen(), of_student()
        with ThreadPoolExecutor(1) as pool:
            future = pool.submit(of_frozen)
            answer = of_student()
            return future.result(), answer

    def restore(self) -> None:
        """Give the selected parameters their original values again."""
        self.take(self.frozen)

    @torch.no_grad()
    def take(self, values: Mapping[str, torch.Tensor]) -> None:
        """Give selected parameters other values, by name."""
        for name, value in values.items():
            self.selected[name].copy_(value)
        self.refresh()

    @torch.no_grad()
    def refresh(self) -> None:
        """Let ``network`` have the selected parameters as they are; after they were changed."""
        if self.working is not None:
            torch._foreach_copy_(list(self.working.values()), list(self.selected.values()))


def new_student(
    network: torch.nn.Module,
    kind: Denoiser,
    names: Sequence[str],
    values: Mapping[str, torch.Tensor] | None = None,
    dtype: torch.dtype = torch.float32,
    copy: torch.nn.Module | None = None,
) -> Student:
    """Split a denoiser into what moves and what does not.

    Args:
        network: gets new parameters in place of the selected ones.
        kind: how it is asked.
        names: the selected parameters.
        values: what the selected parameters are before ``network`` rounded them; None for
            the network's.
        dtype: what to compute in.
        copy: a second network with the same values, for the frozen predictions.

    Raises:
        UsageError: nothing is selected.
    """
    if not names:
        raise UsageError(
            f"the train method selects no parameter of this {kind.title}", "use another method"
        )
    network.requires_grad_(False)
    parameters = dict(network.named_parameters())
    frozen = {name: parameters[name].detach() for name in names}
    selected = {}
    for name in names:
        value = frozen[name] if values is None else values[name]
        master = value.to(frozen[name].device, torch.float32, copy=True)
        selected[name] = torch.nn.Parameter(master)
    working = None
    if is_whole(selected[names[0]].device, dtype):
        working = {name: torch.nn.Parameter(p.detach().to(dtype)) for name, p in selected.items()}
    for name, parameter in (working or selected).items():
        module, _, leaf = name.rpartition(".")
        setattr(network.get_submodule(module), leaf, parameter)
    if copy is not None:
        others = dict(copy.named_parameters())
        frozen = {name: others[name].detach() for name in names}
    return Student(network, kind, selected, frozen, dtype, copy, working=working)
