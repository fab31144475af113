"""A Stable Diffusion 1.x of full size with random weights, written a megabyte at a time."""

from collections.abc import Iterator
from pathlib import Path

import torch

from esdctl.checkpoints.architecture import Architecture
from esdctl.checkpoints.key_map import family_parts, places
from esdctl.checkpoints.ldm_yaml import ldm_yaml
from esdctl.checkpoints.safetensors_writer import write_safetensors
from esdctl.checkpoints.skeleton import skeleton
from esdctl.checkpoints.tensor_info import NAMES, TensorInfo
from tests.checkpoints.tiny_models import scheduler

UNET = {
    "sample_size": 64,
    "block_out_channels": (320, 640, 1280, 1280),
    "layers_per_block": 2,
    "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
    "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
    "attention_head_dim": 8,
    "cross_attention_dim": 768,
    "in_channels": 4,
}
VAE = {
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
    "latent_channels": 4,
    "sample_size": 512,
    "scaling_factor": 0.18215,
}
CLIP = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "hidden_act": "quick_gelu",
    "vocab_size": 49_408,
    "bos_token_id": 49_406,
    "eos_token_id": 49_407,
    "pad_token_id": 49_407,
}
SD1 = Architecture("sd1", "epsilon", UNET, VAE, CLIP, None, scheduler("sd1"))
_BLOCK = 2**20  # values


def write_full_size(path: Path, dtype: torch.dtype = torch.float32) -> int:
    """Write a CompVis checkpoint, safetensors, with its LDM config beside it.

    Returns:
        The number of parameters.
    """
    infos: dict[str, TensorInfo] = {}
    for part in family_parts("sd1"):
        shapes = skeleton(SD1)[part]
        for name, place in places("sd1", part, shapes).items():
            more = (1, 1) if place.form == "conv" else ()
            infos[place.name] = TensorInfo(NAMES[dtype], (*shapes[name], *more))
    write_safetensors(path, infos, _noise(infos, dtype), {})
    path.with_suffix(".yaml").write_text(ldm_yaml(SD1), encoding="utf-8")
    return sum(info.bytes for info in infos.values()) // dtype.itemsize


def _noise(infos: dict[str, TensorInfo], dtype: torch.dtype) -> Iterator[bytes]:
    values = torch.randn(_BLOCK, generator=torch.Generator().manual_seed(0)) * 0.02
    block = values.to(dtype).view(torch.uint8).numpy().tobytes()
    for info in infos.values():
        left = info.bytes
        while left:
            piece = block[:left]
            yield piece
            left -= len(piece)
