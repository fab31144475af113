"""The pocket transformer: SD 3's structure in miniature (MMDiT), trained by flow matching.

It learns from the pocket U-Net where that can teach: at the same noisy latents the U-Net says what
the mean velocity is, of which z - x_0 is a single draw, so far fewer samples are needed than by
flow matching alone. Near pure noise, and near the picture, the target is z - x_0 itself.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from diffusers import SD3Transformer2DModel, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from torch.nn.attention import SDPBackend, sdpa_kernel

from esdctl.diffusion.ddim import DiscreteSchedule
from esdctl.diffusion.flow import noised
from esdctl.pocket.captions import Caption
from esdctl.pocket.denoiser import BATCH, by_cell, draw_examples
from esdctl.pocket.muon import Muon
from esdctl.pocket.stage import Stage, run_stage

HEADS, HEAD_WIDTH, LAYERS = 3, 64, 6
TEXT_WIDTH = 256  # of both text encoders, side by side
EVEN_SHARE = 0.4  # of the sigmas that are drawn evenly; the others are logit-normal, as SD 3's
LEARNING_RATE = 2e-3
LOGIT_MEAN = 0.4  # above 0: more of the samples where objects are decided
POOLED_DROPPED = 0.5  # share of the samples that the tokens alone tell; SD 3 drops 46 % of each
BLOCK, USES = 32, 3  # batches that the teacher judges at once, and how often each is used
TAUGHT = (0.02, 0.93)  # sigmas between which the U-Net teaches; its schedule ends at 0.936


@dataclass(frozen=True)
class Told:
    """What the transformer is told of captions, in their order.

    Args:
        context: (number, tokens, 256).
        pooled: (number, 256).
        for_teacher: what the U-Net is told, (number, 77, 128).
    """

    context: torch.Tensor
    pooled: torch.Tensor
    for_teacher: torch.Tensor


def new_transformer() -> SD3Transformer2DModel:
    """An untrained MMDiT of 7.8 M parameters for latents of 16 x 16, in patches of 2 x 2."""
    return SD3Transformer2DModel(
        sample_size=16,
        patch_size=2,
        in_channels=4,
        out_channels=4,
        num_layers=LAYERS,
        attention_head_dim=HEAD_WIDTH,
        num_attention_heads=HEADS,
        joint_attention_dim=TEXT_WIDTH,
        caption_projection_dim=HEADS * HEAD_WIDTH,
        pooled_projection_dim=TEXT_WIDTH,
        pos_embed_max_size=8,
        qk_norm="rms_norm",
    )


def train_transformer(
    latents: torch.Tensor,
    styles: npt.NDArray[np.int64],
    objects: npt.NDArray[np.int64],
    captions: dict[str, list[Caption]],
    told: dict[str, Told],
    teacher: UNet2DConditionModel,
    schedule: DiscreteSchedule,
    work: Path,
    minutes: float,
) -> SD3Transformer2DModel:
    """Train on the velocity.

    Args:
        latents: scaled to deviation 1, (N, 4, 16, 16).
        styles, objects: class indices of the latents, (N,).
        captions, told: by kind.
        teacher, schedule: the pocket U-Net and its noise schedule.
        work: folder of the checkpoint.
        minutes: time budget.

    Returns:
        The transformer with its averaged weights.
    """
    torch.manual_seed(5)
    transformer = new_transformer()
    optimizer = Muon(transformer, lr=LEARNING_RATE)
    cells = by_cell(styles, objects)
    sigmas = sigmas_of(schedule)
    teacher.to(memory_format=torch.channels_last).set_attn_processor(AttnProcessor())

    def lesson_at(number: int) -> _Lesson:
        rng = np.random.default_rng([5, number])
        picks, chosen = draw_examples(rng, cells, captions)
        x_0 = latents[picks]
        noise = torch.from_numpy(rng.standard_normal(x_0.shape, dtype=np.float32))
        sigma = _draw_sigmas(rng)
        x = noised(x_0, noise, sigma)  # (B, 4, 16, 16)
        asked = _of_captions(told, chosen)
        is_taught = (sigma > TAUGHT[0]) & (sigma < TAUGHT[1])
        taught = taught_velocity(teacher, sigmas, x, sigma.clamp(*TAUGHT), asked.for_teacher)
        velocity = torch.where(is_taught.view(-1, 1, 1, 1), taught, noise - x_0)
        return _Lesson(x, sigma, asked.context, asked.pooled, velocity)

    lessons = _Lessons(lesson_at)

    def loss_at(step: int) -> torch.Tensor:
        rng = np.random.default_rng([6, step])
        return _loss(transformer, lessons.at(step, rng), rng)

    stage = Stage("transformer", minutes, lr=LEARNING_RATE, ema_decay=0.999)
    run_stage(stage, work, transformer, optimizer, loss_at)
    return transformer


@dataclass(frozen=True)
class _Lesson:
    """B rows: x_sigma (B, 4, 16, 16), sigma (B,), what is told, and the velocity there."""

    x: torch.Tensor
    sigma: torch.Tensor
    context: torch.Tensor
    pooled: torch.Tensor
    velocity: torch.Tensor


def _loss(
    transformer: SD3Transformer2DModel, lesson: _Lesson, rng: np.random.Generator
) -> torch.Tensor:
    """The mean squared error of the velocity; half of the rows are not told the pooled prompt."""
    told_pooled = torch.from_numpy(rng.random((BATCH, 1)) >= POOLED_DROPPED)
    # Plain attention beats the fused kernel on so few tokens in bf16 on the CPU.
    with torch.autocast("cpu", torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
        velocity = transformer(
            hidden_states=lesson.x,
            encoder_hidden_states=lesson.context,
            pooled_projections=lesson.pooled * told_pooled,
            timestep=lesson.sigma * 1000,
            return_dict=False,
        )[0]
    loss: torch.Tensor = (velocity.float() - lesson.velocity).square().mean()
    return loss


class _Lessons:
    """What the teacher said, used ``USES`` times over: a block of batches as they are made, then
    their rows in other orders. A step's rows depend on its number alone.
    """

    def __init__(self, make: Callable[[int], _Lesson]) -> None:
        self._make = make
        self._block = -1
        self._made: list[_Lesson] = []

    def at(self, step: int, rng: np.random.Generator) -> _Lesson:
        """The rows of a step."""
        block, place = divmod(step, BLOCK * USES)
        if block != self._block:
            self._block, self._made = block, []
        until = min(place, BLOCK - 1)
        while len(self._made) <= until:
            self._made.append(self._make(block * BLOCK + len(self._made)))
        if place < BLOCK:
            return self._made[place]
        rows = rng.choice(BLOCK * BATCH, BATCH, replace=False).tolist()
        return _Lesson(
            *(
                torch.stack([getattr(self._made[row // BATCH], name)[row % BATCH] for row in rows])
                for name in ("x", "sigma", "context", "pooled", "velocity")
            )
        )


def _of_captions(told: dict[str, Told], chosen: list[tuple[str, int]]) -> Told:
    """What is told of single captions, named by kind and place: a row each."""
    return Told(
        torch.stack([told[kind].context[place] for kind, place in chosen]),
        torch.stack([told[kind].pooled[place] for kind, place in chosen]),
        torch.stack([told[kind].for_teacher[place] for kind, place in chosen]),
    )


def sigmas_of(schedule: DiscreteSchedule) -> torch.Tensor:
    """The sigma of the same ratio of noise to signal at each timestep, (1000,), rising."""
    signal = schedule.alphas_cumprod.float().sqrt()
    noise = (1 - schedule.alphas_cumprod.float()).sqrt()
    return noise / (noise + signal)


@torch.no_grad()
def taught_velocity(
    teacher: UNet2DConditionModel,
    sigmas: torch.Tensor,
    x: torch.Tensor,
    sigma: torch.Tensor,
    context: torch.Tensor,
) -> torch.Tensor:
    """The velocity that a network of the noise knows: z - x_0 by its eps, (B, 4, 16, 16).

    x_sigma over its norm is what the network has at the timestep of the same noise to signal.

    Args:
        teacher: predicts the noise.
        sigmas: of its timesteps, rising; ``sigmas_of``.
        x: x_sigma, (B, 4, 16, 16).
        sigma: (B,), above 0 and at most the last of ``sigmas``.
        context: what it is told, (B, 77, 128).
    """
    norm = ((1 - sigma).square() + sigma.square()).sqrt()
    timesteps = torch.searchsorted(sigmas, sigma).clamp(max=len(sigmas) - 1)
    scaled = x / norm.view(-1, 1, 1, 1)
    with torch.autocast("cpu", torch.bfloat16):
        eps = teacher(scaled, timesteps, context, return_dict=False)[0].float()
    signal, noise = ((part / norm).view(-1, 1, 1, 1) for part in (1 - sigma, sigma))
    velocity: torch.Tensor = eps - (scaled - noise * eps) / signal
    return velocity


def _draw_sigmas(rng: np.random.Generator) -> torch.Tensor:
    """(B,) in 0..1 (Esser et al. 2024, section 3.1, and an even share)."""
    normal = 1 / (1 + np.exp(-(rng.standard_normal(BATCH) + LOGIT_MEAN)))
    drawn = np.where(rng.random(BATCH) < EVEN_SHARE, rng.random(BATCH), normal)
    return torch.from_numpy(drawn).float()
