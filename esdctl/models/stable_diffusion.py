"""Stable Diffusion in memory: parts that are loaded when they are first asked for."""

import gc
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any, Literal

import torch
from diffusers import AutoencoderKL
from transformers import AutoTokenizer, CLIPTokenizer
from transformers.utils import logging

from esdctl.checkpoints.layouts.architecture import Architecture
from esdctl.checkpoints.layouts.model_files import ModelFiles
from esdctl.checkpoints.layouts.tokenizer_files import TokenizerFiles
from esdctl.diffusion.conditioning import Conditioning
from esdctl.diffusion.schedule import Schedule
from esdctl.models.families.family import Family, Part, TextEncoder
from esdctl.models.frozen_layers import FrozenStorage
from esdctl.models.image_size import check_sides, pixels_per_latent, trained_size
from esdctl.models.kept_parts import kept
from esdctl.models.parts import load_part
from esdctl.models.precision import predicted
from esdctl.models.resolve import Pipeline

DECODED_AT_ONCE = 512 * 512  # pixels; a decoder needs over a gigabyte for so many


class StableDiffusion:
    """A model ready to run; a part takes memory from its first use until it is dropped.

    Nothing in it requires gradients. CLIP's text encoders and the VAE are in fp32: they are small
    or rarely used, and 16 bits show in what they give.

    Args:
        pipeline: its files, and perhaps a delta that is put in place.
        device: where the parts are.
        dtype: what the denoiser is stored and computed in.
        storage: of the denoiser's layers that no training moves, where they are stored otherwise.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
        storage: FrozenStorage | None = None,
    ) -> None:
        self.pipeline = pipeline
        self.name = pipeline.name
        self.device = device
        self.dtype = dtype
        self.storage = storage
        logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # stderr is the reporter's

    @cached_property
    def schedule(self) -> Schedule:
        """The process, for pictures of the model's own size."""
        return self.schedule_for(self.image_size, self.image_size)

    def schedule_for(self, height: int, width: int) -> Schedule:
        """The process for pictures of a size in pixels, which some flows depend on.

        Raises:
            UsageError: the model makes no pictures of this size.
        """
        check_sides(self.pipeline, height, width)
        latents = height // self.vae_factor, width // self.vae_factor
        return self.family.process.schedule(self.architecture.noise, latents)

    @property
    def files(self) -> ModelFiles:
        """The base's files."""
        return self.pipeline.files

    @property
    def architecture(self) -> Architecture:
        """What kind of model it is."""
        return self.files.architecture

    @property
    def family(self) -> Family:
        """What sets models like this one apart."""
        return self.architecture.family

    @property
    def vae_factor(self) -> int:
        """Pixels a side of one latent: 8 for Stable Diffusion."""
        return pixels_per_latent(self.architecture)

    @property
    def image_size(self) -> int:
        """The side of the pictures that the model was trained for, in pixels."""
        return trained_size(self.pipeline)

    @property
    def latent_channels(self) -> int:
        """C of the latents (B, C, h, w)."""
        latents = self.family.latents
        of_vae = int(self.architecture.vae.get("latent_channels", latents.channels))
        return of_vae * latents.patch**2

    @cached_property
    def denoiser_values(self) -> Mapping[str, torch.Tensor]:
        """The denoiser's parameters as the files and the delta have them, mapped where possible.

        Raises:
            InputError: a file is damaged.
            IntegrityError: the delta does not fit.
        """
        return {**self.files.read(self.files.denoiser), **self.pipeline.changed()}

    @cached_property
    @torch.inference_mode(False)  # it may be trained later, whoever asks for it first
    def denoiser(self) -> torch.nn.Module:
        """The U-Net or transformer with the delta in place."""
        module: torch.nn.Module = self._load(
            self.files.denoiser, self.denoiser_values, self.dtype, self.storage
        )
        return module

    @cached_property
    @torch.inference_mode(False)  # gradients may go through it, whoever asks for it first
    def vae(self) -> AutoencoderKL:
        vae: AutoencoderKL = self._unchanged("vae")
        return vae

    @cached_property
    @torch.inference_mode(False)  # likewise
    def text_encoders(self) -> tuple[Any, ...]:
        """transformers' modules, in the family's order."""
        return tuple(map(self._text_encoder, self.architecture.encoders))

    @cached_property
    def tokenizers(self) -> tuple[CLIPTokenizer, ...]:
        """One for each text encoder."""
        encoders = self.architecture.encoders
        return tuple(map(_tokenizer, encoders, self.files.tokenizers))

    @cached_property
    def empty_is_zero(self) -> bool:
        """Whether the empty prompt's embeddings are zeros, as SDXL was trained."""
        return self.files.empty_is_zero

    def load_all(self) -> None:
        """Put every part in place."""
        _ = self.denoiser, self.vae, self.text_encoders

    def drop(self, *parts: Literal["denoiser", "vae", "text_encoders"]) -> None:
        """Give the memory of parts back; they are loaded again when they are asked for."""
        for part in parts:
            self.__dict__.pop(part, None)
        gc.collect()  # modules refer to themselves
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def denoise(
        self, latents: torch.Tensor, timesteps: torch.Tensor, conditioning: Conditioning
    ) -> torch.Tensor:
        """The denoiser's prediction.

        Args:
            latents: x_t, (B, C, h, w).
            timesteps: (B,), as ``Schedule`` has them.
            conditioning: B rows.

        Returns:
            eps or v, (B, C, h, w), fp32.
        """
        kind = self.family.denoiser
        return predicted(self.denoiser, kind, latents, timesteps, conditioning, self.dtype)

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Latents (B, C, h, w) to pictures (B, 3, H, W) in 0..1, a few at a time."""
        pixels = latents.shape[-2] * latents.shape[-1] * self.vae_factor**2
        of_vae = self.family.latents.to_vae(self.vae, latents)
        pictures = [
            self.vae.decode(few, return_dict=False)[0]
            for few in of_vae.split(max(1, DECODED_AT_ONCE // pixels))
        ]
        return (torch.cat(pictures) / 2 + 0.5).clamp(0, 1)

    def encode(self, pictures: torch.Tensor) -> torch.Tensor:
        """Pictures (B, 3, H, W) in -1..1 to latents (B, C, h, w), the mean of the VAE's."""
        mean: torch.Tensor = self.vae.encode(pictures).latent_dist.mode()
        return self.family.latents.of_vae(self.vae, mean)

    def _text_encoder(self, encoder: TextEncoder) -> Any:
        """CLIP in fp32; a larger one in its file's type, but that fp16 is too narrow for T5."""
        if encoder.kind == "clip":
            return self._unchanged(encoder.part)
        tensors = self.files.read(encoder.part)
        own = tensors[next(iter(tensors))].dtype
        return self._unchanged(encoder.part, torch.bfloat16 if own == torch.float16 else own)

    def _unchanged(self, part: Part, dtype: torch.dtype = torch.float32) -> Any:
        """A part that no delta touches, perhaps an earlier model's on the same base."""
        return kept(
            lambda: (self.files.digest(), self.pipeline.model_config, part, self.device),
            lambda: self._load(part, self.files.read(part), dtype),
        )

    def _load(
        self,
        part: Part,
        tensors: Mapping[str, torch.Tensor],
        dtype: torch.dtype,
        storage: FrozenStorage | None = None,
    ) -> Any:
        return load_part(part, self.architecture, tensors, self.device, dtype, self.name, storage)


def load(
    pipeline: Pipeline,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
    storage: FrozenStorage | None = None,
) -> StableDiffusion:
    """A model by its files, as in ``StableDiffusion``; nothing but their headers is read yet.

    Raises:
        InputError: a file is missing or damaged, or the noise schedule is unknown.
    """
    return StableDiffusion(pipeline, device, dtype, storage)


def without_delta(pipeline: Pipeline) -> Pipeline:
    """The base model that a delta stands on."""
    return replace(pipeline, delta=None)


def _tokenizer(encoder: TextEncoder, files: TokenizerFiles) -> CLIPTokenizer:
    kind: Any = CLIPTokenizer if encoder.kind == "clip" else AutoTokenizer
    tokenizer: CLIPTokenizer = kind.from_pretrained(files.folder, local_files_only=True)
    if files.padding is not None:
        tokenizer.pad_token = files.padding
    return tokenizer
