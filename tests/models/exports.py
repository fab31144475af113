"""Erasures without training, their exports through the command line, and outputs to compare."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from esdctl.checkpoints.delta import write_delta
from esdctl.cli.app import run
from esdctl.esd.train_methods import select
from esdctl.models.resolve import resolve_model
from esdctl.models.stable_diffusion import load
from esdctl.storage.workspace import Workspace

CPU = torch.device("cpu")


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
    for name in select(method, unet):
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


def own_unet(model: Path | str) -> torch.nn.Module:
    """The U-Net that our own sampler would use."""
    unet: torch.nn.Module = load(resolve_model(str(model), Workspace(Path())), CPU).unet
    return unet


def output_of(unet: torch.nn.Module) -> torch.Tensor:
    """What a U-Net predicts for fixed latents, timestep and embeddings, (2, 4, 8, 8)."""
    config: Any = unet.config
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    latents, embeddings = draw(2, 4, 8, 8), draw(2, 77, config.cross_attention_dim)
    added: Mapping[str, torch.Tensor] | None = None
    if config.addition_embed_type == "text_time":
        width = config.projection_class_embeddings_input_dim - 6 * config.addition_time_embed_dim
        added = {"text_embeds": draw(2, width), "time_ids": torch.full((2, 6), 64.0)}
    with torch.inference_mode():
        prediction: torch.Tensor = unet(
            latents, torch.tensor([7, 801]), embeddings, added_cond_kwargs=added, return_dict=False
        )[0]
    return prediction


def distance(one: torch.nn.Module, two: torch.nn.Module) -> float:
    """The largest absolute difference of two U-Nets' outputs."""
    return float((output_of(one) - output_of(two)).abs().max())
