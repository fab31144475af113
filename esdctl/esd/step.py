"""One reference iteration up to the loss."""

from dataclasses import dataclass

import torch

from esdctl.diffusion.conditioning import Conditioning, concatenate
from esdctl.diffusion.schedule import Schedule
from esdctl.esd.config import TrainConfig
from esdctl.esd.objective import esd_loss, esd_target, retain_loss
from esdctl.esd.student import Student
from esdctl.esd.trajectory import Draw, exact


@dataclass(frozen=True)
class Embeddings:
    """Everything the text encoders are needed for, computed once.

    Args:
        prompts: of the erased concept, P rows.
        erase_from: of the prompt it is erased from, one row, or None.
        retained: of the retained prompts, R rows, or None.
        empty: of the empty prompt, one row.
    """

    prompts: Conditioning
    erase_from: Conditioning | None
    retained: Conditioning | None
    empty: Conditioning


@dataclass(frozen=True)
class Loss:
    """The terms of one step's loss, scalars."""

    erase: torch.Tensor
    retain: torch.Tensor | None

    def total(self, retain_weight: float) -> torch.Tensor:
        return self.erase if self.retain is None else self.erase + retain_weight * self.retain


def step_loss(
    student: Student, schedule: Schedule, embeddings: Embeddings, config: TrainConfig, drawn: Draw
) -> Loss:
    """Sample x_t, ask the frozen copy and the student there, and compare.

    Args:
        student: gives both predictions.
        schedule: the model's.
        embeddings: of all prompts.
        config: gives guidance, eta, DDIM steps and the retain term's weight.
        drawn: the step's random choices.

    Returns:
        The terms of the loss, with gradients for the selected parameters.
    """
    count = len(drawn.noise)

    def repeat(row: Conditioning) -> Conditioning:
        return row.to(student.device).expand(count)

    c, empty = repeat(embeddings.prompts[drawn.prompt]), repeat(embeddings.empty)
    f = None if embeddings.erase_from is None else repeat(embeddings.erase_from)
    asked = c if f is None else f
    k = None
    if embeddings.retained is not None and config.retain_weight > 0:
        k = repeat(embeddings.retained[drawn.retained])
    x_t = exact(
        student.denoise, schedule, drawn, config.ddim_steps, asked, empty, config.start_guidance
    )  # (B, 4, h, w)
    t = torch.full((count,), drawn.timestep, device=student.device)

    def ask_frozen() -> tuple[torch.Tensor, torch.Tensor | None]:
        frozen_0, frozen_c = student.denoise_frozen(
            torch.cat([x_t, x_t]), torch.cat([t, t]), concatenate([empty, c])
        ).chunk(2)
        frozen_from = frozen_0 if f is None else student.denoise_frozen(x_t, t, f)
        target = esd_target(frozen_from, frozen_c, frozen_0, config.negative_guidance)
        return target, None if k is None else student.denoise_frozen(x_t, t, k)

    def ask_student() -> tuple[torch.Tensor, torch.Tensor | None]:
        return (
            student.denoise(x_t, t, asked),
            None if k is None else student.denoise(x_t, t, k),
        )

    (target, frozen_k), (prediction, student_k) = student.together(ask_frozen, ask_student)
    erase = esd_loss(prediction, target)
    if student_k is None or frozen_k is None:
        return Loss(erase, None)
    return Loss(erase, retain_loss(student_k, frozen_k))
