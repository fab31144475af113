"""An erased model in the form that the next tool reads: a plan first, then the file or folder."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, get_args

import torch

from esdctl.checkpoints.changes.authors_delta import (
    authors_name,
    transformer_metadata,
    write_authors_delta,
)
from esdctl.checkpoints.changes.delta import write_delta
from esdctl.checkpoints.changes.export import (
    DTYPES,
    check_compvis_name,
    check_safetensors_name,
    check_unet_name,
    converted,
    write_compvis,
    write_diffusers,
    write_unet,
)
from esdctl.checkpoints.changes.lora import (
    Lora,
    changes_in,
    check_lora_size,
    factorise,
    write_lora,
)
from esdctl.checkpoints.layouts.ldm_yaml import ldm_yaml
from esdctl.errors import UsageError
from esdctl.models.erased import Erased
from esdctl.models.families.family import Family, LoraNames
from esdctl.storage.workspace import Workspace

ExportForm = Literal["compvis", "diffusers", "unet", "delta", "lora", "kohya", "authors"]
FORMS: tuple[ExportForm, ...] = get_args(ExportForm)
_LORAS = ("lora", "kohya")
_COMPLETE = ("compvis", "diffusers", "unet")
_CATALOGUE = "concepts.json"  # what a model of ours knows; it travels with a pipeline folder


@dataclass(frozen=True)
class ExportPlan:
    """What will be written.

    Args:
        form: which form.
        path: the file or folder.
        dtype: fp32, fp16 or bf16; None for the narrowest that loses nothing.
        rank, energy: of a LoRA; see ``factorise``.
    """

    form: ExportForm
    path: Path
    dtype: str | None = None
    rank: int | None = None
    energy: float | None = None

    def document(self) -> dict[str, object]:
        """As a JSON document."""
        return {**asdict(self), "path": str(self.path)}


def plan_export(
    erased: Erased,
    form: str,
    output: Path | None,
    workspace: Workspace,
    dtype: str | None = None,
    rank: int | None = None,
    energy: float | None = None,
) -> ExportPlan:
    """Check what is asked, and name the output.

    Args:
        erased: the model.
        form: one of ``FORMS``.
        output: the file or folder; None for one below the workspace's ``outputs/exports``.
        workspace: where outputs lie.
        dtype: one of ``DTYPES``, or None.
        rank, energy: of a LoRA.

    Raises:
        UsageError: there is no such form or type, an option does not apply, or the output exists.
    """
    if form not in FORMS:
        raise UsageError(f"no form {form!r}", f"use one of {', '.join(FORMS)}")
    if dtype is not None and dtype not in DTYPES:
        raise UsageError(f"no type {dtype!r}", f"use one of {', '.join(DTYPES)}")
    if form not in _LORAS and (rank is not None or energy is not None):
        raise UsageError(
            "--rank and --energy are of LoRAs only", "add --to lora or kohya, or leave them out"
        )
    check_lora_size(rank, energy)
    if form not in _COMPLETE and not erased.tensors:
        raise UsageError(
            f"{erased.base.name} is a base: nothing is erased from it",
            "give a run folder or a delta; of a base, compvis or diffusers (a U-Net also unet)",
        )
    refuse_layout(erased.base.files.architecture.family, form)
    path = output or workspace.outputs / "exports" / _file_name(erased, form)
    config_file = path.with_suffix(".yaml")
    is_taken = False
    if form == "compvis":
        check_one_file_name(path, erased.base.files.architecture.family)
        config = ldm_yaml(erased.base.files.architecture)
        is_taken = config is not None and not _says(config_file, config)
    elif form == "unet":
        check_unet_name(path)
    elif form != "diffusers":
        check_safetensors_name(path, form)
    for part in (path, config_file) if is_taken else (path,):
        if part.exists():
            raise UsageError(f"{part} exists", "remove it, or choose another --output")
    return ExportPlan(form, path, dtype, rank, energy)


def refuse_layout(family: Family, form: str) -> None:
    """Refuse a form that a family has not.

    Raises:
        UsageError: it has not.
    """
    if form == "unet" and family.denoiser.part != "unet":
        raise UsageError(
            f"{family.title} has a {family.denoiser.title}, and no U-Net", "use --to diffusers"
        )


def check_one_file_name(path: Path, family: Family) -> None:
    """Refuse a name of a file that a family's checkpoints cannot have.

    Raises:
        UsageError: its suffix says another format.
    """
    if family.one_file is None:
        check_compvis_name(path)
    else:
        check_safetensors_name(path, f"compvis of {family.title}")


def lora_names(family: Family, form: str) -> LoraNames:
    """Whose names of modules a LoRA has.

    Args:
        family: the base's.
        form: ``lora``, or ``kohya``, which of a U-Net is the same.
    """
    return family.kohya_names or family.lora_names if form == "kohya" else family.lora_names


def write_export(erased: Erased, plan: ExportPlan) -> Lora | None:
    """Write the model as planned, atomically.

    Returns:
        What a LoRA carries and what it leaves out; None for the other forms.

    Raises:
        UsageError: nothing that changed fits into a LoRA, or a CompVis file has another suffix.
        StorageError: the disk is full or not writable.
    """
    dtype = DTYPES[plan.dtype] if plan.dtype else None
    files = erased.base.files
    if plan.form == "compvis":
        _write_one_file(erased, plan.path, dtype)
    elif plan.form == "diffusers":
        catalogue = erased.base.folder / _CATALOGUE
        more = {_CATALOGUE: catalogue} if catalogue.is_file() else {}
        write_diffusers(
            plan.path, erased.parts(), files.architecture, files.tokenizers, dtype,
            erased.about, more, files.empty_is_zero,
        )  # fmt: skip
    elif plan.form == "unet":
        write_unet(plan.path, erased.parts()["unet"], dtype)
    elif plan.form == "delta":
        about = {key: value for key, value in erased.about.items() if key != "format"}
        write_delta(plan.path, converted(erased.tensors, dtype), about)
    elif plan.form == "authors":
        family = files.architecture.family
        metadata = transformer_metadata(family.name, erased.about)
        is_of_unet = family.denoiser.part == "unet"
        tensors = converted(erased.tensors, dtype)
        write_authors_delta(plan.path, tensors, None if is_of_unet else metadata)
    else:
        return _write_lora(erased, plan, dtype or torch.float32)
    return None


def _write_lora(erased: Erased, plan: ExportPlan, dtype: torch.dtype) -> Lora:
    """Factorise the changes in the form that is planned, and write them."""
    files = erased.base.files
    layout = lora_names(files.architecture.family, plan.form)
    names = files.read(files.denoiser)
    changes = changes_in(layout, erased.changes(), erased.tensors, names)
    lora = factorise(changes, plan.rank, plan.energy)
    write_lora(plan.path, lora, names, layout, erased.about, dtype)
    return lora


def _write_one_file(erased: Erased, path: Path, dtype: torch.dtype | None) -> None:
    """What the base's own file holds, the new values in place; of a folder all parts, or where the
    denoiser is a transformer that one alone, as it is published."""
    files, found = erased.base.files, erased.base.files.checkpoint
    held = files.of_one_file
    parts = {part: content for part, content in erased.parts().items() if part in held.configs}
    if found is not None:
        unused = {**found.unused, **found.left_out}
        step, is_bare = found.global_step, found.is_bare
    else:
        unused, step, is_bare = {}, 0, files.is_published_bare
    write_compvis(path, parts, held, dtype, erased.about, unused, step, is_bare)


def notes_on(erased: Erased, plan: ExportPlan) -> list[str]:
    """What other programs will not read of the planned export; for the user."""
    files = erased.base.files
    missing = [part for part in files.parts if part not in files.of_one_file.configs]
    if plan.form == "compvis" and missing:
        needs = f"beside it the model needs {', '.join(missing)}, from a pipeline folder"
        return [f"{plan.path} holds what the base's file does; {needs}"]
    if plan.form == "compvis" and erased.base.is_embedded:
        return [
            "the original LDM code cannot build the embedded model (its widths are no whole "
            "multiples); esdctl and diffusers read this file"
        ]
    return []


def _says(path: Path, text: str) -> bool:
    """Whether a file holds this very text; of two exports of one model, the YAML is the same."""
    return path.is_file() and path.read_bytes() == text.encode()


def _file_name(erased: Erased, form: str) -> str:
    if form == "diffusers":
        return erased.name
    if form == "authors":
        about = erased.about
        concept = about.get("concept") or erased.name
        method = about.get("train_method", "unknown")
        return authors_name(concept, about.get("erase_from"), method).file_name()
    if form == "unet":
        return f"{erased.name}-unet.pt"
    suffix = "" if form == "compvis" else f"-{form}"
    return f"{erased.name}{suffix}.safetensors"
