"""Stable Diffusion in memory: the loaded parts, on their device, with their schedule."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors import SafetensorError
from transformers import CLIPTextModel, CLIPTokenizer
from transformers.utils import logging

from esdctl.checkpoints.delta import apply_delta, read_delta
from esdctl.diffusion.conditioning import Conditioning, unet_arguments
from esdctl.diffusion.schedule import Schedule, scaled_linear
from esdctl.errors import DeviceError, InputError
from esdctl.models.resolve import Pipeline


@dataclass(frozen=True)
class StableDiffusion:
    """A model ready to run. Nothing in it requires gradients.

    Args:
        name: what the user calls it.
        digest: sha256 of its files.
        unet, vae, text_encoder, tokenizer: the parts.
        schedule: its noise schedule.
        device: where the parts are.
    """

    name: str
    digest: str
    unet: UNet2DConditionModel
    vae: AutoencoderKL
    text_encoder: CLIPTextModel
    tokenizer: CLIPTokenizer
    schedule: Schedule
    device: torch.device

    @property
    def vae_factor(self) -> int:
        """Pixels a side of one latent: 8 for Stable Diffusion."""
        return int(2 ** (len(self.vae.config.block_out_channels) - 1))

    @property
    def image_size(self) -> int:
        """The side of the pictures that the U-Net was trained for, in pixels."""
        return int(self.unet.config.sample_size) * self.vae_factor

    def denoise(
        self, latents: torch.Tensor, timesteps: torch.Tensor, conditioning: Conditioning
    ) -> torch.Tensor:
        """The U-Net's prediction.

        Args:
            latents: x_t, (B, 4, h, w).
            timesteps: (B,), 0..999.
            conditioning: B rows.

        Returns:
            eps or v, (B, 4, h, w).
        """
        arguments, named = unet_arguments(latents, timesteps, conditioning)
        prediction: torch.Tensor = self.unet(*arguments, **named)[0]
        return prediction

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Scaled latents (B, 4, h, w) to pictures (B, 3, 8h, 8w) in 0..1."""
        scale = self.vae.config.scaling_factor
        pictures: torch.Tensor = self.vae.decode(latents / scale, return_dict=False)[0]
        return (pictures / 2 + 0.5).clamp(0, 1)


def find_device(name: str | None) -> torch.device:
    """A torch device by its name: ``cpu``, ``cuda``, ``cuda:1``, ``1`` (a CUDA index), ``mps``.

    Without a name it is CUDA where there is one, else the CPU.

    Raises:
        DeviceError: this machine has no such device.
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    spelled = f"cuda:{name}" if name.isdigit() else name
    try:
        device = torch.device(spelled)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError):
        raise DeviceError(
            f"no device {name!r} here",
            f"this machine has: {_devices()}; name one of them, as in --devices cpu",
        ) from None
    return device


def _devices() -> str:
    names = ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
    if torch.backends.mps.is_available():
        names.append("mps")
    return ", ".join(names)


def load(pipeline: Pipeline, device: torch.device) -> StableDiffusion:
    """Load a model in fp32 and put its delta in place.

    Args:
        pipeline: the files.
        device: where the parts go.

    Returns:
        The model, in evaluation mode, without gradients.

    Raises:
        InputError: a part is damaged.
        IntegrityError: the delta does not fit.
    """
    folder = pipeline.folder
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # stderr is the reporter's
    model = StableDiffusion(
        name=pipeline.name,
        digest=pipeline.digest(),
        unet=_part(UNet2DConditionModel, folder, "unet", device),
        vae=_part(AutoencoderKL, folder, "vae", device),
        text_encoder=_part(CLIPTextModel, folder, "text_encoder", device),
        tokenizer=CLIPTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True),
        schedule=read_schedule(folder),
        device=device,
    )
    if pipeline.delta is not None:
        apply_delta(model.unet, read_delta(pipeline.delta), pipeline.delta)
    return model


def without_delta(pipeline: Pipeline) -> Pipeline:
    """The base model that a delta stands on."""
    return replace(pipeline, delta=None)


def _part(cls: Any, folder: Path, name: str, device: torch.device) -> Any:
    options: dict[str, object] = {"torch_dtype": torch.float32}
    if name == "text_encoder":
        options = {"dtype": torch.float32}
    else:
        options["low_cpu_mem_usage"] = False  # else diffusers asks for accelerate, in ten lines
    try:
        part = cls.from_pretrained(folder, subfolder=name, local_files_only=True, **options)
    except (SafetensorError, OSError, ValueError, RuntimeError, KeyError) as error:
        first_line = str(error).strip().splitlines()[0]
        raise InputError(
            f"cannot load {name} from {folder / name}: {first_line}",
            "the file is damaged or belongs to another kind of model; get it again",
        ) from error
    if name != "text_encoder":
        part.to(memory_format=torch.channels_last)
    return part.to(device).eval().requires_grad_(False)


def read_schedule(folder: Path) -> Schedule:
    """The schedule that a pipeline folder's scheduler_config.json describes.

    Raises:
        InputError: it is not one of Stable Diffusion's.
    """
    path = folder / "scheduler" / "scheduler_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    kind = config.get("beta_schedule", "scaled_linear")
    prediction = config.get("prediction_type", "epsilon")
    spacing = config.get("timestep_spacing", "leading")
    if kind != "scaled_linear" or prediction not in ("epsilon", "v_prediction"):
        raise InputError(f"{path}: cannot use beta_schedule {kind}, prediction_type {prediction}")
    return scaled_linear(
        config.get("beta_start", 0.00085),
        config.get("beta_end", 0.012),
        prediction,
        "trailing" if spacing == "trailing" else "leading",
    )
