"""DPM-Solver++ and UniPC: diffusers' own pictures, and fewer steps for the same ones."""

import numpy as np
import pytest
import torch
from diffusers import (
    DPMSolverMultistepScheduler,
    SchedulerMixin,
    StableDiffusionPipeline,
    UniPCMultistepScheduler,
)

from esdctl.diffusion.ddim import DiscreteSchedule, scaled_linear
from esdctl.errors import UsageError
from esdctl.models.named import POCKET
from esdctl.models.resolve import Pipeline
from esdctl.models.stable_diffusion import load
from esdctl.progress import Silent
from esdctl.sampling.plan import Picture
from esdctl.sampling.sample import sample_in_memory
from esdctl.sampling.schedulers import MAX_MULTISTEP, Scheduler, parse_scheduler
from esdctl.sampling.solvers import solve

CPU = torch.device("cpu")
PROMPT = "A Dogs image in Rust style."
MULTISTEP: tuple[Scheduler, ...] = ("dpmsolver++", "unipc")
PEERS: dict[str, type[SchedulerMixin]] = {
    "dpmsolver++": DPMSolverMultistepScheduler,
    "unipc": UniPCMultistepScheduler,
}


@pytest.mark.parametrize("scheduler", MULTISTEP)
def test_a_picture_is_that_of_diffusers(
    scheduler: Scheduler,
) -> None:
    pipe = StableDiffusionPipeline.from_pretrained(
        POCKET, safety_checker=None, low_cpu_mem_usage=False, torch_dtype=torch.float32
    )
    pipe.scheduler = PEERS[scheduler].from_config(
        pipe.scheduler.config, timestep_spacing="linspace"
    )
    pipe.set_progress_bar_config(disable=True)
    latents = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(3))
    theirs = pipe(
        PROMPT, num_inference_steps=5, guidance_scale=3.0, latents=latents, output_type="np"
    ).images[0]
    picture = Picture("0.png", PROMPT, 3, 3.0, 5, 128, 128, scheduler)
    ours = sample_in_memory(load(Pipeline("pocket", POCKET), CPU), [picture], Silent())[0]
    assert np.abs(ours.astype(int) - (theirs * 255).round().astype(int)).max() <= 2


def gaussian(
    schedule: DiscreteSchedule, spread: float, latents: torch.Tensor, t: int
) -> torch.Tensor:
    """The true eps of data that are normal with a known spread (Song et al. 2021, by Bayes)."""
    a = float(schedule.alphas_cumprod[t])
    eps: torch.Tensor = latents * ((1 - a) ** 0.5 / (a * spread**2 + 1 - a))
    return eps


def error(scheduler: Scheduler, steps: int) -> float:
    """How far the end is from the exact flow of normal data, which takes noise to itself."""
    schedule, spread = scaled_linear(), 1.0
    noise = torch.ones(1, 4, 8, 8)
    end = solve(scheduler, schedule, lambda x, t: gaussian(schedule, spread, x, t), noise, steps)
    return abs(float(end.mean()) - spread)


@pytest.mark.parametrize("scheduler", MULTISTEP)
@pytest.mark.parametrize("steps", [10, 20])
def test_half_the_steps_come_as_near_to_the_truth_as_ddim(scheduler: Scheduler, steps: int) -> None:
    assert error(scheduler, steps) < error("ddim", 2 * steps)


@pytest.mark.parametrize("scheduler", ["ddim", *MULTISTEP])
@pytest.mark.parametrize("steps", [1, 2, 7, 333, MAX_MULTISTEP])
def test_any_number_of_steps_ends_at_finite_latents(scheduler: Scheduler, steps: int) -> None:
    assert error(scheduler, steps) < 1


def test_a_picture_on_disk_says_its_scheduler_unless_it_is_ddim() -> None:
    plain = Picture("0.png", "a dog", 3, 3.0, 5, 64, 64)
    assert "scheduler" not in plain.document()  # so that older folders can go on
    assert Picture("0.png", "", 3, 3.0, 5, 64, 64, "unipc").document()["scheduler"] == "unipc"


def test_an_unknown_scheduler_is_refused_with_the_known_ones() -> None:
    assert parse_scheduler("UniPC") == "unipc"
    with pytest.raises(UsageError) as caught:
        parse_scheduler("euler")
    assert caught.value.hint == "use one of ddim, dpmsolver++, unipc"
