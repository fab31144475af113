"""The pocket U-Net: SD 1.x's structure in miniature, trained on latents and frozen embeddings."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor

from esdctl.diffusion.ddim import DiscreteSchedule
from esdctl.pocket.captions import SHARES, Caption
from esdctl.pocket.muon import Muon
from esdctl.pocket.stage import Stage, run_stage

BATCH = 48
MIN_SNR_GAMMA = 5.0  # Hang et al. 2023
SHAPE_TIMESTEPS = 300  # above it objects are decided; half of the samples are drawn from there


def new_unet() -> UNet2DConditionModel:
    """An untrained U-Net of 11.3 M parameters with attention at the places of SD 1.x."""
    unet = UNet2DConditionModel(
        sample_size=16,
        layers_per_block=2,
        block_out_channels=(64, 96, 128, 128),
        down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
        cross_attention_dim=128,
        attention_head_dim=2,  # the number of heads, under diffusers' historical name
    )
    return unet.to(memory_format=torch.channels_last)


def train_unet(
    latents: torch.Tensor,
    styles: npt.NDArray[np.int64],
    objects: npt.NDArray[np.int64],
    captions: dict[str, list[Caption]],
    embeddings: dict[str, torch.Tensor],
    schedule: DiscreteSchedule,
    work: Path,
    minutes: float,
) -> UNet2DConditionModel:
    """Train with the noise-prediction loss under min-SNR weights.

    Args:
        latents: scaled to deviation 1, (N, 4, 16, 16).
        styles, objects: class indices of the latents, (N,).
        captions: by kind.
        embeddings: by kind, in the captions' order, (number, 77, 128).
        schedule: the noise schedule.
        work: folder of the checkpoint.
        minutes: time budget.

    Returns:
        The U-Net with its averaged weights.
    """
    torch.manual_seed(4)
    unet = new_unet()
    # Plain attention beats the fused kernel on small heads in bf16 on the CPU.
    unet.set_attn_processor(AttnProcessor())
    optimizer = Muon(unet, lr=1e-3)
    signal = schedule.alphas_cumprod.float()
    snr = signal / (1 - signal)
    weights = snr.clamp(max=MIN_SNR_GAMMA) / snr
    cells = by_cell(styles, objects)

    def loss_at(step: int) -> torch.Tensor:
        rng = np.random.default_rng([4, step])
        picks, chosen = draw_examples(rng, cells, captions)
        context = torch.stack([embeddings[kind][index] for kind, index in chosen])
        t = rng.integers(0, len(signal), BATCH)
        high = rng.integers(SHAPE_TIMESTEPS, len(signal), BATCH)
        timesteps = torch.from_numpy(np.where(rng.random(BATCH) < 0.5, high, t))
        noise = torch.from_numpy(rng.standard_normal((BATCH, *latents.shape[1:]), dtype=np.float32))
        a = signal[timesteps].view(-1, 1, 1, 1)
        noisy = a.sqrt() * latents[picks] + (1 - a).sqrt() * noise  # (B, 4, 16, 16)
        with torch.autocast("cpu", torch.bfloat16):
            prediction = unet(noisy, timesteps, context, return_dict=False)[0]
        errors = (prediction.float() - noise).square().mean((1, 2, 3))
        loss: torch.Tensor = (errors * weights[timesteps]).mean()
        return loss

    run_stage(Stage("unet", minutes, lr=1e-3, ema_decay=0.999), work, unet, optimizer, loss_at)
    unet.set_default_attn_processor()
    return unet


def by_cell(
    styles: npt.NDArray[np.int64], objects: npt.NDArray[np.int64]
) -> dict[tuple[int, int], npt.NDArray[np.int64]]:
    """Picture numbers of each (style, object)."""
    return {
        (s, o): np.flatnonzero((styles == s) & (objects == o))
        for s in range(styles.max() + 1)
        for o in range(objects.max() + 1)
    }


def draw_examples(
    rng: np.random.Generator,
    cells: dict[tuple[int, int], npt.NDArray[np.int64]],
    captions: dict[str, list[Caption]],
) -> tuple[npt.NDArray[np.int64], list[tuple[str, int]]]:
    """Draw captions, then a picture that each describes: numbers (B,), kinds and places."""
    style_count, object_count = (1 + max(cell[axis] for cell in cells) for axis in range(2))
    picks, chosen = [], []
    for kind in rng.choice(list(SHARES), BATCH, p=list(SHARES.values())):
        index = int(rng.integers(len(captions[kind])))
        caption = captions[kind][index]
        style = caption.style if caption.style is not None else int(rng.integers(style_count))
        name = caption.object if caption.object is not None else int(rng.integers(object_count))
        picks.append(int(rng.choice(cells[style, name])))
        chosen.append((str(kind), index))
    return np.array(picks), chosen
