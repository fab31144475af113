"""What searches for tokens share: each case's own randomness, batches that fit, and pictures.

A case draws from a generator of its own seed, so that what is found does not depend on the cases
that are searched beside it, or on those that were done before an interruption.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch

from esdctl.attacks.denoising import prediction_error
from esdctl.attacks.slots import Places, Vocabulary, encode_slots, filled, text_of
from esdctl.attacks.target import Attempt, Case, Target
from esdctl.diffusion.schedule import TRAIN_TIMESTEPS
from esdctl.models.batch_size import fitting_batch
from esdctl.models.text import encode_prompts
from esdctl.sampling.noise import initial_noise


def generators_of(cases: Sequence[Case]) -> list[torch.Generator]:
    """One a case, on the CPU, from the beginning."""
    return [torch.Generator().manual_seed(case.seed) for case in cases]


def normal(generators: Sequence[torch.Generator], shape: Sequence[int]) -> torch.Tensor:
    """A normal draw of each, (B, *shape)."""
    return torch.stack([torch.randn(*shape, generator=each) for each in generators])


def integers(
    generators: Sequence[torch.Generator], below: int, shape: Sequence[int] = ()
) -> torch.Tensor:
    """A uniform draw of each from 0 to ``below`` - 1, (B, *shape)."""
    return torch.stack([torch.randint(below, tuple(shape), generator=each) for each in generators])


def searched_at_once(target: Target, cases: Sequence[Case]) -> int:
    """How many cases may be searched side by side: as many as memory holds, by trials of few.

    It changes speed alone.
    """
    side = target.side // target.model.vae_factor
    plain = encode_prompts(target.model, [cases[0].prompt])

    def trial(count: int) -> None:
        shape = (target.model.latent_channels, side, side)
        latents = initial_noise(range(count), shape).to(target.device)
        told = plain.expand(count)
        rows = replace(told, embeddings=told.embeddings.clone().requires_grad_())
        t = target.schedule.at(TRAIN_TIMESTEPS // 2)
        timesteps = torch.full((count,), t, device=target.device)
        prediction_error(target.model, latents, timesteps, rows, latents).sum().backward()

    trial(1)  # loads the model
    fit = fitting_batch(target.device, trial, target.at_once)
    return 1 if fit is None else fit.size


@torch.no_grad()
def tried_tokens(
    target: Target,
    words: Vocabulary,
    cases: Sequence[Case],
    prompts: Sequence[Places],
    tokens: torch.Tensor,
    what: str,
) -> list[Attempt]:
    """Pictures of tokens in the free places of prompts.

    Args:
        target: who is asked.
        words: the model's vocabulary.
        cases: B of them.
        prompts: of the cases, with K free places each.
        tokens: (B, K).
        what: brought the concept back, where it is back.
    """
    told = encode_slots(target.model, prompts, words.vectors(tokens))
    pictures = target.sampled(told, [case.seed for case in cases])
    asked = [
        filled(places, row) for places, row in zip(prompts, tokens.cpu().tolist(), strict=True)
    ]
    return [
        Attempt(
            case,
            sight.found,
            sight.score,
            picture,
            text_of(target.model, whole),
            case.seed,
            what,
            tuple(whole),
        )
        for case, whole, picture, sight in zip(
            cases, asked, pictures, target.judged(pictures), strict=True
        )
    ]
