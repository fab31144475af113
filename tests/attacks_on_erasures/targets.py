"""Models under attack: pocket with an erasure that is too short, pocket itself, and pure noise."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch

from esdctl.attacks.asked import AttackRequest
from esdctl.attacks.attack import find_attack
from esdctl.attacks.budget import Budget
from esdctl.attacks.plan import plan_attacks
from esdctl.attacks.target import Attempt, Target
from esdctl.models.resolve import resolve_model
from esdctl.models.stable_diffusion import StableDiffusion, load
from esdctl.progress import Silent
from esdctl.storage.workspace import Workspace


def target_of(folder: Path, n: int = 1, steps: int = 10, at_once: int = 8) -> Target:
    """Pocket itself under attack, for Mosaic, in an empty folder."""
    pipeline = resolve_model("pocket", Workspace(folder))
    plan = plan_attacks(
        pipeline, "noise", Budget("quick"), folder / "attacks", folder, AttackRequest("Mosaic", n=n)
    )
    model = load(pipeline, torch.device("cpu"))
    return Target(
        model=model,
        base=lambda: load(pipeline, torch.device("cpu")),
        concept=plan.concept,
        cases=plan.cases,
        beside=plan.beside,
        guidance=plan.guidance,
        steps=steps,
        side=plan.side,
        judge=plan.judge,
        folder=plan.folder,
        shared=plan.folder,
        reporter=Silent(),
        at_once=at_once,
    )


@torch.no_grad()
def make_noise(model: StableDiffusion) -> None:
    """Let a model predict noise of its own, whatever it is asked."""
    generator = torch.Generator().manual_seed(0)
    for value in model.denoiser.conv_out.parameters():
        value.zero_()
    last = model.denoiser.conv_out

    def noise(module: torch.nn.Module, given: object, made: torch.Tensor) -> torch.Tensor:
        return made * 0 + torch.randn(made.shape, generator=generator)

    last.register_forward_hook(noise)


@torch.no_grad()
def weaken(model: StableDiffusion, share: float) -> None:
    """Scale what cross-attention adds, so that prompts count less."""
    for name, value in model.denoiser.named_parameters():
        if "attn2.to_out" in name:
            value.mul_(share)


def attack(name: str, target: Target, changes: Mapping[str, int | float]) -> list[Attempt]:
    """The attempts of all the target's cases."""
    method = find_attack(name)
    settings = {**method.budgets["quick"], **changes}
    own = replace(target, folder=target.folder / name)
    return list(method.run(own, target.cases, settings))
