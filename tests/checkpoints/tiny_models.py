"""Models of every family's real structure, so small that they are made and trained in moments."""

import json
import shutil
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from esdctl.checkpoints.layouts.architecture import FORMAT, Architecture, architecture_of_folder
from esdctl.checkpoints.layouts.compvis import compvis_tensors
from esdctl.checkpoints.layouts.ldm_yaml import ldm_yaml
from esdctl.checkpoints.layouts.model_files import open_model
from esdctl.checkpoints.layouts.skeleton import skeleton
from esdctl.checkpoints.safetensors.metadata import written_metadata
from esdctl.checkpoints.tensor_info import TensorInfo

Family = Literal["sd1", "sd2", "sd2-v", "sdxl"]
Form = Literal["safetensors", "state_dict", "bare"]
FAMILIES: tuple[Family, ...] = ("sd1", "sd2", "sd2-v", "sdxl")

VOCABULARY = Path(__file__).parents[2] / "esdctl" / "pocket" / "weights" / "tokenizer"
_KEPT = TemporaryDirectory(prefix="esdctl-tiny-")
SIDE = 8  # of the latents, so that pictures have 64 px

_CROSS_LEVELS = ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",)
_CROSS_LEVELS_UP = ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3

# Heads follow each family's convention (8 heads; 64 channels a head), so that a checkpoint without
# a config file is read as what it is.
_UNETS: Mapping[str, Mapping[str, Any]] = {
    "sd1": {
        "block_out_channels": (32, 64, 64, 64),
        "down_block_types": _CROSS_LEVELS,
        "up_block_types": _CROSS_LEVELS_UP,
        "attention_head_dim": 8,
        "cross_attention_dim": 32,
    },
    "sd2": {
        "block_out_channels": (64, 64, 128, 128),
        "down_block_types": _CROSS_LEVELS,
        "up_block_types": _CROSS_LEVELS_UP,
        "attention_head_dim": (1, 1, 2, 2),
        "cross_attention_dim": 64,
        "use_linear_projection": True,
    },
    "sdxl": {
        "block_out_channels": (32, 64, 128),
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        "transformer_layers_per_block": (1, 2, 3),
        "attention_head_dim": (1, 1, 2),
        "cross_attention_dim": 96,
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 16,
        "projection_class_embeddings_input_dim": 64 + 6 * 16,
    },
}


def tiny_folder(
    family: Family,
    folder: Path,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    variant: str | None = None,
    sharded: bool = False,
    safe: bool = True,
) -> Path:
    """Make a diffusers pipeline folder with random weights.

    Args:
        family: which structure.
        folder: where; must not exist.
        seed: of the weights.
        dtype: of the weights.
        variant: ``fp16`` names the files ``...fp16.safetensors``.
        sharded: split the weights of each part into several files with an index.
        safe: safetensors, else ``.bin`` pickles.

    Returns:
        The folder.
    """
    if (dtype, variant, sharded, safe) == (torch.float32, None, False, True):
        return shutil.copytree(_kept(family, seed), folder)
    return _write_folder(family, folder, seed, dtype, variant, sharded, safe)


@cache
def _kept(family: Family, seed: int) -> Path:
    """A plain folder, made once a process."""
    folder = Path(_KEPT.name) / f"{family}-{seed}"
    return _write_folder(family, folder, seed, torch.float32, None, False, True)


def _write_folder(
    family: Family,
    folder: Path,
    seed: int,
    dtype: torch.dtype,
    variant: str | None,
    sharded: bool,
    safe: bool,
) -> Path:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        parts = tiny_parts(family)
    for name, part in parts.items():
        shard = "4MB" if sharded else "5GB"
        if dtype != torch.float32:  # diffusers warns of a cast, even of one that changes nothing
            part.to(dtype)
        part.save_pretrained(folder / name, variant=variant, max_shard_size=shard)
        if not safe:
            _pickle(folder / name)
    _write(folder / "scheduler" / "scheduler_config.json", scheduler(family))
    _write(folder / "model_index.json", _index(family))
    _tokenizer(folder / "tokenizer", "!" if family.startswith("sd2") else "<|endoftext|>")
    if family == "sdxl":
        _tokenizer(folder / "tokenizer_2", "!")
    return folder


def tiny_parts(family: Family) -> dict[str, Any]:
    """The parts of a model with weights from torch's generator, by their folders' names."""
    unet = UNet2DConditionModel(
        sample_size=SIDE, layers_per_block=2, **_UNETS[family.removesuffix("-v")]
    )
    vae = AutoencoderKL(
        block_out_channels=(32, 32, 64, 64),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=2,
        latent_channels=4,
        sample_size=SIDE * 8,
        scaling_factor=0.13025 if family == "sdxl" else 0.18215,
        force_upcast=family == "sdxl",
    )
    encoders: dict[str, Any] = {}
    if family.startswith("sd2"):
        encoders["text_encoder"] = CLIPTextModel(_clip(64, 2, "gelu"))
    else:
        encoders["text_encoder"] = CLIPTextModel(_clip(32, 2, "quick_gelu"))
    if family == "sdxl":
        encoders["text_encoder_2"] = CLIPTextModelWithProjection(_clip(64, 3, "gelu"))
        _calm(unet)
    return {"unet": unet, "vae": vae, **encoders}


def _calm(unet: UNet2DConditionModel) -> None:
    """SDXL takes embeddings without their last norm; attention to such large ones would hang on
    the last bit of a sum."""
    with torch.no_grad():
        for name, parameter in unet.named_parameters():
            if name.endswith("attn2.to_k.weight"):
                parameter.mul_(0.05)


def tiny_compvis(
    family: Family, path: Path, form: Form = "safetensors", seed: int = 0, has_config: bool = False
) -> Path:
    """Make a CompVis checkpoint with the weights that ``tiny_folder`` has for the same seed.

    Args:
        family: which structure.
        path: the file.
        form: ``safetensors``; ``state_dict`` or ``bare``, two forms of pickle.
        seed: of the weights.
        has_config: say the exact architecture: in an LDM config file beside it, or (SDXL) in the
            metadata.

    Returns:
        The file.
    """
    folder = tiny_folder(family, path.parent / f".{path.name}-{seed}", seed)
    architecture = architecture_of_folder(folder)
    tensors = compvis_tensors(open_model(folder).tensors, architecture)
    config = ldm_yaml(architecture)
    if form == "safetensors":
        about = {"format": FORMAT, "architecture": architecture.document()}
        metadata = written_metadata(about) if has_config and config is None else None  # SDXL's
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path, metadata)
    else:
        alone = {name: tensor.clone() for name, tensor in tensors.items()}
        torch.save(alone if form == "bare" else {"state_dict": alone, "global_step": 7}, path)
    if has_config and config is not None:
        path.with_suffix(".yaml").write_text(config, encoding="utf-8")
    shutil.rmtree(folder)
    return path


def compvis_infos(architecture: Architecture) -> dict[str, TensorInfo]:
    """Names and shapes of a model's CompVis checkpoint, made without memory."""
    parts = {
        part: {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
        for part, shapes in skeleton(architecture).items()
    }
    tensors = compvis_tensors(parts, architecture)
    return {name: TensorInfo("F32", tuple(tensor.shape)) for name, tensor in tensors.items()}


def scheduler(family: Family) -> dict[str, object]:
    """The family's scheduler_config.json."""
    return {
        "_class_name": "EulerDiscreteScheduler" if family == "sdxl" else "DDIMScheduler",
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "num_train_timesteps": 1000,
        "prediction_type": "v_prediction" if family == "sd2-v" else "epsilon",
        "steps_offset": 1,
        "timestep_spacing": "leading",
    }


def _clip(width: int, layers: int, activation: str) -> CLIPTextConfig:
    return CLIPTextConfig(
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=layers,
        num_attention_heads=max(1, width // 64),
        projection_dim=width,
        hidden_act=activation,
        vocab_size=49_408,
        bos_token_id=49_406,
        eos_token_id=49_407,
        pad_token_id=49_407,
        initializer_factor=20.0,  # so that prompts differ enough to change a picture
    )


def _index(family: Family) -> dict[str, object]:
    index: dict[str, object] = {
        "_class_name": "StableDiffusionPipeline",
        "scheduler": ["diffusers", scheduler(family)["_class_name"]],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    if family == "sdxl":
        index["_class_name"] = "StableDiffusionXLPipeline"
        index["text_encoder_2"] = ["transformers", "CLIPTextModelWithProjection"]
        index["tokenizer_2"] = ["transformers", "CLIPTokenizer"]
        return {**index, "force_zeros_for_empty_prompt": True}
    absent = ("feature_extractor", "safety_checker")
    return {**index, **{name: [None, None] for name in absent}, "requires_safety_checker": False}


def _tokenizer(folder: Path, padding: str) -> None:
    shutil.copytree(VOCABULARY, folder)
    path = folder / "tokenizer_config.json"
    _write(path, {**json.loads(path.read_text()), "pad_token": padding})


def _pickle(folder: Path) -> None:
    """Turn a part's safetensors files into the pickles that older folders hold."""
    for path in sorted(folder.glob("*.safetensors")):
        torch.save(load_file(path), folder / _pickled_name(path.name))
        path.unlink()
    for path in sorted(folder.glob("*.safetensors.index*.json")):
        index = json.loads(path.read_text())
        files = {tensor: _pickled_name(file) for tensor, file in index["weight_map"].items()}
        _write(folder / _pickled_name(path.name), {**index, "weight_map": files})
        path.unlink()


def _pickled_name(name: str) -> str:
    """``model.fp16.safetensors`` was ``pytorch_model.fp16.bin``; diffusers' names keep theirs."""
    prefix = "" if name.startswith("diffusion_") else "pytorch_"
    return prefix + name.replace(".safetensors", ".bin")


def _write(path: Path, document: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
