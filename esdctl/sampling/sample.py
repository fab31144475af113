"""Pictures from a model: a plan's pictures in batches, each one a function of itself alone."""

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch

from esdctl.diffusion.conditioning import Conditioning, concatenate
from esdctl.diffusion.ddim import CLEAN, run_ddim
from esdctl.diffusion.guidance import guided
from esdctl.diffusion.schedule import ddim_timesteps
from esdctl.errors import InputError
from esdctl.models.memory import telling_of_memory
from esdctl.models.stable_diffusion import StableDiffusion
from esdctl.models.text import encode_prompts
from esdctl.progress import Reporter
from esdctl.sampling.noise import initial_noise
from esdctl.sampling.plan import Picture

TASK = "sampling"
DEFAULT_BATCH_SIZE = 8

Pixels = npt.NDArray[np.uint8]  # (H, W, 3), RGB


def sample(
    model: StableDiffusion, pictures: Sequence[Picture], batch_size: int = DEFAULT_BATCH_SIZE
) -> Iterator[list[tuple[Picture, Pixels]]]:
    """Sample pictures with DDIM and classifier-free guidance, a batch at a time.

    Pictures of equal size, steps and guidance share batches; each kind keeps its order.

    Args:
        model: the base or an erased model.
        pictures: what to make.
        batch_size: at most so many at once; changes speed and memory, never a picture.

    Yields:
        Each batch's pictures with their pixels, (H, W, 3), uint8, RGB.

    Raises:
        InputError: the model gives numbers that are not finite.
        DeviceError: the memory does not suffice.
    """
    embed = _Embeddings(model, [picture.prompt for picture in pictures])
    for batch in batches_of(pictures, batch_size):
        conditional = embed([picture.prompt for picture in batch])  # B rows
        with telling_of_memory(model.device, _advice(batch)):
            pixels = _sample_batch(model, batch, conditional, embed.empty)
        yield list(zip(batch, pixels, strict=True))


def sample_in_memory(
    model: StableDiffusion,
    pictures: Sequence[Picture],
    reporter: Reporter,
    batch_size: int = DEFAULT_BATCH_SIZE,
) -> Pixels:
    """Sample pictures of one size without touching the disk.

    Args:
        model: the base or an erased model.
        pictures: at least one, all of the same width and height.
        reporter: told of each batch.
        batch_size: at most so many at once.

    Returns:
        The pixels in the order of ``pictures``, (N, H, W, 3), uint8, RGB.

    Raises:
        InputError: the model gives numbers that are not finite.
    """
    made: dict[Picture, Pixels] = {}
    reporter.started(TASK, len(pictures), "pictures")
    for batch in sample(model, list(dict.fromkeys(pictures)), batch_size):
        made.update(batch)
        reporter.advanced(TASK, len(made))
    reporter.finished(TASK)
    return np.stack([made[picture] for picture in pictures])


class _Embeddings:
    """Embeddings of prompts, encoded when first needed and kept until their last picture."""

    def __init__(self, model: StableDiffusion, prompts: Sequence[str]) -> None:
        self._model = model
        self._pending = Counter(prompts)
        self._known: dict[str, Conditioning] = {}  # prompt -> one row
        self.empty = encode_prompts(model, [""])  # one row

    def __call__(self, prompts: Sequence[str]) -> Conditioning:
        """A row a prompt."""
        new = [prompt for prompt in dict.fromkeys(prompts) if prompt not in self._known]
        if new:
            self._known.update(zip(new, encode_prompts(self._model, new), strict=True))
        stacked = concatenate([self._known[prompt] for prompt in prompts])
        self._pending.subtract(prompts)
        for prompt in set(prompts):
            if self._pending[prompt] <= 0:
                del self._known[prompt]
        return stacked


def batches_of(pictures: Sequence[Picture], batch_size: int) -> Iterator[list[Picture]]:
    """Pictures of one kind, at most ``batch_size`` at once.

    A batch's company changes the last bit of a picture. Some of these batches, taken together, are
    divided in the same way again.
    """
    alike: dict[tuple[int, int, int, float], list[Picture]] = {}
    for picture in pictures:
        kind = (picture.width, picture.height, picture.steps, picture.guidance)
        alike.setdefault(kind, []).append(picture)
    for group in alike.values():
        for start in range(0, len(group), batch_size):
            yield group[start : start + batch_size]


def _advice(batch: Sequence[Picture]) -> list[str]:
    size = f"a smaller --image-size (now {batch[0].width} x {batch[0].height})"
    fewer = [f"use --batch-size 1 (now {len(batch)})"] if len(batch) > 1 else []
    return [*fewer, f"use {size}", "use --device cpu"]


@torch.inference_mode()
def _sample_batch(
    model: StableDiffusion,
    batch: Sequence[Picture],
    conditional: Conditioning,
    empty: Conditioning,
) -> list[Pixels]:
    first = batch[0]
    conditional, unconditional = (
        each.for_size(first.height, first.width) for each in (conditional, empty.expand(len(batch)))
    )
    factor = model.vae_factor
    shape = (
        int(model.architecture.unet.get("in_channels", 4)),
        first.height // factor,
        first.width // factor,
    )
    noise = initial_noise([picture.seed for picture in batch], shape).to(model.device)
    predict = guided(model.denoise, conditional, unconditional, first.guidance)
    timesteps = [*ddim_timesteps(first.steps, model.schedule.spacing), CLEAN]
    latents = run_ddim(model.schedule, predict, noise, timesteps)  # (B, 4, h, w)
    pixels = model.decode(latents)  # (B, 3, H, W) in 0..1
    if not bool(torch.isfinite(pixels).all()):
        raise InputError(
            f"{model.name} gives numbers that are not finite",
            "its weights are damaged, or its training diverged",
        )
    whole = pixels.mul(255).round().to(torch.uint8).permute(0, 2, 3, 1)  # (B, H, W, 3)
    return list(whole.cpu().numpy())
