"""Sigmas and Euler steps against diffusers' FlowMatchEulerDiscreteScheduler, and against a flow."""

import math

import numpy as np
import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from diffusers.pipelines.flux2.pipeline_flux2_klein import compute_empirical_mu

from esdctl.diffusion.flow import (
    LengthShift,
    empirical_flow,
    empirical_shift,
    even_sigmas,
    length_flow,
    noised,
    static_flow,
    static_sigmas,
)
from esdctl.diffusion.schedule import CLEAN, Predict, run


def finished(velocity: Predict, start: torch.Tensor, steps: int, shift: float) -> torch.Tensor:
    schedule = static_flow(shift)
    return run(schedule, velocity, start, [*schedule.timesteps(steps), CLEAN])


def close(sigmas: torch.Tensor, scheduler: FlowMatchEulerDiscreteScheduler) -> bool:
    return torch.allclose(sigmas.float(), scheduler.sigmas, atol=1e-6)


@pytest.mark.parametrize("steps", [1, 2, 4, 28, 50])
@pytest.mark.parametrize("shift", [1.0, 3.0, 6.0])
def test_sigmas_of_a_static_shift(steps: int, shift: float) -> None:
    scheduler = FlowMatchEulerDiscreteScheduler(shift=shift)
    scheduler.set_timesteps(steps)
    assert close(static_sigmas(steps, shift), scheduler)


@pytest.mark.parametrize("length", [256, 1024, 4096])
def test_sigmas_of_a_shift_by_length(length: int) -> None:
    scheduler = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)
    shift = LengthShift()
    scheduler.set_timesteps(sigmas=np.linspace(1, 1 / 20, 20), mu=shift.at(length))
    timesteps = length_flow(length, shift).timesteps(20)
    assert torch.allclose(torch.tensor(timesteps), scheduler.timesteps, atol=1e-3)
    assert close(even_sigmas(20, math.exp(shift.at(length))), scheduler)


@pytest.mark.parametrize("steps", [4, 28, 50])
@pytest.mark.parametrize("length", [24, 4096, 8192])
def test_sigmas_of_a_shift_by_length_and_steps(length: int, steps: int) -> None:
    mu = compute_empirical_mu(length, steps)
    assert math.isclose(empirical_shift(length, steps), mu)
    scheduler = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)
    scheduler.set_timesteps(sigmas=np.linspace(1, 1 / steps, steps), mu=mu)
    schedule = empirical_flow(length, usual_steps=50)
    assert torch.allclose(torch.tensor(schedule.timesteps(steps)), scheduler.timesteps, atol=1e-3)
    assert math.isclose(schedule.shift_at(steps), math.exp(mu))


def test_noise_in_training_is_shifted_as_in_usual_pictures() -> None:
    schedule = empirical_flow(4096, usual_steps=50)
    ends = torch.arange(999, -1, -20)
    assert torch.allclose(schedule.at_each(ends), torch.tensor(schedule.timesteps(50)))


def test_the_shift_by_length_is_fluxs_at_its_ends() -> None:
    assert LengthShift().at(256) == 0.5
    assert math.isclose(LengthShift().at(4096), 1.15)


def test_euler_goes_where_diffusers_goes() -> None:
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    scheduler.set_timesteps(7)
    start = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))

    def velocity(latents: torch.Tensor, t: float) -> torch.Tensor:
        return latents.sin() * t / 1000

    theirs = start
    for timestep in scheduler.timesteps:
        theirs = scheduler.step(
            velocity(theirs, float(timestep)), timestep, theirs, return_dict=False
        )[0]
    assert torch.allclose(finished(velocity, start, 7, 3.0), theirs, atol=1e-5)


def test_the_true_velocity_leads_to_the_picture_in_any_number_of_steps() -> None:
    generator = torch.Generator().manual_seed(0)
    x_0, z = (torch.randn(2, 4, 8, 8, generator=generator) for _ in range(2))
    assert torch.equal(noised(x_0, z, torch.ones(2)), z)
    for steps in (1, 5):
        found = finished(lambda latents, t: z - x_0, z, steps, 3.0)
        assert torch.allclose(found, x_0, atol=1e-5)


def test_euler_is_of_first_order() -> None:
    """Halving the steps halves the error, on a field whose flow is known: x' = x (by sigma)."""
    start = torch.ones(1, 1, 1, 1, dtype=torch.float64)
    exact = math.exp(-1.0)
    errors = [abs(finished(lambda x, t: x, start, n, 1.0).item() - exact) for n in (50, 100, 200)]
    assert errors[0] / errors[1] == pytest.approx(2, rel=0.1)
    assert errors[1] / errors[2] == pytest.approx(2, rel=0.1)
