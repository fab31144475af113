"""A complete model to disk, as a CompVis checkpoint or as a diffusers folder."""

import functools
import json
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file

from esdctl.checkpoints.layouts.architecture import FORMAT, Architecture
from esdctl.checkpoints.layouts.compvis import compvis_tensors
from esdctl.checkpoints.layouts.ldm_yaml import ldm_yaml
from esdctl.checkpoints.layouts.pipeline_index import TOKENIZERS
from esdctl.checkpoints.layouts.tokenizer_files import TokenizerFiles
from esdctl.checkpoints.safetensors.metadata import written_metadata
from esdctl.errors import UsageError
from esdctl.models.families.family import Part
from esdctl.models.families.registry import denoiser_parts
from esdctl.models.families.tensor_names import LDM_UNET
from esdctl.storage.atomic import publishing_folder, write_text, write_with

Parts = Mapping[Part, Mapping[str, torch.Tensor]]  # diffusers names; CLIP's without text_model.

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
SUFFIXES = (".ckpt", ".pth", ".safetensors")

_ABSENT = [None, None]


def write_compvis(
    path: Path,
    parts: Parts,
    architecture: Architecture,
    dtype: torch.dtype | None = None,
    about: Mapping[str, str] | None = None,
    unused: Mapping[str, torch.Tensor] | None = None,
    global_step: int = 0,
    is_bare: bool = False,
) -> None:
    """Write a checkpoint: U-Net, VAE, text encoders and schedule; a ``.yaml`` beside it.

    Of a model whose denoiser is a transformer, those parts that the architecture has.

    The YAML file (LDM's own form, of the same name; none for SDXL) tells the number of heads and
    the prediction type, which the tensors do not. A pickle has ``global_step``, which others read.

    Args:
        path: ``.safetensors``; or ``.ckpt`` or ``.pth``, a pickle of ``{"state_dict": ...}``.
        parts: every part's tensors.
        architecture: which model it is.
        dtype: of all floating tensors but the schedule's; None keeps each part's own, and where the
            denoiser is a transformer each tensor's.
        about: provenance: for the metadata of safetensors, or under ``esdctl`` in a pickle.
        global_step: of the training that made the base; 0 where it is not known.
        unused: what lay beside the parts in the checkpoint that they were read from.
        is_bare: write a transformer alone without LDM's prefix.

    Raises:
        UsageError: the file's name has another suffix.
        StorageError: the disk is full or not writable.
    """
    check_compvis_name(path)
    has_own_types = dtype is None and architecture.family.one_file is not None
    typed = {
        part: content if has_own_types else converted(content, dtype)
        for part, content in parts.items()
    }
    tensors = compvis_tensors(typed, architecture, unused)
    if is_bare:
        tensors = {name.removeprefix(LDM_UNET): tensor for name, tensor in tensors.items()}
    document = {**(about or {}), "format": FORMAT, "architecture": architecture.document()}
    write_with(path, _compvis_writer(path.suffix, tensors, written_metadata(document), global_step))
    config = ldm_yaml(architecture)
    if config is not None:
        write_text(path.with_suffix(".yaml"), config)


def check_compvis_name(path: Path) -> None:
    """Refuse a file name that does not say how a checkpoint is written.

    Raises:
        UsageError: its suffix is none of ``SUFFIXES``.
    """
    if path.suffix not in SUFFIXES:
        raise UsageError(
            f"a CompVis checkpoint cannot be called {path.name}", f"end it in {', '.join(SUFFIXES)}"
        )


def _compvis_writer(
    suffix: str,
    tensors: Mapping[str, torch.Tensor],
    metadata: Mapping[str, str],
    global_step: int,
) -> Callable[[Path], None]:
    if suffix == ".safetensors":
        content = {name: tensor.contiguous() for name, tensor in tensors.items()}
        return lambda beside: save_file(content, beside, dict(metadata))
    alone = {name: _with_its_own_storage(tensor) for name, tensor in tensors.items()}

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:  # given a path, torch would write its name into the file
            torch.save({"state_dict": alone, "global_step": global_step, **metadata}, file)

    return write


def write_unet(
    path: Path, unet: Mapping[str, torch.Tensor], dtype: torch.dtype | None = None
) -> None:
    """Write a whole U-Net as a pickled state dict under diffusers' names.

    ``UNet2DConditionModel.load_state_dict`` takes it strictly, as Diffusion-MU-Attack and
    AdvUnlearn do.

    Args:
        path: ``.pt`` or ``.pth``.
        unet: every tensor of the U-Net.
        dtype: of all of them; None for the narrowest that loses nothing.

    Raises:
        UsageError: the file's name has another suffix.
        StorageError: the disk is full or not writable.
    """
    check_unet_name(path)
    alone = {name: _with_its_own_storage(tensor) for name, tensor in converted(unet, dtype).items()}

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:  # given a path, torch would write its name into the file
            torch.save(alone, file)

    write_with(path, write)


def check_unet_name(path: Path) -> None:
    """Refuse a file name that does not say that a U-Net is pickled.

    Raises:
        UsageError: its suffix is neither ``.pt`` nor ``.pth``.
    """
    if path.suffix not in (".pt", ".pth"):
        raise UsageError(f"a pickled U-Net cannot be called {path.name}", "end it in .pt or .pth")


def check_safetensors_name(path: Path, form: str) -> None:
    """Refuse a file name that hides that a file is safetensors.

    Raises:
        UsageError: its suffix is another.
    """
    if path.suffix != ".safetensors":
        raise UsageError(
            f"the form {form} is safetensors, and cannot be called {path.name}",
            "end it in .safetensors",
        )


def write_diffusers(
    folder: Path,
    parts: Parts,
    architecture: Architecture,
    tokenizers: Sequence[TokenizerFiles],
    dtype: torch.dtype | None = None,
    about: Mapping[str, str] | None = None,
    more: Mapping[str, Path] | None = None,
    empty_is_zero: bool = True,
) -> None:
    """Write a pipeline folder with model_index.json, that ``from_pretrained`` reads.

    Args:
        folder: must not exist, or be empty.
        parts: every part's tensors.
        architecture: which model it is; its mappings become the config files.
        tokenizers: one for each text encoder.
        dtype: of all floating tensors; None for the narrowest that loses nothing in any part, so
            that a folder is of one type.
        about: provenance for the metadata of the U-Net's file.
        more: files to copy as they are: name in the folder -> source.
        empty_is_zero: of SDXL, whether the empty prompt's embeddings are zeros.

    Raises:
        StorageError: the disk is full or not writable, or the folder exists.
    """
    dtype = dtype or common_dtype(
        tensor for content in parts.values() for tensor in content.values()
    )
    with publishing_folder(folder) as staging:
        for part, content in parts.items():
            config = architecture.config(part)
            named = _as_published(part, architecture, converted(content, dtype))
            _write_part(staging / part, config, named, about)
        for encoder, tokenizer in zip(architecture.encoders, tokenizers, strict=True):
            _write_tokenizer(staging / encoder.tokenizer, tokenizer)
        (staging / "scheduler").mkdir()
        _write_json(staging / "scheduler" / "scheduler_config.json", architecture.scheduler)
        _write_json(staging / "model_index.json", model_index(architecture, empty_is_zero))
        for name, source in (more or {}).items():
            shutil.copyfile(source, staging / name)


def _write_part(
    folder: Path,
    config: Mapping[str, object],
    tensors: Mapping[str, torch.Tensor],
    about: Mapping[str, str] | None,
) -> None:
    folder.mkdir()
    if folder.name.startswith("text_encoder"):
        # transformers loads in this type, diffusers in fp32 where nobody asks: they must agree.
        _write_json(folder / "config.json", {**config, "dtype": "float32"})
        save_file(dict(tensors), folder / "model.safetensors", {"format": "pt"})
        return
    is_ours = folder.name in denoiser_parts() and bool(about)
    metadata = written_metadata({**(about or {}), "format": FORMAT}) if is_ours else None
    _write_json(folder / "config.json", config)
    save_file(dict(tensors), folder / "diffusion_pytorch_model.safetensors", metadata)


def _write_tokenizer(folder: Path, tokenizer: TokenizerFiles) -> None:
    """Copy the vocabulary; in the config, set the token that pads."""
    folder.mkdir()
    for source in tokenizer.folder.iterdir():
        if source.is_file():
            shutil.copyfile(source, folder / source.name)
    config = folder / "tokenizer_config.json"
    if tokenizer.padding is not None and config.is_file():
        document = json.loads(config.read_text(encoding="utf-8"))
        _write_json(config, {**document, "pad_token": tokenizer.padding})


def model_index(architecture: Architecture, empty_is_zero: bool = True) -> dict[str, object]:
    """The content of model_index.json; see ``write_diffusers``."""
    scheduler = str(architecture.scheduler.get("_class_name", "DDIMScheduler"))
    family = architecture.family
    index: dict[str, object] = {
        "_class_name": family.pipeline,
        "scheduler": ["diffusers", scheduler],
        **{
            part: [kind.library, kind.class_name] if part in architecture.configs else _ABSENT
            for part, kind in family.parts.items()
        },
        **{
            encoder.tokenizer: ["transformers", TOKENIZERS[encoder.kind][0]]
            if encoder in architecture.encoders
            else _ABSENT
            for encoder in family.encoders
        },
        **family.pipeline_options,
    }
    says_zero = "force_zeros_for_empty_prompt"
    return {**index, says_zero: empty_is_zero} if says_zero in index else index


def converted(
    tensors: Mapping[str, torch.Tensor], dtype: torch.dtype | None
) -> dict[str, torch.Tensor]:
    """The tensors in one dtype; where none is named, in the narrowest that loses nothing.

    Args:
        tensors: any names.
        dtype: of the result; None for the type that all of them promote to.
    """
    found = dict(tensors)
    dtype = dtype or common_dtype(found.values())
    return {
        name: tensor.detach().to("cpu", dtype if tensor.is_floating_point() else None).contiguous()
        for name, tensor in found.items()
    }


def common_dtype(tensors: Iterable[torch.Tensor]) -> torch.dtype | None:
    """The narrowest type that loses nothing of any floating tensor; None where there is none."""
    floating = {tensor.dtype for tensor in tensors if tensor.is_floating_point()}
    return functools.reduce(torch.promote_types, floating) if floating else None


def _as_published(
    part: Part, architecture: Architecture, tensors: Mapping[str, torch.Tensor]
) -> Mapping[str, torch.Tensor]:
    """A part's tensors under the names that its library writes."""
    is_clip = any(each.part == part and each.kind == "clip" for each in architecture.encoders)
    return {_clip_name(name): value for name, value in tensors.items()} if is_clip else tensors


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
