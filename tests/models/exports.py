"""Erasures without training, their exports through the command line, and outputs to compare."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from esdctl.checkpoints.changes.delta import write_delta
from esdctl.cli.app import run
from esdctl.diffusion.conditioning import Conditioning
from esdctl.erasing.train_methods import select
from esdctl.models.resolve import resolve_model
from esdctl.models.stable_diffusion import load
from esdctl.storage.workspace import Workspace


def erase(
    base: str, path: Path, method: str = "xattn", concept: str = "Rust", size: float = 0.1
) -> Path:
    """Write a delta whose tensors are the base's plus noise.

    Args:
        base: names a model.
        path: of the delta.
        method: which parameters change.
        concept: what the delta says was erased; another name gives other noise.
        size: of the noise, relative to each tensor's own.
    """
    pipeline = resolve_model(base, Workspace(path.parent))
    unet = pipeline.files.read("unet")
    generator = torch.Generator().manual_seed(len(concept))
    tensors = {}
    for name in select(method, unet, pipeline.files.architecture.family):
        old = unet[name].float()
        tensors[name] = old + size * old.std(correction=0) * torch.randn(
            old.shape, generator=generator
        )
    write_delta(
        path,
        tensors,
        {
            "base": pipeline.name,
            "base_digest": pipeline.base_digest(),
            "concept": concept,
            "concept_kind": "style",
            "train_method": method,
        },
    )
    return path


def export(source: Path | str, to: str, output: Path, *flags: str) -> Path:
    """Run ``esdctl export``."""
    assert run(["export", str(source), "--to", to, "--output", str(output), *flags]) == 0
    return output


def own_output(model: Path | str) -> torch.Tensor:
    """What the model of our own sampler predicts for fixed inputs, (2, 4, 8, 8)."""
    own = load(resolve_model(str(model), Workspace(Path())), torch.device("cpu"))
    latents, timesteps, conditioning = _inputs(own.architecture.denoiser)
    with torch.inference_mode():
        return own.denoise(latents, timesteps, conditioning)


def output_of(unet: Any) -> torch.Tensor:
    """What a U-Net of diffusers predicts for the same inputs, (2, 4, 8, 8)."""
    latents, timesteps, conditioning = _inputs(unet.config)
    added = {"text_embeds": conditioning.pooled, "time_ids": conditioning.time_ids}
    with torch.inference_mode():
        prediction: torch.Tensor = unet(
            latents,
            timesteps,
            conditioning.embeddings,
            added_cond_kwargs=None if conditioning.pooled is None else added,
            return_dict=False,
        )[0]
    return prediction


def distance(one: torch.Tensor, two: torch.Tensor) -> float:
    """The largest absolute difference."""
    return float((one - two).abs().max())


def _inputs(unet: Mapping[str, Any]) -> tuple[torch.Tensor, torch.Tensor, Conditioning]:
    """Two rows of latents, timesteps and conditions that suit a U-Net's config."""
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(2, 4, 8, 8, generator=generator)
    embeddings = torch.randn(2, 77, unet["cross_attention_dim"], generator=generator)
    conditioning = Conditioning(embeddings)
    if unet.get("addition_embed_type") == "text_time":
        width = unet["projection_class_embeddings_input_dim"] - 6 * unet["addition_time_embed_dim"]
        pooled = torch.randn(2, width, generator=generator)
        conditioning = Conditioning(embeddings, pooled, torch.zeros(2, 6)).for_size(64, 64)
    return latents, torch.tensor([7, 801]), conditioning
