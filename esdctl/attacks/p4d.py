"""P4D: a prompt whose prediction by the erased model is what the base predicts of the concept.

Soft vectors are projected on the nearest tokens; the gradient at the tokens moves the soft vectors
(Wen et al. 2023, hard prompts made easy). The loss is the squared distance between the erased
model's prediction for the prompt under search and the base's for the plain one.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from esdctl.attacks.attack import PAPER, QUICK, Settings
from esdctl.attacks.denoising import concept_latents, noised
from esdctl.attacks.slots import (
    FREE,
    Places,
    Vocabulary,
    encode_slots,
    filled,
    text_of,
    tokens_of,
    vocabulary_of,
)
from esdctl.attacks.target import Attempt, Case, Target, better
from esdctl.diffusion.schedule import TRAIN_TIMESTEPS
from esdctl.models.stable_diffusion import StableDiffusion
from esdctl.models.text import encode_prompts

WEIGHT_DECAY = 0.1

# Target, plain prompt, settings -> the prompt with free places.
Layout = Callable[[StableDiffusion, str, Settings], Places]


@dataclass(frozen=True)
class P4D:
    """One of the paper's two forms.

    Args:
        layout: where the free places are.
        preset: the settings that say how many there are.
    """

    name: str
    about: str
    layout: Layout
    preset: Mapping[str, int]
    source: str = "Chin et al. 2023, Prompting4Debugging (P4D)"

    @property
    def budgets(self) -> Mapping[str, Settings]:
        quick = {"iterations": 20, "lr": 0.1, "evaluated_every": 10, "cases_at_once": 10}
        paper = {"iterations": 3000, "lr": 0.1, "evaluated_every": 50, "cases_at_once": 1}
        return {QUICK: {**self.preset, **quick}, PAPER: {**self.preset, **paper}}

    def run(self, target: Target, cases: Sequence[Case], settings: Settings) -> Iterator[Attempt]:
        at_once = max(1, int(settings["cases_at_once"]))
        by_places: dict[int, list[Case]] = {}  # those with equally many free places share batches
        layouts = {case: self.layout(target.model, case.prompt, settings) for case in cases}
        for case, places in layouts.items():
            by_places.setdefault(sum(place is FREE for place in places), []).append(case)
        for alike in by_places.values():
            for start in range(0, len(alike), at_once):
                few = alike[start : start + at_once]
                yield from _search(target, few, [layouts[case] for case in few], settings)


def _search(
    target: Target, cases: Sequence[Case], prompts: Sequence[Places], settings: Settings
) -> list[Attempt]:
    """The best attempt of each case; what succeeded is searched no longer."""
    words = vocabulary_of(target.model)
    generator = torch.Generator().manual_seed(cases[0].seed)
    soft = _first(words, len(cases), sum(place is FREE for place in prompts[0]), generator)
    optimizer = torch.optim.AdamW(soft, lr=float(settings["lr"]), weight_decay=WEIGHT_DECAY)
    latents = concept_latents(target, cases)
    plain = encode_prompts(target.base(), [case.prompt for case in cases])
    best: list[Attempt | None] = [None] * len(cases)
    iterations, every = int(settings["iterations"]), max(1, int(settings["evaluated_every"]))
    for iteration in range(1, iterations + 1):
        tokens = words.nearest(soft)  # (B, K)
        hard = [each.requires_grad_() for each in words.vectors(tokens)]
        told = encode_slots(target.model, prompts, hard).for_size(target.side, target.side)
        timesteps = torch.randint(0, TRAIN_TIMESTEPS, (len(cases),), generator=generator)
        timesteps = timesteps.to(target.device)
        noise = torch.randn(latents.shape, generator=generator).to(target.device)
        x_t, _ = noised(target.model.schedule, latents, noise, timesteps)
        with torch.no_grad():
            asked = plain.for_size(target.side, target.side)
            wanted = target.base().denoise(x_t, timesteps, asked)
        predicted = target.model.denoise(x_t, timesteps, told)
        loss = F.mse_loss(predicted, wanted, reduction="none").mean((1, 2, 3)).sum()
        for vector, gradient in zip(soft, torch.autograd.grad(loss, hard), strict=True):
            vector.grad = gradient
        optimizer.step()
        if iteration % every == 0 or iteration == iterations:
            left = [i for i, attempt in enumerate(best) if attempt is None or not attempt.found]
            for i, attempt in zip(
                left, _tried(target, cases, prompts, words.nearest(soft), left), strict=True
            ):
                best[i] = better(best[i], attempt)
            if all(attempt is not None and attempt.found for attempt in best):
                break
    return [attempt for attempt in best if attempt is not None]


def _first(
    words: Vocabulary, count: int, slots: int, generator: torch.Generator
) -> list[torch.Tensor]:
    """Random tokens' vectors for each encoder, (B, K, D)."""
    drawn = torch.randint(0, words.size, (count, slots), generator=generator)
    vectors = words.vectors(drawn.to(words.tables[0].device))
    return [vector.clone().requires_grad_() for vector in vectors]


@torch.no_grad()
def _tried(
    target: Target,
    cases: Sequence[Case],
    prompts: Sequence[Places],
    tokens: torch.Tensor,
    left: Sequence[int],
) -> list[Attempt]:
    """Pictures of the tokens."""
    if not left:
        return []
    vectors = vocabulary_of(target.model).vectors(tokens[list(left)])
    told = encode_slots(target.model, [prompts[i] for i in left], vectors)
    pictures = target.sampled(told, [cases[i].seed for i in left])
    return [
        Attempt(
            cases[i],
            sight.found,
            sight.score,
            picture,
            text_of(target.model, filled(prompts[i], tokens[i].tolist())),
            cases[i].seed,
            f"{tokens.shape[1]} tokens",
        )
        for i, picture, sight in zip(left, pictures, target.judged(pictures), strict=True)
    ]


def alone(model: StableDiffusion, prompt: str, settings: Settings) -> Places:
    """P4D-N: nothing but free places."""
    return [FREE] * int(settings["tokens"])


def between(model: StableDiffusion, prompt: str, settings: Settings) -> Places:
    """P4D-K: a free place after each few tokens of the plain prompt."""
    places: list[int | None] = []
    every = int(settings["every"])
    for index, token in enumerate(tokens_of(model, prompt), start=1):
        places.append(token)
        if index % every == 0:
            places.append(FREE)
    return places if FREE in places else [*places, FREE]
