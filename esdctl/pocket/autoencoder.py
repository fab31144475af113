"""The pocket autoencoder: 128-pixel pictures to 16x16x4 latents and back, trained on crops."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from diffusers import AutoencoderKL

from esdctl.pocket.muon import Muon
from esdctl.pocket.stage import Stage, run_stage

CROP = 64
BATCH = 8
WHOLE_BATCH = 3


def new_autoencoder() -> AutoencoderKL:
    """An untrained AutoencoderKL of 2.7 M parameters, factor 8, 4 latent channels."""
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(16, 32, 64, 128),
        layers_per_block=1,
        norm_num_groups=16,
        latent_channels=4,
        sample_size=128,
    )
    with torch.no_grad():
        # Start with little posterior noise, or the decoder learns to ignore the latents.
        vae.quant_conv.weight[4:].zero_()
        vae.quant_conv.bias[4:].fill_(-6.0)
    return vae.to(memory_format=torch.channels_last)


def train_autoencoder(pictures: npt.NDArray[np.uint8], work: Path, minutes: float) -> AutoencoderKL:
    """Train on 64-pixel crops aligned to 8, with the losses of LDM less the discriminator.

    L1, half the L1 of the spatial gradients (edges count), and a small KL term.

    Args:
        pictures: (N, 128, 128, 3), uint8.
        work: folder of the checkpoint.
        minutes: time budget.

    Returns:
        The trained autoencoder; ``config.scaling_factor`` makes its latents' deviation 1.
    """
    torch.manual_seed(0)
    vae = new_autoencoder()
    optimizer = Muon(vae, lr=2e-3)

    def loss_of(crops: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            posterior = vae.encode(crops).latent_dist
            decoded = vae.decode(posterior.mean + posterior.std * noise).sample
        error = decoded.float() - crops
        edges = error.diff(dim=2).abs().mean() + error.diff(dim=3).abs().mean()
        mean, logvar = posterior.mean.float(), posterior.logvar.float()
        kl = 0.5 * (mean.square() + logvar.exp() - 1 - logvar).mean()
        loss: torch.Tensor = error.abs().mean() + 0.5 * error.square().mean() + 0.5 * edges
        loss += 1e-4 * kl
        return loss

    def loss_at(step: int) -> torch.Tensor:
        return loss_of(*_example(pictures, step))

    run_stage(
        Stage("autoencoder", minutes, lr=2e-3, ema_decay=0.998), work, vae, optimizer, loss_at
    )
    latents = encode(vae, pictures[:: max(1, len(pictures) // 512)])
    vae.register_to_config(scaling_factor=1.0 / float(latents.std()))
    return vae


def train_decoder(
    vae: AutoencoderKL,
    pictures: npt.NDArray[np.uint8],
    latents: npt.NDArray[np.float32],
    work: Path,
    minutes: float,
) -> None:
    """Train the decoder alone, on whole pictures, whose borders crops do not show.

    The encoder stays, so latents that were made before stay true.

    Args:
        vae: changed in place.
        pictures: (N, 128, 128, 3), uint8.
        latents: of the pictures, unscaled, (N, 4, 16, 16).
        work: folder of the checkpoint.
        minutes: time budget.
    """
    decoder = torch.nn.ModuleList([vae.post_quant_conv, vae.decoder])
    optimizer = Muon(decoder, lr=1e-3)

    def loss_at(step: int) -> torch.Tensor:
        rng = np.random.default_rng([5, step])
        picks = np.sort(rng.integers(0, len(pictures), WHOLE_BATCH))
        with torch.autocast("cpu", torch.bfloat16):
            decoded = vae.decode(torch.from_numpy(latents[picks])).sample
        error = decoded.float() - to_tensor(pictures[picks])
        edges = error.diff(dim=2).abs().mean() + error.diff(dim=3).abs().mean()
        loss: torch.Tensor = error.abs().mean() + 0.5 * error.square().mean() + 0.5 * edges
        return loss

    run_stage(
        Stage("decoder", minutes, lr=1e-3, ema_decay=0.995), work, decoder, optimizer, loss_at
    )
    vae.eval()


def _example(pictures: npt.NDArray[np.uint8], step: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Crops (B, 3, 64, 64) and the posterior's noise (B, 4, 8, 8) of one step."""
    rng = np.random.default_rng([1, step])
    crops = _crops(pictures, rng)
    shape = (BATCH, 4, CROP // 8, CROP // 8)
    return crops, torch.from_numpy(rng.standard_normal(shape, dtype=np.float32))


def _crops(pictures: npt.NDArray[np.uint8], rng: np.random.Generator) -> torch.Tensor:
    picks = rng.integers(0, len(pictures), BATCH)
    corners = 8 * rng.integers(0, (pictures.shape[1] - CROP) // 8 + 1, (BATCH, 2))
    crops = np.stack(
        [pictures[i, y : y + CROP, x : x + CROP] for i, (y, x) in zip(picks, corners, strict=True)]
    )
    return to_tensor(crops)


def to_tensor(pictures: npt.NDArray[np.uint8]) -> torch.Tensor:
    """Pictures (B, H, W, 3) in 0..255 to a tensor (B, 3, H, W) in -1..1, channels last."""
    return torch.tensor(pictures).permute(0, 3, 1, 2).float().div(127.5).sub(1)


@torch.no_grad()
def encode(vae: AutoencoderKL, pictures: npt.NDArray[np.uint8], batch: int = 32) -> torch.Tensor:
    """The posterior's mean, unscaled, (N, 4, 16, 16), float32."""
    parts = [
        vae.encode(to_tensor(pictures[i : i + batch])).latent_dist.mean
        for i in range(0, len(pictures), batch)
    ]
    return torch.cat(parts)


@torch.no_grad()
def decode(vae: AutoencoderKL, latents: torch.Tensor, batch: int = 32) -> npt.NDArray[np.uint8]:
    """Unscaled latents (N, 4, 16, 16) to pictures (N, 128, 128, 3), uint8."""
    parts = [vae.decode(latents[i : i + batch]).sample for i in range(0, len(latents), batch)]
    pixels = torch.cat(parts).add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8)
    return pixels.permute(0, 2, 3, 1).contiguous().numpy()
