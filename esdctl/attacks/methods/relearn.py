"""Relearning: a few pictures of the concept and a short fine-tuning, until it is back.

The cross-attention of a copy of the U-Net is trained by the loss that the base was trained with (Ho
et al. 2020, eq. 14) on pictures that the base makes of the concept, under their plain prompts.
Every few steps the cases that are not back yet are sampled with their plain prompts; how many steps
each one took is told. The attacked model stays as it is.
"""

from collections.abc import Iterator, Mapping, Sequence
from copy import copy, deepcopy
from dataclasses import dataclass, replace

import torch

from esdctl.attacks.attack import PAPER, QUICK, Settings, settings_digest
from esdctl.attacks.denoising import encoded, prediction_error
from esdctl.attacks.learning_state import LearningState
from esdctl.attacks.target import Attempt, Case, Target
from esdctl.diffusion.conditioning import Conditioning, concatenate
from esdctl.diffusion.schedule import TRAIN_TIMESTEPS
from esdctl.erasing.train_methods import select
from esdctl.models.stable_diffusion import StableDiffusion
from esdctl.models.text import encode_prompts
from esdctl.progress import Reporter

TASK = "fine-tuning"
TRAINED = "xattn"  # the train method whose parameters move in a U-Net
TRAINED_TRANSFORMER = "joint-attn"  # and in a transformer


@dataclass(frozen=True)
class Relearn:
    """See the module."""

    name: str = "relearn"
    about: str = (
        "fine-tunes a copy's cross-attention on a few pictures of the concept until it is back"
    )
    source: str = "fine-tuning by the loss of Ho et al. 2020, eq. 14; the budgets are ours"

    @property
    def budgets(self) -> Mapping[str, Settings]:
        return {
            QUICK: {
                "pictures": 8,
                "steps": 60,
                "every": 20,
                "batch": 4,
                "learning_rate": 1e-3,
            },
            PAPER: {
                "pictures": 25,
                "steps": 1000,
                "every": 50,
                "batch": 4,
                "learning_rate": 1e-5,
            },
        }

    def run(self, target: Target, cases: Sequence[Case], settings: Settings) -> Iterator[Attempt]:
        """Fine-tune once for all cases; each is told when it was back."""
        lesson = _lesson(target, int(settings["pictures"]))
        student = _copy_of(target.model)
        attacked = replace(target, model=student)
        pending, attempts = list(cases), list[Attempt]()
        state = LearningState(target.folder / f"learning-{settings_digest(target, settings)}")
        for step in _fine_tuned(student, lesson, settings, state, target.reporter):
            attempts = _probed(attacked, pending, step, len(lesson.latents))
            yield from (attempt for attempt in attempts if attempt.found)
            attempts = [attempt for attempt in attempts if not attempt.found]
            pending = [attempt.case for attempt in attempts]
            if not pending:
                break
        target.reporter.finished(TASK)
        yield from attempts
        state.forget()


@dataclass(frozen=True)
class _Lesson:
    """What is learned: latents (N, 4, h, w) under N conditions."""

    latents: torch.Tensor
    conditions: Conditioning


def _lesson(target: Target, count: int) -> _Lesson:
    pictures = target.pictures_of_concept(count)
    prompts = [target.prompt_of_concept(index) for index in range(count)]
    conditions = encode_prompts(target.model, prompts).for_size(target.side, target.side)
    return _Lesson(encoded(target.model, pictures), conditions)


def _copy_of(model: StableDiffusion) -> StableDiffusion:
    """The same parts, but for a denoiser of its own, in fp32."""
    copied = copy(model)
    copied.dtype = torch.float32
    copied.__dict__["denoiser"] = deepcopy(model.denoiser).float()
    return copied


def _fine_tuned(
    model: StableDiffusion,
    lesson: _Lesson,
    settings: Settings,
    state: LearningState,
    reporter: Reporter,
) -> Iterator[int]:
    """Train the model's denoiser where it is; yields after every few steps how many there were.

    After an interruption it goes on with the last number that was not passed yet.
    """
    names = [name for name, _ in model.denoiser.named_parameters()]
    method = TRAINED_TRANSFORMER if model.family.denoiser.groups else TRAINED
    selected = set(select(method, names, model.family))
    trained = [value for name, value in model.denoiser.named_parameters() if name in selected]
    for value in trained:
        value.requires_grad_(True)
    optimizer = torch.optim.AdamW(trained, lr=settings["learning_rate"])
    steps, every = int(settings["steps"]), int(settings["every"])
    begun = state.restore(trained, optimizer)
    if begun:
        yield begun
    reporter.started(TASK, steps, "steps", begun)
    for step in range(begun + 1, steps + 1):
        loss = _loss(model, lesson, int(settings["batch"]), step)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % every == 0 or step == steps:
            state.keep(step, trained, optimizer)
            yield step
        reporter.advanced(TASK, step, f"loss {loss.item():.4f}")


def _loss(model: StableDiffusion, lesson: _Lesson, batch: int, step: int) -> torch.Tensor:
    """Mean (eps - eps(x_t, t, c))^2, or the same of v; step k draws from a generator of k."""
    generator = torch.Generator().manual_seed(step)
    rows = torch.randint(len(lesson.latents), (batch,), generator=generator).tolist()
    places = torch.randint(TRAIN_TIMESTEPS, (batch,), generator=generator)
    t = model.schedule.at_each(places).to(model.device)
    told = concatenate([lesson.conditions[row] for row in rows])
    x_0 = lesson.latents[rows]
    noise = torch.randn(x_0.shape, generator=generator).to(model.device)
    return prediction_error(model, x_0, t, told, noise).mean()


def _probed(target: Target, cases: Sequence[Case], step: int, pictures: int) -> list[Attempt]:
    what = f"fine-tuned {step} steps on {pictures} pictures"
    made = target.sampled([case.prompt for case in cases], [case.seed for case in cases])
    return [
        Attempt(case, sight.found, sight.score, pixels, case.prompt, case.seed, what)
        for case, pixels, sight in zip(cases, made, target.judged(made), strict=True)
    ]


ATTACK = Relearn()
