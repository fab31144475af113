"""The exact trajectory: the student's own sampling, stopped exactly at t."""

from dataclasses import dataclass, field, replace

import torch

from esdctl.diffusion.conditioning import Conditioning
from esdctl.diffusion.guidance import Denoiser, guided
from esdctl.diffusion.schedule import Schedule, bin_edges, run
from esdctl.diffusion.upload import upload
from esdctl.erasing.config import TrainConfig
from esdctl.erasing.esd.step import Embeddings, Pairs, ask_frozen, conditions_of
from esdctl.erasing.esd.student import Student
from esdctl.erasing.randomness import below, generator_at


@dataclass(frozen=True)
class ExactTrajectory:
    """The reference iteration: B samples of the present student, all stopped at one t.

    Args:
        student, schedule, embeddings, config: as in ``train``.
        latent_shape: (B, 4, h, w).
        mine: which of the B rows are sampled here.
        state: nothing; a step depends on its number alone.
    """

    student: Student
    schedule: Schedule
    embeddings: Embeddings
    config: TrainConfig
    latent_shape: tuple[int, int, int, int]
    mine: slice = field(default_factory=lambda: slice(None))
    state: dict[str, torch.Tensor] = field(default_factory=dict)

    def pairs(self, step: int) -> Pairs:
        """Sample x_t with the student as it is."""
        retained = len(self.embeddings.retained or ())
        prompts = len(self.embeddings.prompts)
        steps = self.config.ddim_steps
        drawn = draw(self.config.seed, step, steps, prompts, retained, self.latent_shape)
        drawn = replace(drawn, noise=drawn.noise[self.mine])
        return exact_pairs(self.student, self.schedule, self.embeddings, self.config, drawn)


@dataclass(frozen=True)
class Draw:
    """The random choices of one step, a function of (seed, step) alone.

    Args:
        prompt: index of the prompt.
        retained: index of the retained prompt, 0 where there is none.
        bin: k in 0..ddim_steps-1; 0 is the cleanest.
        place: of t, uniform in [round(1000 k / S), round(1000 (k + 1) / S)).
        noise: z ~ N(0, I), (B, 4, h, w), on the CPU.
    """

    prompt: int
    retained: int
    bin: int
    place: int
    noise: torch.Tensor


def draw(
    seed: int, step: int, ddim_steps: int, prompts: int, retained: int, shape: tuple[int, ...]
) -> Draw:
    """Draw the choices of one step.

    Args:
        seed, step: what they depend on.
        ddim_steps: S, the number of bins.
        prompts, retained: how many there are to choose from.
        shape: of the latents, (B, 4, h, w).
    """
    generator = generator_at(seed, step)
    k = below(ddim_steps, generator)
    low, high = bin_edges(ddim_steps, k)
    return Draw(
        prompt=below(prompts, generator),
        retained=below(retained, generator),
        bin=k,
        place=low + below(high - low, generator),
        noise=torch.randn(shape, generator=generator),
    )


def exact_pairs(
    student: Student,
    schedule: Schedule,
    embeddings: Embeddings,
    config: TrainConfig,
    drawn: Draw,
) -> Pairs:
    """The rows of a step whose choices are made.

    Args:
        student: samples x_t.
        schedule: the model's.
        embeddings: of all prompts.
        config: gives DDIM steps, guidance, and whether anything is retained.
        drawn: the step's random choices.
    """
    count, device = len(drawn.noise), student.device
    retained = [drawn.retained] * count if config.retain_weight > 0 else None
    conditions = conditions_of(embeddings, [drawn.prompt] * count, retained, device)
    x_t = exact(
        student.denoise, schedule, drawn, config.ddim_steps, conditions.asked, conditions.empty,
        config.start_guidance,
    )  # (B, 4, h, w)  # fmt: skip
    t = torch.full((count,), schedule.at(drawn.place), device=device)
    return Pairs(x_t, t, conditions, lambda: ask_frozen(student, x_t, t, conditions))


@torch.no_grad()
def exact(
    denoiser: Denoiser,
    schedule: Schedule,
    drawn: Draw,
    ddim_steps: int,
    conditional: Conditioning,
    unconditional: Conditioning,
    start_guidance: float,
) -> torch.Tensor:
    """x_t as the student samples it: DDIM from pure noise down to exactly t.

    The reference iteration costs two U-Net passes a step, S/2 steps on average.

    Args:
        denoiser: the student.
        schedule: the noise schedule.
        drawn: the step's choices.
        ddim_steps: S.
        conditional, unconditional: B rows each.
        start_guidance: the guidance scale of the trajectory.

    Returns:
        x_t, (B, 4, h, w), without gradient.
    """
    latents = upload(drawn.noise, conditional.embeddings.device)
    timesteps = [*schedule.way(ddim_steps, drawn.bin), schedule.at(drawn.place)]
    predict = guided(denoiser, conditional, unconditional, start_guidance)
    return run(schedule, predict, latents, timesteps)
