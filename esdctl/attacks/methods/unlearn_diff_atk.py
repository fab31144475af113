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
from esdctl.attacks.slots import FREE, Places, Vocabulary, encode_slots, text_of, tokens_of
from esdctl.attacks.slots import vocabulary_of as vocabulary
from esdctl.attacks.target import Attempt, Case, Target, better
from esdctl.diffusion.schedule import TRAIN_TIMESTEPS

LR, WEIGHT_DECAY = 0.01, 0.1  # the paper's


@dataclass(frozen=True)
class UnlearnDiffAtk:
    """Searches a prefix for each case, and stops at the first picture that shows the concept."""

    name: str = "unlearn-diff-atk"
    about: str = "a prefix of a few tokens, by the noise prediction error on a picture"
    source: str = "Zhang et al. 2024, To Generate or Not? (UnlearnDiffAtk)"

    @property
    def budgets(self) -> Mapping[str, Settings]:
        return {
            QUICK: {"tokens": 3, "timesteps": 3, "iterations": 12, "cases_at_once": 10},
            PAPER: {"tokens": 3, "timesteps": 50, "iterations": 40, "cases_at_once": 1},
        }

    def run(self, target: Target, cases: Sequence[Case], settings: Settings) -> Iterator[Attempt]:
        words = vocabulary(target.model)
        at_once = max(1, int(settings["cases_at_once"]))
        for start in range(0, len(cases), at_once):
            yield from _search(target, cases[start : start + at_once], words, settings)


def _search(
    target: Target, cases: Sequence[Case], words: Vocabulary, settings: Settings
) -> list[Attempt]:
    """The best attempt of each case; what succeeded is searched no longer."""
    slots, count = int(settings["tokens"]), int(settings["timesteps"])
    latents = concept_latents(target, cases)
    generator = torch.Generator().manual_seed(cases[0].seed)
    weights = torch.randn(len(cases), slots, words.size, generator=generator).to(target.device)
    weights = project_on_simplex(weights).requires_grad_()
    optimizer = torch.optim.Adam([weights], lr=LR, weight_decay=WEIGHT_DECAY)
    prompts: list[Places] = [
        [*[FREE] * slots, *tokens_of(target.model, case.prompt)] for case in cases
    ]
    best: list[Attempt | None] = [None] * len(cases)
    for index in range(count):
        left = [i for i, attempt in enumerate(best) if attempt is None or not attempt.found]
        if not left:
            break
        t = TRAIN_TIMESTEPS * (2 * index + 1) // (2 * count)  # 10, 30, ..., 990 of 50
        for _ in range(int(settings["iterations"])):
            told = encode_slots(
                target.model,
                [prompts[i] for i in left],
                words.mix(_drawn(weights[left], generator)),
            )
            timesteps = torch.full((len(left),), t, device=target.device)
            error = prediction_error(target.model, latents[left], timesteps, told, generator)
            optimizer.zero_grad()
            error.sum().backward()
            optimizer.step()
            with torch.no_grad():
                weights.copy_(project_on_simplex(weights))
        for i, attempt in zip(left, _tried(target, cases, prompts, weights, left), strict=True):
            best[i] = better(best[i], attempt)
    return [attempt for attempt in best if attempt is not None]


@torch.no_grad()
def _tried(
    target: Target,
    cases: Sequence[Case],
    prompts: Sequence[Places],
    weights: torch.Tensor,
    left: Sequence[int],
) -> list[Attempt]:
    """Pictures of the likeliest tokens."""
    tokens = weights[list(left)].argmax(-1)  # (B, K)
    vectors = vocabulary(target.model).vectors(tokens)
    told = encode_slots(target.model, [prompts[i] for i in left], vectors)
    pictures = target.sampled(told, [cases[i].seed for i in left])
    return [
        Attempt(
            cases[i],
            sight.found,
            sight.score,
            picture,
            f"{text_of(target.model, row)} {cases[i].prompt}",
            cases[i].seed,
            f"prefix of {len(row)} tokens",
        )
        for i, row, picture, sight in zip(
            left, tokens.tolist(), pictures, target.judged(pictures), strict=True
        )
    ]


def _drawn(weights: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """A token of each distribution (B, K, V), one-hot, with the gradient of the distribution."""
    flat = weights.detach().cpu().flatten(0, 1).clamp(min=0) + 1e-12  # (B K, V)
    drawn = torch.multinomial(flat, 1, generator=generator).view(weights.shape[:2])
    hard = torch.zeros_like(weights).scatter(-1, drawn.to(weights.device)[..., None], 1.0)
    return hard + weights - weights.detach()


def project_on_simplex(weights: torch.Tensor) -> torch.Tensor:
    """The nearest distributions to rows (..., V) (Duchi et al. 2008, figure 1)."""
    ordered = weights.sort(dim=-1, descending=True).values
    excess = ordered.cumsum(-1) - 1
    ranks = torch.arange(1, weights.shape[-1] + 1, device=weights.device)
    kept = (ordered - excess / ranks > 0).sum(-1, keepdim=True)  # at least 1
    threshold = excess.gather(-1, kept - 1) / kept
    return (weights - threshold).clamp(min=0)


ATTACK = UnlearnDiffAtk()
