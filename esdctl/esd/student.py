"""The student and its frozen copy in one U-Net: only the selected parameters exist twice."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.func import functional_call

from esdctl.diffusion.conditioning import Conditioning, unet_arguments
from esdctl.errors import UsageError


@dataclass(frozen=True)
class Student:
    """A U-Net whose selected parameters move, beside their frozen values.

    Args:
        unet: the shared network; its selected parameters are the student's.
        selected: the parameters that are trained, by name.
        frozen: their original values, by name.
    """

    unet: torch.nn.Module
    selected: dict[str, torch.nn.Parameter]
    frozen: dict[str, torch.Tensor]

    def denoise(
        self, latents: torch.Tensor, timesteps: torch.Tensor, conditioning: Conditioning
    ) -> torch.Tensor:
        """eps: latents (B, 4, h, w), timesteps (B,), B conditions -> (B, 4, h, w)."""
        arguments, named = unet_arguments(latents, timesteps, conditioning)
        prediction: torch.Tensor = self.unet(*arguments, **named)[0]
        return prediction

    @torch.no_grad()
    def denoise_frozen(
        self, latents: torch.Tensor, timesteps: torch.Tensor, conditioning: Conditioning
    ) -> torch.Tensor:
        """eps*: the same with the original values, without gradient."""
        arguments, named = unet_arguments(latents, timesteps, conditioning)
        prediction: torch.Tensor = functional_call(self.unet, self.frozen, arguments, named)[0]
        return prediction


def new_student(unet: torch.nn.Module, names: Sequence[str]) -> Student:
    """Split a U-Net into what moves and what does not.

    Args:
        unet: gradients are switched on for the selected parameters, off for all others.
        names: the selected parameters.

    Raises:
        UsageError: nothing is selected.
    """
    if not names:
        raise UsageError(
            "the train method selects no parameter of this U-Net", "use another method"
        )
    unet.requires_grad_(False)
    parameters = dict(unet.named_parameters())
    selected = {name: parameters[name] for name in names}
    frozen = {name: parameter.detach().clone() for name, parameter in selected.items()}
    for parameter in selected.values():
        parameter.requires_grad_(True)
    return Student(unet, selected, frozen)
