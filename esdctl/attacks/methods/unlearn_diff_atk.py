"""UnlearnDiffAtk: a prefix of tokens, found by the model's own noise prediction error.

Each place of the prefix holds a distribution over the vocabulary. A step draws a token from each
(straight-through), asks how well the erased model then denoises a picture of the concept, follows
the gradient, and projects each distribution on the simplex.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

from esdctl.attacks.attack import PAPER, QUICK, Settings
from esdctl.attacks.denoising import concept_latents, prediction_error
from esdctl.attacks.latents import batches
from esdctl.attacks.slots import (
    FREE,
    Places,
    Vocabulary,
    encode_slots,
    tokens_of,
    vocabulary_of,
)
from esdctl.attacks.target import Attempt, Case, Target, better
from esdctl.attacks.token_search import (
    generators_of,
    normal,
    searched_at_once,
    tried_tokens,
)
from esdctl.diffusion.schedule import TRAIN_TIMESTEPS

WEIGHT_DECAY = 0.1  # the paper's, as is lr in both budgets


@dataclass(frozen=True)
class UnlearnDiffAtk:
    """Searches a prefix for each case, and stops at the first picture that shows the concept."""

    name: str = "unlearn-diff-atk"
    about: str = "a prefix of a few tokens, by the noise prediction error on a picture"
    source: str = "Zhang et al. 2024, To Generate or Not? (UnlearnDiffAtk)"

    @property
    def budgets(self) -> Mapping[str, Settings]:
        return {
            QUICK: {"tokens": 3, "timesteps": 3, "iterations": 12, "lr": 0.01},
            PAPER: {"tokens": 3, "timesteps": 50, "iterations": 40, "lr": 0.01},
        }

    def run(self, target: Target, cases: Sequence[Case], settings: Settings) -> Iterator[Attempt]:
        words = vocabulary_of(target.model)
        for few in batches(cases, searched_at_once(target, cases)):
            yield from _search(target, few, words, settings)


def _search(
    target: Target, cases: Sequence[Case], words: Vocabulary, settings: Settings
) -> list[Attempt]:
    """The best attempt of each case; what succeeded is searched no longer."""
    slots, count = int(settings["tokens"]), int(settings["timesteps"])
    prompts: list[Places] = [
        [*[FREE] * slots, *tokens_of(target.model, case.prompt)] for case in cases
    ]
    latents = concept_latents(target, cases)
    generators = generators_of(cases)
    weights = project_on_simplex(normal(generators, (slots, words.size)).to(target.device))
    optimizer = torch.optim.Adam([weights], lr=float(settings["lr"]), weight_decay=WEIGHT_DECAY)
    best: list[Attempt | None] = [None] * len(cases)
    for index in range(count):
        left = [i for i, attempt in enumerate(best) if attempt is None or not attempt.found]
        if not left:
            break
        asked, own = [prompts[i] for i in left], [generators[i] for i in left]
        place = TRAIN_TIMESTEPS * (2 * index + 1) // (2 * count)  # 10, 30, ..., 990 of 50
        t = target.schedule.at(place)
        timesteps = torch.full((len(left),), t, device=target.device)
        for _ in range(int(settings["iterations"])):
            tokens = _drawn(weights[left], own)  # (B, K)
            drawn = [each.requires_grad_() for each in words.vectors(tokens)]
            told = encode_slots(target.model, asked, drawn)
            noise = normal(own, latents.shape[1:]).to(target.device)
            error = prediction_error(target.model, latents[left], timesteps, told, noise)
            gradients = torch.autograd.grad(error.sum(), drawn)
            weights.grad = torch.zeros_like(weights)
            weights.grad[left] = words.pulled_back(gradients)  # straight through the draw
            optimizer.step()
            weights.copy_(project_on_simplex(weights))
        what = f"prefix of {slots} tokens"
        found = weights[left].argmax(-1)
        for i, attempt in zip(
            left,
            tried_tokens(target, words, [cases[i] for i in left], asked, found, what),
            strict=True,
        ):
            best[i] = better(best[i], attempt)
    return [attempt for attempt in best if attempt is not None]


def _drawn(weights: torch.Tensor, generators: Sequence[torch.Generator]) -> torch.Tensor:
    """A token of each distribution (B, K, V): (B, K)."""
    heights = weights.cumsum(-1)
    places = torch.stack([torch.rand(weights.shape[1], generator=each) for each in generators])
    wanted = places.to(weights.device) * heights[..., -1]  # (B, K)
    tokens = torch.searchsorted(heights, wanted[..., None], right=True)[..., 0]
    return tokens.clamp(max=weights.shape[-1] - 1)


def project_on_simplex(weights: torch.Tensor) -> torch.Tensor:
    """The nearest distributions to rows (..., V) (Duchi et al. 2008, figure 1).

    Few weights are kept, so only the largest are put in order: more of them until the last is out.
    """
    size = weights.shape[-1]
    count = min(size, 64)
    while True:
        ordered = weights.topk(count, dim=-1).values  # falling
        excess = ordered.cumsum(-1) - 1
        ranks = torch.arange(1, count + 1, device=weights.device)
        kept = (ordered - excess / ranks > 0).sum(-1, keepdim=True)  # at least 1
        if count == size or bool((kept < count).all()):
            threshold = excess.gather(-1, kept - 1) / kept
            return (weights - threshold).clamp(min=0)
        count = min(size, 4 * count)


ATTACK = UnlearnDiffAtk()
