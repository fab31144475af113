"""A complete model to disk, as a CompVis checkpoint or as a diffusers folder."""

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file

from esdctl.checkpoints.architecture import FORMAT, Architecture
from esdctl.checkpoints.compvis import compvis_tensors
from esdctl.checkpoints.esdctl_metadata import written_metadata
from esdctl.checkpoints.key_map import Part
from esdctl.checkpoints.ldm_yaml import ldm_yaml
from esdctl.errors import UsageError
from esdctl.storage.atomic import publishing_folder, write_text, write_with

Parts = Mapping[Part, Mapping[str, torch.Tensor]]  # diffusers names; CLIP's without text_model.

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
SUFFIXES = (".ckpt", ".pth", ".safetensors")

_CLASSES = {
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "tokenizer_2": ["transformers", "CLIPTokenizer"],
}


def write_compvis(
    path: Path,
    parts: Parts,
    architecture: Architecture,
    dtype: torch.dtype | None = None,
    about: Mapping[str, str] | None = None,
) -> None:
    """Write a complete checkpoint: U-Net, VAE, text encoders and schedule; a ``.yaml`` beside it.

    The YAML file (LDM's own form, of the same name) tells the number of heads and the prediction
    type, which the tensors do not.

    Args:
        path: ``.safetensors``; or ``.ckpt`` or ``.pth``, a pickle of ``{"state_dict": ...}``.
        parts: every part's tensors.
        architecture: which model it is.
        dtype: of all floating tensors but the schedule's; None keeps each part's own.
        about: provenance for the metadata of safetensors.

    Raises:
        UsageError: the file's name has another suffix.
        StorageError: the disk is full or not writable.
    """
    if path.suffix not in SUFFIXES:
        raise UsageError(
            f"a CompVis checkpoint cannot be called {path.name}", f"end it in {', '.join(SUFFIXES)}"
        )
    tensors = compvis_tensors(
        {part: converted(content, dtype) for part, content in parts.items()}, architecture
    )
    document = {**(about or {}), "format": FORMAT, "architecture": architecture.document()}
    write_with(path, _compvis_writer(path.suffix, tensors, written_metadata(document)))
    write_text(path.with_suffix(".yaml"), ldm_yaml(architecture))


def _compvis_writer(
    suffix: str, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str]
) -> Callable[[Path], None]:
    if suffix == ".safetensors":
        content = {name: tensor.contiguous() for name, tensor in tensors.items()}
        return lambda beside: save_file(content, beside, dict(metadata))
    alone = {name: _with_its_own_storage(tensor) for name, tensor in tensors.items()}
    return lambda beside: torch.save({"state_dict": alone}, beside)


def write_diffusers(
    folder: Path,
    parts: Parts,
    architecture: Architecture,
    files: Mapping[str, Path],
    dtype: torch.dtype | None = None,
    about: Mapping[str, str] | None = None,
) -> None:
    """Write a pipeline folder with model_index.json, that ``from_pretrained`` reads.

    Args:
        folder: must not exist, or be empty.
        parts: every part's tensors.
        architecture: which model it is; its mappings become the config files.
        files: small files to copy as they are, tokenizers above all: path in the folder -> source.
        dtype: of all floating tensors; None keeps each part's own.
        about: provenance for the metadata of the U-Net's file.

    Raises:
        StorageError: the disk is full or not writable, or the folder exists.
    """
    with publishing_folder(folder) as staging:
        for name, source in files.items():
            (staging / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, staging / name)
        for part, content in parts.items():
            (staging / part).mkdir(exist_ok=True)
            tensors = converted(content, dtype)
            config = dict(getattr(architecture, part))
            metadata = {"format": "pt"}
            if part.startswith("text_encoder"):
                config["dtype"] = str(next(iter(tensors.values())).dtype).removeprefix("torch.")
                tensors = {_clip_name(name): tensor for name, tensor in tensors.items()}
            elif part == "unet" and about:
                metadata = written_metadata({**about, "format": FORMAT})
            _write_json(staging / part / "config.json", config)
            weights = "model" if part.startswith("text") else "diffusion_pytorch_model"
            save_file(dict(tensors), staging / part / f"{weights}.safetensors", metadata)
        (staging / "scheduler").mkdir(exist_ok=True)
        _write_json(staging / "scheduler" / "scheduler_config.json", architecture.scheduler)
        _write_json(staging / "model_index.json", model_index(architecture))


def model_index(architecture: Architecture) -> dict[str, object]:
    """The content of model_index.json."""
    scheduler = str(architecture.scheduler.get("_class_name", "DDIMScheduler"))
    index: dict[str, object] = {
        "_class_name": "StableDiffusionPipeline",
        "scheduler": ["diffusers", scheduler],
        **{name: _CLASSES[name] for name in ("text_encoder", "tokenizer", "unet", "vae")},
    }
    if architecture.text_encoder_2 is not None:
        second = {name: _CLASSES[name] for name in ("text_encoder_2", "tokenizer_2")}
        return {**index, "_class_name": "StableDiffusionXLPipeline", **second}
    absent = {"feature_extractor": [None, None], "safety_checker": [None, None]}
    return {**index, **absent, "requires_safety_checker": False}


def converted(
    tensors: Mapping[str, torch.Tensor], dtype: torch.dtype | None
) -> dict[str, torch.Tensor]:
    """The tensors in one dtype; where none is named, in the narrowest that loses nothing.

    Args:
        tensors: any names.
        dtype: of the result; None for the type that all of them promote to.
    """
    found = dict(tensors)
    floating = [tensor.dtype for tensor in found.values() if tensor.is_floating_point()]
    if dtype is None and floating:
        dtype = floating[0]
        for other in floating[1:]:
            dtype = torch.promote_types(dtype, other)
    return {
        name: tensor.detach().to("cpu", dtype if tensor.is_floating_point() else None).contiguous()
        for name, tensor in found.items()
    }


def _clip_name(name: str) -> str:
    """Every version of transformers reads ``text_model.``; those before 5.6 read nothing else."""
    return name if name.startswith("text_projection") else f"text_model.{name}"


def _with_its_own_storage(tensor: torch.Tensor) -> torch.Tensor:
    """A pickle writes whole storages: what is a view into a mapped file must be cut out."""
    tensor = tensor.contiguous()
    is_alone = tensor.untyped_storage().nbytes() == tensor.nbytes
    return tensor if is_alone else tensor.clone()


def _write_json(path: Path, document: Mapping[str, object]) -> None:
    path.write_text(json.dumps(dict(document), indent=2) + "\n", encoding="utf-8")
