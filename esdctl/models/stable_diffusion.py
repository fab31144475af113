"""Stable Diffusion in memory: parts that are loaded when they are first asked for."""

import gc
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer
from transformers.utils import logging

from esdctl.checkpoints.layouts.architecture import Architecture
from esdctl.checkpoints.layouts.model_files import ModelFiles
from esdctl.checkpoints.layouts.tokenizer_files import TokenizerFiles
from esdctl.diffusion.conditioning import Conditioning
from esdctl.diffusion.schedule import Schedule
from esdctl.models.families.family import Family, Part
from esdctl.models.image_size import pixels_per_latent, trained_size
from esdctl.models.kept_parts import kept
from esdctl.models.noise_schedule import read_schedule
from esdctl.models.parts import load_part
from esdctl.models.precision import predicted
from esdctl.models.resolve import Pipeline

DECODED_AT_ONCE = 512 * 512  # pixels; a decoder needs over a gigabyte for so many


class StableDiffusion:
    """A model ready to run; a part takes memory from its first use until it is dropped.

    Nothing in it requires gradients. Text encoders and VAE are in fp32: they are small or rarely
    used, and 16 bits show in what they give.

    Args:
        pipeline: its files, and perhaps a delta that is put in place.
        device: where the parts are.
        dtype: what the U-Net is stored and computed in.
    """

    def __init__(
        self, pipeline: Pipeline, device: torch.device, dtype: torch.dtype = torch.float32
    ) -> None:
        self.pipeline = pipeline
        self.name = pipeline.name
        self.device = device
        self.dtype = dtype
        logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # stderr is the reporter's
        self.schedule: Schedule = read_schedule(self.architecture.noise)

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
        """The side of the pictures that the U-Net was trained for, in pixels."""
        return trained_size(self.pipeline)

    @cached_property
    def unet_values(self) -> Mapping[str, torch.Tensor]:
        """The U-Net's parameters as the files and the delta have them, mapped where possible.

        Raises:
            InputError: a file is damaged.
            IntegrityError: the delta does not fit.
        """
        return {**self.files.read("unet"), **self.pipeline.changed()}

    @cached_property
    @torch.inference_mode(False)  # it may be trained later, whoever asks for it first
    def unet(self) -> UNet2DConditionModel:
        """The U-Net with the delta in place."""
        return self._load("unet", self.unet_values, self.dtype)

    @cached_property
    @torch.inference_mode(False)  # gradients may go through it, whoever asks for it first
    def vae(self) -> AutoencoderKL:
        vae: AutoencoderKL = self._unchanged("vae")
        return vae

    @cached_property
    @torch.inference_mode(False)  # likewise
    def text_encoder(self) -> CLIPTextModel:
        encoder: CLIPTextModel = self._unchanged("text_encoder")
        return encoder

    @cached_property
    @torch.inference_mode(False)  # likewise
    def text_encoder_2(self) -> CLIPTextModelWithProjection | None:
        """SDXL's second text encoder; None in other models."""
        if "text_encoder_2" not in self.family.parts:
            return None
        encoder: CLIPTextModelWithProjection = self._unchanged("text_encoder_2")
        return encoder

    @property
    def text_encoders(self) -> tuple[CLIPTextModel | CLIPTextModelWithProjection, ...]:
        """In the family's order."""
        return tuple(getattr(self, encoder.part) for encoder in self.family.encoders)

    @cached_property
    def tokenizers(self) -> tuple[CLIPTokenizer, ...]:
        """One for each text encoder."""
        return tuple(_tokenizer(files) for files in self.files.tokenizers)

    @cached_property
    def empty_is_zero(self) -> bool:
        """Whether the empty prompt's embeddings are zeros, as SDXL was trained."""
        return self.files.empty_is_zero

    def drop(self, *parts: Part) -> None:
        """Give the memory of parts back; they are loaded again when they are asked for."""
        for part in parts:
            self.__dict__.pop(part, None)
        gc.collect()  # modules refer to themselves
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def denoise(
        self, latents: torch.Tensor, timesteps: torch.Tensor, conditioning: Conditioning
    ) -> torch.Tensor:
        """The U-Net's prediction.

        Args:
            latents: x_t, (B, 4, h, w).
            timesteps: (B,), 0..999.
            conditioning: B rows.

        Returns:
            eps or v, (B, 4, h, w), fp32.
        """
        return predicted(self.unet, latents, timesteps, conditioning, self.dtype)

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Scaled latents (B, 4, h, w) to pictures (B, 3, 8h, 8w) in 0..1, a few at a time."""
        pixels = latents.shape[-2] * latents.shape[-1] * self.vae_factor**2
        scaled = latents / self.vae.config.scaling_factor
        pictures = [
            self.vae.decode(few, return_dict=False)[0]
            for few in scaled.split(max(1, DECODED_AT_ONCE // pixels))
        ]
        return (torch.cat(pictures) / 2 + 0.5).clamp(0, 1)

    def _unchanged(self, part: Part) -> Any:
        """A part that no delta touches, perhaps an earlier model's on the same base."""
        return kept(
            lambda: (self.files.digest(), self.pipeline.model_config, part, self.device),
            lambda: self._load(part, self.files.read(part), torch.float32),
        )

    def _load(self, part: Part, tensors: Mapping[str, torch.Tensor], dtype: torch.dtype) -> Any:
        return load_part(part, self.architecture, tensors, self.device, dtype, self.name)


def load(
    pipeline: Pipeline, device: torch.device, dtype: torch.dtype = torch.float32
) -> StableDiffusion:
    """A model by its files; nothing but their headers is read yet.

    Raises:
        InputError: a file is missing or damaged, or the noise schedule is unknown.
    """
    return StableDiffusion(pipeline, device, dtype)


def without_delta(pipeline: Pipeline) -> Pipeline:
    """The base model that a delta stands on."""
    return replace(pipeline, delta=None)


def _tokenizer(files: TokenizerFiles) -> CLIPTokenizer:
    tokenizer: CLIPTokenizer = CLIPTokenizer.from_pretrained(files.folder, local_files_only=True)
    if files.padding is not None:
        tokenizer.pad_token = files.padding
    return tokenizer
