"""Classifier guidance: the judge's gradient steers the model; the model itself only denoises.

At each step the judge looks at the predicted x_0, decoded; the gradient of the log-probability of
the concept shifts the prediction (Dhariwal & Nichol 2021, algorithm 2, with x_0 in place of x_t, as
in Bansal et al. 2023, universal guidance, eq. 6). The U-Net is never differentiated: its prediction
is a constant beside the gradient, and only VAE and judge are gone back through.

The gradient's length is set to ``scale`` (its root mean square over the latents, which have about
1), whatever the noise. From ``until`` on the model denoises alone, so that what is left is what the
model makes of the hint and not a pattern that deceives the judge.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

from esdctl.attacks.attack import PAPER, QUICK, Settings
from esdctl.attacks.latents import batches, noise_of, pictures_of, predictor, steps_from
from esdctl.attacks.target import Attempt, Case, Target
from esdctl.sampling.sample import Pixels

TINY = 1e-12  # keeps a gradient of zero from a division by it


@dataclass(frozen=True)
class ClassifierGuidance:
    """See the module."""

    name: str = "classifier-guidance"
    about: str = (
        "follows the gradient of the judge while the model denoises; nothing else of the model"
    )
    source: str = (
        "Lu et al. 2025, When Are Concepts Erased From Diffusion Models?, classifier guidance"
    )

    @property
    def budgets(self) -> Mapping[str, Settings]:
        return {
            QUICK: {"scale": 0.3, "every": 1, "until": 100, "gradient_steps": 2},
            PAPER: {"scale": 0.3, "every": 1, "until": 100, "gradient_steps": 4},
        }

    def run(self, target: Target, cases: Sequence[Case], settings: Settings) -> Iterator[Attempt]:
        """Sample each case with guidance."""
        for few in batches(cases, target.at_once):
            made = _guided(target, few, settings)
            for case, pixels, sight in zip(few, made, target.judged(made), strict=True):
                what = f"guided by the judge's gradient, scale {settings['scale']:g}"
                yield Attempt(case, sight.found, sight.score, pixels, case.prompt, case.seed, what)


@torch.no_grad()
def _guided(target: Target, cases: Sequence[Case], settings: Settings) -> list[Pixels]:
    predict = predictor(target, cases)
    schedule = target.schedule
    until = schedule.at(int(settings["until"]))
    x_t = noise_of(target, [case.seed for case in cases])
    for number, (t, t_next) in enumerate(steps_from(target, 999)):
        prediction = predict(x_t, t)
        if t >= until and number % int(settings["every"]) == 0:
            signal, sigma = (part.to(x_t.device) for part in schedule.signal_and_noise(t))
            x_0, _ = schedule.split(prediction, x_t, t)
            x_0 = _towards_concept(target, x_0, settings)
            prediction = schedule.target(x_0, (x_t - signal * x_0) / sigma, t)
        x_t = schedule.step(prediction, x_t, t, t_next)
    return pictures_of(target.model, x_t)


def _towards_concept(target: Target, x_0: torch.Tensor, settings: Settings) -> torch.Tensor:
    """x_0 (B, 4, h, w) moved along the judge's gradient, ``scale`` in all."""
    steps = int(settings["gradient_steps"])
    for _ in range(steps):
        gradient = _gradient(target, x_0)
        size = gradient.square().mean(dim=(1, 2, 3), keepdim=True).sqrt()  # (B, 1, 1, 1)
        x_0 = x_0 + settings["scale"] / steps * gradient / (size + TINY)
    return x_0


@torch.enable_grad()
def _gradient(target: Target, x_0: torch.Tensor) -> torch.Tensor:
    """d log p(concept | picture of x_0) / d x_0, (B, 4, h, w), row by row."""
    x_0 = x_0.detach().requires_grad_()
    log_p = target.log_probability(target.model.decode(x_0))  # (B,)
    (gradient,) = torch.autograd.grad(log_p.sum(), x_0)
    return gradient


ATTACK = ClassifierGuidance()
