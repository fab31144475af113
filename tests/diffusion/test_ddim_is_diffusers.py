"""Our DDIM steps against diffusers' DDIMScheduler, value by value."""

from itertools import pairwise

import pytest
import torch
from diffusers import DDIMScheduler

from esdctl.diffusion.conditioning import Conditioning
from esdctl.diffusion.ddim import ddim_timesteps, scaled_linear
from esdctl.diffusion.guidance import guided
from esdctl.diffusion.schedule import CLEAN, run


def peer(steps: int, prediction: str = "epsilon", spacing: str = "leading") -> DDIMScheduler:
    scheduler = DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1 if spacing == "leading" else 0,
        prediction_type=prediction,
        timestep_spacing=spacing,
    )
    scheduler.set_timesteps(steps)
    return scheduler


def test_alphas_are_those_of_diffusers() -> None:
    expected = peer(50).alphas_cumprod
    torch.testing.assert_close(scaled_linear().alphas_cumprod.float(), expected, rtol=1e-5, atol=0)


@pytest.mark.parametrize("steps", [1, 2, 4, 5, 10, 20, 25, 50, 100, 200, 250, 500])
@pytest.mark.parametrize("spacing", ["leading", "trailing"])
def test_timesteps_of_a_divisor_of_1000_are_those_of_diffusers(steps: int, spacing: str) -> None:
    assert ddim_timesteps(steps, spacing) == peer(steps, spacing=spacing).timesteps.tolist()


@pytest.mark.parametrize("steps", [3, 7, 27, 30, 333, 501, 999, 1000])
@pytest.mark.parametrize("spacing", ["leading", "trailing"])
def test_any_number_of_steps_gives_that_many_valid_timesteps(steps: int, spacing: str) -> None:
    timesteps = ddim_timesteps(steps, spacing)
    assert len(set(timesteps)) == len(timesteps) == steps
    assert timesteps == sorted(timesteps, reverse=True)
    assert timesteps[0] <= 999
    assert timesteps[-1] >= 0
    assert timesteps[0] - timesteps[-1] >= 1000 - 2 * 1000 / steps - 1


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_a_trajectory_is_that_of_diffusers(prediction: str) -> None:
    generator = torch.Generator().manual_seed(0)
    scheduler, schedule = peer(10, prediction), scaled_linear(prediction_type=prediction)
    latents = expected = torch.randn(2, 4, 8, 8, generator=generator)
    timesteps = [*ddim_timesteps(10), CLEAN]
    for t, t_next in pairwise(timesteps):
        output = torch.randn(2, 4, 8, 8, generator=generator)
        expected = scheduler.step(output, t, expected).prev_sample
        latents = schedule.step(output, latents, t, t_next)
        torch.testing.assert_close(latents, expected, rtol=1e-4, atol=1e-4)


def test_the_true_noise_leads_to_the_true_sample_at_any_timestep() -> None:
    schedule = scaled_linear()
    clean, noise = torch.randn(2, 1, 4, 8, 8, generator=torch.Generator().manual_seed(1))

    def at(t: int) -> torch.Tensor:
        a = schedule.alphas_cumprod[t].float()
        return a.sqrt() * clean + (1 - a).sqrt() * noise

    reached = run(schedule, lambda latents, t: noise, at(981), [981, 512, 77])
    torch.testing.assert_close(reached, at(77), rtol=1e-3, atol=1e-3)


def test_guidance_mixes_both_predictions_in_one_pass() -> None:
    calls = []

    def denoiser(
        latents: torch.Tensor, timesteps: torch.Tensor, context: Conditioning
    ) -> torch.Tensor:
        calls.append(len(latents))
        return context.embeddings.mean((1, 2)).view(-1, 1, 1, 1).expand_as(latents)

    latents = torch.zeros(3, 4, 2, 2)
    two, five = (Conditioning(torch.full((3, 77, 4), value)) for value in (2.0, 5.0))
    assert guided(denoiser, five, two, 3.0)(latents, 10).unique().item() == 2 + 3 * (5 - 2)
    assert calls == [6]


@pytest.mark.parametrize(("scale", "value"), [(1.0, 5.0), (0.0, 2.0)])
def test_a_guidance_of_one_or_zero_asks_once(scale: float, value: float) -> None:
    calls = []

    def denoiser(
        latents: torch.Tensor, timesteps: torch.Tensor, context: Conditioning
    ) -> torch.Tensor:
        calls.append(len(latents))
        return context.embeddings.mean((1, 2)).view(-1, 1, 1, 1).expand_as(latents)

    two, five = (Conditioning(torch.full((3, 77, 4), value)) for value in (2.0, 5.0))
    prediction = guided(denoiser, five, two, scale)(torch.zeros(3, 4, 2, 2), 10)
    assert prediction.unique().item() == value
    assert calls == [3]
