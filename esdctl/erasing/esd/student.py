"""The student and its frozen copy: one U-Net with the selected parameters twice, or two U-Nets.

On one device both share every parameter that does not move. With a second device the frozen copy is
a U-Net of its own there, and the two compute at the same time.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch.func import functional_call

from esdctl.diffusion.conditioning import Conditioning, unet_arguments
from esdctl.errors import UsageError
from esdctl.models.precision import autocast

Answer = TypeVar("Answer")
Other = TypeVar("Other")


@dataclass(frozen=True)
class Student:
    """A U-Net whose selected parameters move, beside their frozen values.

    Args:
        unet: the network; its selected parameters are the student's, in fp32.
        selected: the parameters that are trained, by name.
        frozen: their original values, by name, in ``dtype``.
        dtype: what both compute in.
        copy: the frozen U-Net on a device of its own; None where ``unet`` serves for both.
        compiled: has ``unet`` inside and gives the same faster; None where nothing is compiled.
    """

    unet: torch.nn.Module
    selected: dict[str, torch.nn.Parameter]
    frozen: dict[str, torch.Tensor]
    dtype: torch.dtype = torch.float32
    copy: torch.nn.Module | None = None
    compiled: torch.nn.Module | None = None

    @property
    def device(self) -> torch.device:
        """Where the student is, and all that it gives and takes."""
        return next(iter(self.selected.values())).device

    def denoise(
        self, latents: torch.Tensor, timesteps: torch.Tensor, conditioning: Conditioning
    ) -> torch.Tensor:
        """eps: latents (B, 4, h, w), timesteps (B,), B conditions -> (B, 4, h, w), fp32."""
        arguments, named = unet_arguments(latents, timesteps, conditioning)
        with autocast(latents.device, self.dtype):
            network = self.unet if self.compiled is None else self.compiled
            prediction: torch.Tensor = network(*arguments, **named)[0]
        return prediction.float()

    @torch.no_grad()
    def denoise_frozen(
        self, latents: torch.Tensor, timesteps: torch.Tensor, conditioning: Conditioning
    ) -> torch.Tensor:
        """eps*: the same with the original values, without gradient."""
        here = latents.device
        there = here if self.copy is None else next(self.copy.parameters()).device
        arguments, named = unet_arguments(
            latents.to(there), timesteps.to(there), conditioning.to(there)
        )
        prediction: torch.Tensor
        with autocast(there, self.dtype):
            if self.copy is not None:
                prediction = self.copy(*arguments, **named)[0]
            elif self.compiled is not None:
                frozen = {f"unet.{name}": value for name, value in self.frozen.items()}
                prediction = _called(self.compiled, frozen, arguments, named)
            else:
                prediction = _called(self.unet, self.frozen, arguments, named)
        return prediction.to(here).float()

    def predict_both(
        self, of_frozen: Callable[[], Answer], of_student: Callable[[], Other]
    ) -> tuple[Answer, Other]:
        """Both answers; at the same time where each has its own U-Net, else one by one."""
        if self.copy is None:
            return of_frozen(), of_student()
        with ThreadPoolExecutor(1) as pool:
            future = pool.submit(of_frozen)
            answer = of_student()
            return future.result(), answer

    @torch.no_grad()
    def restore(self) -> None:
        """Give the selected parameters their original values again."""
        for name, value in self.frozen.items():
            self.selected[name].copy_(value)


def _called(
    network: torch.nn.Module,
    values: Mapping[str, torch.Tensor],
    arguments: tuple[torch.Tensor, ...],
    named: Mapping[str, object],
) -> torch.Tensor:
    """A network's prediction with other values of some parameters; a U-Net ties none."""
    prediction: torch.Tensor = functional_call(
        network, dict(values), arguments, dict(named), tie_weights=False
    )[0]
    return prediction


def new_student(
    unet: torch.nn.Module,
    names: Sequence[str],
    values: Mapping[str, torch.Tensor] | None = None,
    dtype: torch.dtype = torch.float32,
    copy: torch.nn.Module | None = None,
) -> Student:
    """Split a U-Net into what moves and what does not.

    Args:
        unet: gets new fp32 parameters in place of the selected ones.
        names: the selected parameters.
        values: what the selected parameters are before ``unet`` rounded them; None for the U-Net's.
        dtype: what to compute in.
        copy: a second U-Net with the same values, for the frozen predictions.

    Raises:
        UsageError: nothing is selected.
    """
    if not names:
        raise UsageError(
            "the train method selects no parameter of this U-Net", "use another method"
        )
    unet.requires_grad_(False)
    parameters = dict(unet.named_parameters())
    frozen = {name: parameters[name].detach() for name in names}
    selected = {}
    for name in names:
        value = frozen[name] if values is None else values[name]
        master = value.to(frozen[name].device, torch.float32, copy=True)
        selected[name] = torch.nn.Parameter(master)
        module, _, leaf = name.rpartition(".")
        setattr(unet.get_submodule(module), leaf, selected[name])
    if copy is not None:
        others = dict(copy.named_parameters())
        frozen = {name: others[name].detach() for name in names}
    return Student(unet, selected, frozen, dtype, copy)
