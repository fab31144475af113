"""Pictures from a model: a plan's pictures in batches, each one a function of itself alone."""

import math
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from threading import Event

import numpy as np
import numpy.typing as npt
import torch

from esdctl.diffusion.conditioning import Conditioning
from esdctl.diffusion.guidance import Denoiser, as_sampled
from esdctl.diffusion.schedule import Predict
from esdctl.errors import InputError
from esdctl.models.batch_size import fitting_batch
from esdctl.models.cpu.unet import inference_unet
from esdctl.models.memory import keep_freed_memory, memory_errors, peak_growth
from esdctl.models.stable_diffusion import StableDiffusion
from esdctl.progress import Reporter
from esdctl.sampling.defaults import DEFAULT_BATCH_SIZE
from esdctl.sampling.embeddings import PromptEmbeddings
from esdctl.sampling.noise import initial_noise
from esdctl.sampling.plan import BatchSize, Picture
from esdctl.sampling.prefetch import prefetched
from esdctl.sampling.solvers import solve
from esdctl.sampling.threads import run_in_threads

TASK = "sampling"
# Latent places at once on a CPU; more are no faster and take more memory.
DENOISED_AT_ONCE, DECODED_AT_ONCE = 4096, 1024
# Pictures at once that ``auto`` takes at most; more are no faster: tests/measurements/README.md.
LARGEST_ON_CPU, LARGEST = 16, 64

Pixels = npt.NDArray[np.uint8]  # (H, W, 3), RGB


def sample(
    model: StableDiffusion,
    pictures: Sequence[Picture],
    batch_size: BatchSize = DEFAULT_BATCH_SIZE,
    conditions: Mapping[str, Conditioning] | None = None,
) -> Generator[list[tuple[Picture, Pixels]], None, None]:
    """Sample pictures with classifier-free guidance, a batch at a time.

    Pictures of equal size, steps, guidance and scheduler share batches; each kind keeps its order.
    On another device than the CPU, whose cores are busy anyway, a batch is denoised while the one
    before is decoded and the one before that is used.

    Args:
        model: the base or an erased model.
        pictures: what to make.
        batch_size: at most so many at once, ``auto`` for what fits into the memory; changes speed
            and memory, never a picture.
        conditions: prompt -> one row that the U-Net is told in its place.

    Yields:
        Each batch's pictures with their pixels, (H, W, 3), uint8, RGB.

    Raises:
        InputError: the model gives numbers that are not finite.
        DeviceError: the memory does not suffice.
    """
    if not pictures:
        return
    size = auto_batch_size(model, pictures) if batch_size == "auto" else batch_size
    if model.device.type == "cpu":
        keep_freed_memory()
        yield from _decoded(model, _denoised(model, pictures, size, Event(), conditions))
    else:
        yield from _overlapped(model, pictures, size, conditions)


def sample_in_memory(
    model: StableDiffusion,
    pictures: Sequence[Picture],
    reporter: Reporter,
    batch_size: BatchSize = DEFAULT_BATCH_SIZE,
    conditions: Mapping[str, Conditioning] | None = None,
) -> Pixels:
    """Sample pictures of one size without touching the disk.

    Args:
        model: the base or an erased model.
        pictures: at least one, all of the same width and height.
        reporter: told of each batch.
        batch_size, conditions: as in ``sample``.

    Returns:
        The pixels in the order of ``pictures``, (N, H, W, 3), uint8, RGB.

    Raises:
        InputError: the model gives numbers that are not finite.
    """
    made: dict[Picture, Pixels] = {}
    reporter.started(TASK, len(pictures), "pictures")
    for batch in sample(model, list(dict.fromkeys(pictures)), batch_size, conditions):
        made.update(batch)
        reporter.advanced(TASK, len(made))
    reporter.finished(TASK)
    return np.stack([made[picture] for picture in pictures])


def _overlapped(
    model: StableDiffusion,
    pictures: Sequence[Picture],
    batch_size: int,
    conditions: Mapping[str, Conditioning] | None = None,
) -> Iterator[list[tuple[Picture, Pixels]]]:
    """Denoising and decoding in a thread each."""
    stop = Event()
    denoised = prefetched(_denoised(model, pictures, batch_size, stop, conditions), stop)
    yield from prefetched(_decoded(model, denoised), stop)


def auto_batch_size(model: StableDiffusion, pictures: Sequence[Picture]) -> int:
    """How many of the largest pictures fit into the memory, by a trial of one or two; else 1."""
    largest = max(pictures, key=lambda picture: picture.width * picture.height)
    is_cpu = model.device.type == "cpu"

    def trial(count: int, is_decoded: bool = is_cpu) -> None:
        alike = [replace(largest, steps=1, file=str(index)) for index in range(count)]
        denoised = _denoised(model, alike, count, Event())
        for _ in _decoded(model, denoised) if is_decoded else denoised:
            pass

    trial(1, is_decoded=True)  # loads the model
    if is_cpu:
        fit = fitting_batch(model.device, trial, LARGEST_ON_CPU)
    else:
        # Pictures are decoded one by one, while the next batch is denoised.
        decoding = peak_growth(model.device, partial(trial, 1, is_decoded=True)) or 0
        fit = fitting_batch(model.device, trial, min(LARGEST, len(pictures)), kept=decoding)
    return 1 if fit is None else fit.size


def _denoised(
    model: StableDiffusion,
    pictures: Sequence[Picture],
    batch_size: int,
    stop: Event,
    conditions: Mapping[str, Conditioning] | None = None,
) -> Iterator[tuple[list[Picture], torch.Tensor]]:
    """Batches with their finished latents, (B, 4, h, w)."""
    with memory_errors(model.device, partial(sampling_advice, model.device, pictures[:1])):
        embed = PromptEmbeddings(model, [picture.prompt for picture in pictures], conditions or {})
    denoisers: list[Denoiser] = []  # one a share; they keep what they were asked last
    for batch in batches_of(pictures, batch_size):
        with memory_errors(model.device, partial(sampling_advice, model.device, batch)):
            finished: list[torch.Tensor] = []
            for part in _split(model, batch, DENOISED_AT_ONCE):
                shares = _shares(model, part)
                denoisers += [_denoiser(model) for _ in shares[len(denoisers) :]]
                tasks = [
                    partial(_denoise, model, denoiser, share, embed(share), embed.empty, stop)
                    for denoiser, share in zip(denoisers, shares, strict=False)
                ]
                finished += run_in_threads(tasks, stop)
            yield batch, torch.cat(finished)


def _shares(model: StableDiffusion, part: Sequence[Picture]) -> list[Sequence[Picture]]:
    """What is denoised side by side: as many equal shares as a CPU has threads, or one."""
    workers = torch.get_num_threads() if model.device.type == "cpu" else 1
    each = math.ceil(len(part) / workers)
    return [part[start : start + each] for start in range(0, len(part), each)]


def _decoded(
    model: StableDiffusion, denoised: Iterator[tuple[list[Picture], torch.Tensor]]
) -> Iterator[list[tuple[Picture, Pixels]]]:
    for batch, latents in denoised:
        with memory_errors(model.device, partial(sampling_advice, model.device, batch)):
            few = len(_split(model, batch, DECODED_AT_ONCE)[0])
            pixels = [each for part in latents.split(few) for each in _decode(model, part)]
        yield list(zip(batch, pixels, strict=True))


def batches_of(pictures: Sequence[Picture], batch_size: int) -> Iterator[list[Picture]]:
    """Pictures of one kind, at most ``batch_size`` at once.

    The other pictures of a batch and the number of torch's threads change a picture's last bit.
    Pictures of whole batches alone are divided into the same
    batches again.
    """
    alike: dict[tuple[int, int, int, float, str], list[Picture]] = {}
    for picture in pictures:
        kind = (picture.width, picture.height, picture.steps, picture.guidance, picture.scheduler)
        alike.setdefault(kind, []).append(picture)
    for group in alike.values():
        for start in range(0, len(group), batch_size):
            yield group[start : start + batch_size]


def _split(
    model: StableDiffusion, batch: Sequence[Picture], places: int
) -> list[Sequence[Picture]]:
    """A batch as it is, on a CPU in parts of at most so many places of latents, or one picture."""
    if model.device.type != "cpu":
        return [batch]
    of_one = (batch[0].width // model.vae_factor) * (batch[0].height // model.vae_factor)
    few = max(1, places // of_one)
    return [batch[start : start + few] for start in range(0, len(batch), few)]


def sampling_advice(device: torch.device, batch: Sequence[Picture]) -> list[str]:
    """What to change when the memory does not suffice for these pictures, the mildest first.

    It names no option: the commands that sample do not have the same ones.
    """
    fewer = [f"make fewer pictures at once (now {len(batch)})"] if len(batch) > 1 else []
    smaller = f"make smaller pictures (now {batch[0].width} x {batch[0].height})"
    return [*fewer, smaller, *(["use the CPU"] if device.type != "cpu" else [])]


def _denoiser(model: StableDiffusion) -> Denoiser:
    """The model's U-Net, in the form that is fastest without gradient."""
    fast = inference_unet(model.denoiser)
    if fast is model.denoiser:
        return model.denoise

    def denoise(
        latents: torch.Tensor, timesteps: torch.Tensor, conditioning: Conditioning
    ) -> torch.Tensor:
        arguments, named = model.family.denoiser.ask(latents, timesteps, conditioning)
        prediction: torch.Tensor = fast(*arguments, **named)[0]
        return prediction

    return denoise


@torch.inference_mode()
def _denoise(
    model: StableDiffusion,
    denoiser: Denoiser,
    batch: Sequence[Picture],
    conditional: Conditioning,
    empty: Conditioning,
    stop: Event,
) -> torch.Tensor:
    first = batch[0]
    conditional, unconditional = (
        each.for_size(first.height, first.width) for each in (conditional, empty.expand(len(batch)))
    )
    factor = model.vae_factor
    shape = (model.latent_channels, first.height // factor, first.width // factor)
    noise = initial_noise([picture.seed for picture in batch], shape).to(model.device)
    guided = as_sampled(denoiser, conditional, unconditional, first.guidance)
    predict = _unless_stopped(guided, stop)
    schedule = model.schedule_for(first.height, first.width)
    return solve(first.scheduler, schedule, predict, noise, first.steps)


def _unless_stopped(predict: Predict, stop: Event) -> Predict:
    def asked(latents: torch.Tensor, t: float) -> torch.Tensor:
        if stop.is_set():
            raise _Stopped
        return predict(latents, t)

    return asked


class _Stopped(Exception):
    """The batch is no longer wanted."""


@torch.inference_mode()
def _decode(model: StableDiffusion, latents: torch.Tensor) -> list[Pixels]:
    pixels = model.decode(latents)  # (B, 3, H, W) in 0..1
    if not bool(torch.isfinite(pixels).all()):
        raise InputError(
            f"{model.name} gives numbers that are not finite",
            "its weights are damaged, or its training diverged",
        )
    whole = pixels.mul(255).round().to(torch.uint8).permute(0, 2, 3, 1)  # (B, H, W, 3)
    return list(whole.cpu().numpy())
