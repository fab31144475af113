"""Where x_t comes from. ``exact``: the student's own sampling, stopped exactly at t."""

from dataclasses import dataclass

import torch

from esdctl.diffusion.conditioning import Conditioning
from esdctl.diffusion.ddim import run_ddim
from esdctl.diffusion.guidance import Denoiser, guided
from esdctl.diffusion.schedule import TRAIN_TIMESTEPS, Schedule, ddim_timesteps


@dataclass(frozen=True)
class Draw:
    """The random choices of one step, a function of (seed, step) alone.

    Args:
        prompt: index of the prompt.
        retained: index of the retained prompt, 0 where there is none.
        bin: k in 0..ddim_steps-1; 0 is the cleanest.
        timestep: t, uniform in [round(1000 k / S), round(1000 (k + 1) / S)).
        noise: z ~ N(0, I), (B, 4, h, w), on the CPU.
    """

    prompt: int
    retained: int
    bin: int
    timestep: int
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
    generator = torch.Generator().manual_seed(_mixed(seed, step))

    def below(number: int) -> int:
        return int(torch.randint(max(number, 1), (1,), generator=generator))

    k = below(ddim_steps)
    low, high = (round(TRAIN_TIMESTEPS * edge / ddim_steps) for edge in (k, k + 1))
    return Draw(
        prompt=below(prompts),
        retained=below(retained),
        bin=k,
        timestep=low + below(high - low),
        noise=torch.randn(shape, generator=generator),
    )


def _mixed(seed: int, step: int) -> int:
    """One 63-bit seed for (seed, step): the finaliser of SplitMix64 (Steele et al. 2014)."""
    mask = 2**64 - 1
    z = (seed * 0x9E3779B97F4A7C15 + step * 0xD1B54A32D192ED03 + 0x2545F4914F6CDD1D) & mask
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
    return (z ^ (z >> 31)) >> 1


def exact_timesteps(ddim_steps: int, k: int, timestep: int) -> list[int]:
    """The timesteps that lead to ``timestep`` in bin ``k``: the sampler's own, then t itself.

    The noisiest bin needs no step: x_t is the initial noise.
    """
    grid = ddim_timesteps(ddim_steps)  # one a bin, noisiest first
    return [*grid[: ddim_steps - 1 - k], timestep]


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
    latents = drawn.noise.to(conditional.embeddings.device)
    timesteps = exact_timesteps(ddim_steps, drawn.bin, drawn.timestep)
    predict = guided(denoiser, conditional, unconditional, start_guidance)
    return run_ddim(schedule, predict, latents, timesteps)
