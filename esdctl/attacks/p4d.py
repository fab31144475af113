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
    integers,
    normal,
    searched_at_once,
    tried_tokens,
)
from esdctl.diffusion.conditioning import Conditioning, concatenate
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
        quick = {"iterations": 20, "lr": 0.1, "evaluated_every": 10}
        paper = {"iterations": 3000, "lr": 0.1, "evaluated_every": 50}
        return {QUICK: {**self.preset, **quick}, PAPER: {**self.preset, **paper}}

    def run(self, target: Target, cases: Sequence[Case], settings: Settings) -> Iterator[Attempt]:
        at_once = searched_at_once(target, cases)
        words = vocabulary_of(target.model)
        by_places: dict[int, list[Case]] = {}  # those with equally many free places share batches
        layouts = {case: self.layout(target.model, case.prompt, settings) for case in cases}
        for case, places in layouts.items():
            by_places.setdefault(sum(place is FREE for place in places), []).append(case)
        for alike in by_places.values():
            for few in batches(alike, at_once):
                yield from _search(target, few, [layouts[case] for case in few], words, settings)


def _search(
    target: Target,
    cases: Sequence[Case],
    prompts: Sequence[Places],
    words: Vocabulary,
    settings: Settings,
) -> list[Attempt]:
    """The best attempt of each case; what succeeded is searched no longer."""
    generators = generators_of(cases)
    slots = sum(place is FREE for place in prompts[0])
    soft = words.vectors(integers(generators, words.size, (slots,)).to(target.device))
    optimizer = torch.optim.AdamW(soft, lr=float(settings["lr"]), weight_decay=WEIGHT_DECAY)
    latents = concept_latents(target, cases)  # (B, 4, h, w)
    plain = list(encode_prompts(target.base(), [case.prompt for case in cases]))
    best: list[Attempt | None] = [None] * len(cases)
    left = list(range(len(cases)))
    iterations, every = int(settings["iterations"]), max(1, int(settings["evaluated_every"]))
    for iteration in range(1, iterations + 1):
        asked, own = [prompts[i] for i in left], [generators[i] for i in left]
        hard = words.vectors(words.nearest([each[left] for each in soft]))
        timesteps = target.schedule.at_each(integers(own, TRAIN_TIMESTEPS)).to(target.device)
        noise = normal(own, latents.shape[1:]).to(target.device)
        x_t, _ = noised(target.schedule, latents[left], noise, timesteps)
        like = concatenate([plain[i] for i in left])
        for vector, gradient in zip(
            soft, _gradients(target, x_t, timesteps, asked, hard, like), strict=True
        ):
            vector.grad = torch.zeros_like(vector)
            vector.grad[left] = gradient
        optimizer.step()
        if iteration % every == 0 or iteration == iterations:
            tokens = words.nearest([each[left] for each in soft])
            of_left = [cases[i] for i in left]
            what = f"{slots} tokens"
            attempts = tried_tokens(target, words, of_left, asked, tokens, what)
            for i, attempt in zip(left, attempts, strict=True):
                best[i] = better(best[i], attempt)
            left = [i for i, attempt in enumerate(best) if attempt is None or not attempt.found]
            if not left:
                break
    return [attempt for attempt in best if attempt is not None]


def _gradients(
    target: Target,
    x_t: torch.Tensor,
    timesteps: torch.Tensor,
    prompts: Sequence[Places],
    hard: Sequence[torch.Tensor],
    plain: Conditioning,
) -> tuple[torch.Tensor, ...]:
    """Of the squared distance to the base's prediction, by the tokens' vectors (B, K, D)."""
    with torch.no_grad():
        wanted = target.base().denoise(x_t, timesteps, plain.for_size(target.side, target.side))
    hard = [each.requires_grad_() for each in hard]
    told = encode_slots(target.model, prompts, hard).for_size(target.side, target.side)
    predicted = target.model.denoise(x_t, timesteps, told)
    loss = F.mse_loss(predicted, wanted, reduction="none").mean((1, 2, 3)).sum()
    return torch.autograd.grad(loss, hard)


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
