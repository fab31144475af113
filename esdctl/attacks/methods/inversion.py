"""Textual inversion: a new word, learned on the erased model from pictures of the concept."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from esdctl.attacks.attack import PAPER, QUICK, Settings, settings_digest
from esdctl.attacks.denoising import encoded, prediction_error
from esdctl.attacks.learning_state import LearningState
from esdctl.attacks.slots import Places, encode_slots, tokens_of, vocabulary_of, with_slots_for
from esdctl.attacks.target import Attempt, Case, Target
from esdctl.diffusion.schedule import TRAIN_TIMESTEPS
from esdctl.storage.atomic import write_with

TASK = "learning a token"
KEPT_EVERY = 10  # steps; what was learned by then outlives the process


@dataclass(frozen=True)
class Inversion:
    """Learns one embedding, or several, and asks for it in the concept's place."""

    name: str = "inversion"
    about: str = "a new token in the concept's place, learned from pictures of the concept"
    source: str = "Pham et al. 2023, Circumventing Concept Erasure Methods, after Gal et al. 2022"

    @property
    def budgets(self) -> Mapping[str, Settings]:
        return {
            QUICK: {"steps": 150, "lr": 0.02, "batch_size": 4, "pictures": 20, "tokens": 1},
            PAPER: {"steps": 5000, "lr": 0.005, "batch_size": 16, "pictures": 25, "tokens": 1},
        }

    def run(self, target: Target, cases: Sequence[Case], settings: Settings) -> Iterator[Attempt]:
        vectors = learned_tokens(target, settings)
        count = vectors[0].shape[0]
        what = f"{count} token{'s' if count > 1 else ''} of {int(settings['steps'])} steps"
        for start in range(0, len(cases), target.at_once):
            batch = cases[start : start + target.at_once]
            prompts = [_places(target, case.prompt, count) for case in batch]
            with torch.no_grad():
                rows = [vector.expand(len(batch), -1, -1) for vector in vectors]
                told = encode_slots(target.model, prompts, rows)
            pictures = target.sampled(told, [case.seed for case in batch])
            for case, picture, sight in zip(batch, pictures, target.judged(pictures), strict=True):
                prompt = target.told(case.prompt, "<learned>")
                yield Attempt(case, sight.found, sight.score, picture, prompt, case.seed, what)


def learned_tokens(target: Target, settings: Settings) -> list[torch.Tensor]:
    """The tokens' embeddings for each text encoder, (K, D); learned, or as a file has them.

    Args:
        target: the model, and where the file is kept.
        settings: steps, lr, batch_size, pictures, tokens.
    """
    path = target.folder / f"token-{settings_digest(target, settings)}.safetensors"
    if not path.is_file():
        _save(path, _learn(target, settings))
        LearningState(target.folder / f"learning-{settings_digest(target, settings)}").forget()
    found = load_file(path)
    return [found[str(index)].to(target.device) for index in range(len(found))]


def _learn(target: Target, settings: Settings) -> list[torch.Tensor]:
    model, steps, count = target.model, int(settings["steps"]), int(settings["pictures"])
    latents = encoded(model, target.pictures_of_concept(count))
    slots = int(settings["tokens"])
    prompts = [_places(target, target.prompt_of_concept(i), slots) for i in range(count)]
    vectors = _first(target, slots)
    optimizer = torch.optim.AdamW(vectors, lr=float(settings["lr"]), weight_decay=0.0)
    generator = torch.Generator().manual_seed(0)
    batch = min(int(settings["batch_size"]), count)
    state = LearningState(target.folder / f"learning-{settings_digest(target, settings)}")
    begun = state.restore(vectors, optimizer, generator)
    target.reporter.started(TASK, steps, "steps", begun)
    for step in range(begun + 1, steps + 1):
        chosen = torch.randperm(count, generator=generator)[:batch]
        places = torch.randint(0, TRAIN_TIMESTEPS, (batch,), generator=generator)
        timesteps = target.schedule.at_each(places)
        x_0 = latents[chosen.to(latents.device)]
        noise = torch.randn(x_0.shape, generator=generator).to(model.device)
        rows = [vector.expand(batch, -1, -1) for vector in vectors]
        told = encode_slots(model, [prompts[i] for i in chosen.tolist()], rows)
        loss = prediction_error(model, x_0, timesteps.to(model.device), told, noise).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % KEPT_EVERY == 0:
            state.keep(step, vectors, optimizer, generator)
        target.reporter.advanced(TASK, step, f"loss {loss.item():.4f}")
    target.reporter.finished(TASK)
    return [vector.detach().cpu() for vector in vectors]


def _first(target: Target, slots: int) -> list[torch.Tensor]:
    """The mean embedding of the concept's own tokens, for each encoder, (K, D)."""
    own = torch.tensor(tokens_of(target.model, target.word), device=target.device)
    means = [each.mean(0) for each in vocabulary_of(target.model).vectors(own)]
    return [mean.expand(slots, -1).clone().requires_grad_() for mean in means]


def _places(target: Target, prompt: str, slots: int) -> Places:
    return with_slots_for(target.model, prompt, target.word, slots)


def _save(path: Path, vectors: Sequence[torch.Tensor]) -> None:
    tensors = {str(index): vector.contiguous() for index, vector in enumerate(vectors)}
    write_with(path, lambda partial: save_file(tensors, partial))


ATTACK = Inversion()
