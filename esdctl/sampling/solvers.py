"""From noise to a picture: DDIM, or one of diffusers' multistep solvers with fewer steps.

DPM-Solver++ (Lu et al. 2022, arXiv 2211.01095, 2M) and UniPC (Zhao et al. 2023, arXiv 2302.04867,
order 2) solve the same equation as DDIM and remember their last prediction, so that they are of
second order at one prediction a step.
"""

from typing import Any

import torch
from diffusers import DPMSolverMultistepScheduler, UniPCMultistepScheduler

from esdctl.diffusion.ddim import DiscreteSchedule
from esdctl.diffusion.flow import FlowSchedule
from esdctl.diffusion.schedule import CLEAN, TRAIN_TIMESTEPS, Predict, Schedule, run
from esdctl.sampling.schedulers import Scheduler


def solve(
    scheduler: Scheduler, schedule: Schedule, predict: Predict, latents: torch.Tensor, steps: int
) -> torch.Tensor:
    """Follow a trajectory to its end.

    Args:
        scheduler: the name of the solver.
        schedule: the noise schedule; its spacing is DDIM's alone.
        predict: the (guided) model.
        latents: pure noise, (B, 4, h, w).
        steps: 1 to 1000, or to ``MAX_MULTISTEP``; the model is asked once in each.

    Returns:
        The finished latents, (B, 4, h, w).
    """
    if scheduler == "ddim":
        return run(schedule, predict, latents, [*schedule.timesteps(steps), CLEAN])
    multistep = _multistep(scheduler, schedule, steps)
    multistep.set_timesteps(steps)
    for t in multistep.timesteps.tolist():
        latents = multistep.step(predict(latents, t), t, latents, return_dict=False)[0]
    return latents


def _multistep(scheduler: Scheduler, schedule: Schedule, steps: int) -> Any:
    settings = _settings(schedule, steps)
    if scheduler == "unipc":
        return UniPCMultistepScheduler(**settings)
    return DPMSolverMultistepScheduler(algorithm_type="dpmsolver++", **settings)


def _settings(schedule: Schedule, steps: int) -> dict[str, Any]:
    if isinstance(schedule, FlowSchedule):
        return {
            "num_train_timesteps": TRAIN_TIMESTEPS,
            "prediction_type": "flow_prediction",
            "use_flow_sigmas": True,
            "flow_shift": schedule.shift_at(steps),
        }
    assert isinstance(schedule, DiscreteSchedule)
    a = schedule.alphas_cumprod
    return {
        "num_train_timesteps": TRAIN_TIMESTEPS,
        "trained_betas": (1 - a / torch.cat([torch.ones_like(a[:1]), a[:-1]])).tolist(),
        "prediction_type": schedule.prediction_type,
        "timestep_spacing": "linspace",  # from the noisiest timestep on, as in both papers
    }
