"""A student whose U-Net torch has compiled, once it agrees with the plain one.

A compiler can be wrong in silence: torch lost most gradients under autocast on a CPU. Predictions
and gradients are compared before the first step, and only what was compared is used afterwards.
"""

import os
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

import torch

from esdctl.diffusion.conditioning import Conditioning, concatenate
from esdctl.erasing.config import TrainConfig
from esdctl.erasing.esd.prepare import Prepared
from esdctl.erasing.esd.step import Embeddings
from esdctl.erasing.esd.student import Student
from esdctl.erasing.randomness import generator_at
from esdctl.progress import Reporter
from esdctl.storage.user_cache import cache_folder

LARGEST_DIFFERENCE = 0.05  # |a - b| / |a|; rounding alone gives 1e-6 in fp32
CACHE = "compiled"  # a folder of the user's cache
_VARIABLE = "TORCHINDUCTOR_CACHE_DIR"  # torch's own
_STREAM = 3  # of the batch that is compared
_SHOWN = 160  # characters of what a compiler says

Program = Callable[..., tuple[torch.Tensor, ...]]


def compiled(ready: Prepared, config: TrainConfig, batch_size: int, reporter: Reporter) -> Student:
    """The student with a compiled U-Net, or as it was where that fails or predicts otherwise.

    Args:
        ready: the student and all embeddings; nothing is changed.
        config: of the run.
        batch_size: latents a step.
        reporter: told what was found.
    """
    student = ready.student
    _keep_programs()
    reporter.notice("compiling the U-Net; this takes minutes, and less where it is in the cache")
    began = time.perf_counter()
    passes = passes_of(config, ready.embeddings, batch_size)
    try:
        program, difference = _compile(ready, passes, config.seed)
    except Exception as error:  # a compiler fails in many ways, and training needs none
        kept = os.environ.get(_VARIABLE)
        reporter.notice(f"training without --compile: {_reason(error)} (compiled before: {kept})")
        return student
    seconds = time.perf_counter() - began
    return accepted(student, program, difference, seconds, reporter)


def accepted(
    student: Student, program: Program, difference: float, seconds: float, reporter: Reporter
) -> Student:
    """The student with this program, or without where it differs too much.

    Args:
        student: the plain one.
        program: the U-Net's forward, compiled.
        difference: as ``largest_difference`` gives it.
        seconds: that compiling took.
        reporter: told of the verdict.
    """
    if not difference <= LARGEST_DIFFERENCE:  # NaN is no agreement either
        reporter.notice(
            f"training without --compile: the compiled U-Net's predictions or gradients are "
            f"{difference:.1%} off the plain one's"
        )
        return student
    reporter.notice(f"compiled in {seconds:.0f} s; {difference:.1e} off the plain U-Net")
    return replace(student, compiled=CompiledNetwork(student.network, _as_compiled(program)))


@dataclass(frozen=True)
class Passes:
    """The rows of the passes that training makes over and over; 0 for a pass that it does not.

    Args:
        trained: of the student, with gradient.
        sampled: of the student, without.
        frozen: of the frozen copy.
    """

    trained: int
    sampled: int = 0
    frozen: int = 0


def passes_of(config: TrainConfig, embeddings: Embeddings, batch_size: int) -> Passes:
    """What is worth compiling. Pools of frozen trajectories are sampled once, and kept as they are.

    Args:
        config: gives the trajectory, its guidance, and whether anything is retained.
        embeddings: likewise.
        batch_size: latents a step.
    """
    retains = embeddings.retained is not None and config.retain_weight > 0
    trained = batch_size * (1 + retains)
    if config.trajectory == "frozen":
        return Passes(trained)
    is_guided = config.trajectory == "exact" and config.start_guidance not in (0.0, 1.0)
    asked = 2 + (embeddings.erase_from is not None) + retains
    return Passes(trained, batch_size * (1 + is_guided), batch_size * asked)


class CompiledNetwork(torch.nn.Module):
    """Asks a compiled program with the parameters that ``network`` has at the time.

    Args:
        network: whose forward was compiled.
        program: that forward.
    """

    def __init__(self, network: torch.nn.Module, program: Program) -> None:
        super().__init__()
        self.network = network
        self.program = program

    def forward(self, *arguments: torch.Tensor, **named: object) -> tuple[torch.Tensor, ...]:
        # A program is for one layout in memory; rows that are repeated without a copy have another.
        return self.program(
            *(tensor.contiguous() for tensor in arguments),
            **{name: _contiguous(value) for name, value in named.items()},
        )


def largest_difference(ready: Prepared, program: Program, passes: Passes, seed: int) -> float:
    """How far a program is off the plain U-Net: |a - b| / |a|, of the worst of what training asks.

    That is each kind of prediction, and the gradients of all selected parameters as one vector.

    Args:
        ready: the plain student and all embeddings; nothing is changed.
        program: the U-Net's forward, compiled.
        passes: the rows of each kind.
        seed: of the batch.
    """
    student = ready.student
    other = replace(student, compiled=CompiledNetwork(student.network, program))
    answers = zip(
        _answers(student, ready, passes, seed), _answers(other, ready, passes, seed), strict=True
    )
    # In fp64, so that a large network's sums are exact; torch's max, which keeps NaN.
    found = torch.stack([(a.double() - b.double()).norm() / a.double().norm() for a, b in answers])
    return float(found.max())


def _answers(student: Student, ready: Prepared, passes: Passes, seed: int) -> list[torch.Tensor]:
    """What one network says to a fixed batch: predictions, and the gradients as one vector."""
    latents, t, conditions, noise = _batch(ready, passes.trained, seed)
    prediction = student.denoise(latents, t, conditions)
    loss = (prediction - noise).square().sum()
    # Not backward(): it would leave gradients behind.
    gradients = torch.autograd.grad(
        loss, list(student.asked.values()), allow_unused=True, materialize_grads=True
    )
    answers = [prediction.detach(), torch.cat([gradient.flatten() for gradient in gradients])]
    with torch.no_grad():
        if passes.sampled:
            answers.append(student.denoise(*_batch(ready, passes.sampled, seed)[:3]))
        if passes.frozen and student.copy is None:
            answers.append(student.denoise_frozen(*_batch(ready, passes.frozen, seed)[:3]))
    return answers


def _batch(
    ready: Prepared, rows: int, seed: int
) -> tuple[torch.Tensor, torch.Tensor, Conditioning, torch.Tensor]:
    """Latents (B, 4, h, w), timesteps (B,), B conditions, and noise like the latents."""
    device, given = ready.student.device, ready.embeddings
    generator = generator_at(seed, _STREAM)
    latents, noise = torch.randn((2, rows, *ready.latent), generator=generator).to(device)
    places = (torch.arange(rows) * 1000 + 500) // rows  # evenly over 0..999
    t = ready.schedule.at_each(places).to(device)
    parts = [given.prompts, given.empty, *([] if given.retained is None else [given.retained])]
    known = concatenate(parts)
    conditions = concatenate([known[index % len(known)] for index in range(rows)]).to(device)
    return latents, t, conditions, noise


def _compile(ready: Prepared, passes: Passes, seed: int) -> tuple[Program, float]:
    """The program, compiled for these passes, and how far it is off."""
    torch.compiler.reset()  # what the process compiled before must not count towards torch's limits
    program: Program = torch.compile(ready.student.network.forward, dynamic=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the compiler's advice to the U-Net's authors
        return program, largest_difference(ready, program, passes, seed)


def _as_compiled(program: Program) -> Program:
    """The same program, which is never compiled again: what was not compared runs as it is."""

    def call(*arguments: torch.Tensor, **named: object) -> tuple[torch.Tensor, ...]:
        with torch.compiler.set_stance("eager_on_recompile"):
            return program(*arguments, **named)

    return call


def _contiguous(value: object) -> object:
    if isinstance(value, dict):
        return {key: _contiguous(part) for key, part in value.items()}
    return value.contiguous() if isinstance(value, torch.Tensor) else value


def _keep_programs() -> None:
    """Let torch keep compiled programs in the user's cache, unless the user names a folder."""
    from torch._inductor.runtime.cache_dir_utils import default_cache_dir

    # torch names its own default, a folder that restarts empty, as soon as it is imported.
    if os.environ.get(_VARIABLE) in (None, default_cache_dir()):
        with suppress(RuntimeError):  # the user has no home
            os.environ[_VARIABLE] = str(cache_folder().absolute() / CACHE)


def _reason(error: Exception) -> str:
    """In one line, what a compiler says."""
    lines = str(getattr(error, "inner_exception", error)).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:_SHOWN]
