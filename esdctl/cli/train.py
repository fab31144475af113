"""``esdctl train``: erase a concept."""

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from esdctl.cli import train_options as opt
from esdctl.cli.estimates import tell_estimate
from esdctl.cli.options import (
    DryRunOption,
    EstimateOption,
    JsonOption,
    ModelConfigOption,
    ModelOption,
    OutputOption,
    PredictionOption,
    QuietOption,
    RootOption,
    SeedOption,
)
from esdctl.cli.output import print_document, print_json, print_line, print_path
from esdctl.cli.terminal import reporting
from esdctl.errors import UsageError

if TYPE_CHECKING:
    from esdctl.erasing.erase import Prober
    from esdctl.erasing.plan import ErasePlan
    from esdctl.erasing.run_folder import RunFolder
    from esdctl.progress import Reporter

# Parameters of the command that are no setting.
_NO_SETTINGS = {
    "context", "preset", "config", "config_path", "output", "resume", "root", "dry_run",
    "estimate", "began", "show_config", "json", "quiet",
}  # fmt: skip


def train(
    context: typer.Context,
    concept: opt.ConceptOption = None,
    model: ModelOption = None,
    prompt: opt.PromptOption = None,
    template: opt.TemplateOption = None,
    separator: opt.SeparatorOption = None,
    erase_from: opt.EraseFromOption = None,
    preset: opt.PresetOption = None,
    config: opt.ConfigOption = None,
    train_method: opt.MethodOption = None,
    trajectory: opt.TrajectoryOption = None,
    pool_size: opt.PoolSizeOption = None,
    pool_uses: opt.PoolUsesOption = None,
    pool: opt.PoolOption = None,
    negative_guidance: opt.EtaOption = None,
    start_guidance: opt.StartGuidanceOption = None,
    warm_start: opt.WarmStartOption = None,
    iterations: opt.IterationsOption = None,
    lr: opt.RateOption = None,
    batch_size: opt.BatchSizeOption = None,
    ddim_steps: opt.StepsOption = None,
    image_size: opt.ImageSizeOption = None,
    retain: opt.RetainOption = None,
    retain_all: opt.RetainAllOption = None,
    retain_weight: opt.RetainWeightOption = None,
    until: opt.UntilOption = None,
    probe_every: opt.ProbeEveryOption = None,
    save_every: opt.SaveEveryOption = None,
    contact_sheet: opt.ContactSheetOption = None,
    seed: SeedOption = None,
    devices: opt.DevicesOption = None,
    dtype: opt.DtypeOption = None,
    gradient_checkpointing: opt.CheckpointingOption = None,
    compile: opt.CompileOption = None,  # noqa: A002  # the flag's name
    model_config_path: ModelConfigOption = None,
    prediction_type: PredictionOption = None,
    format: opt.FormatOption = None,  # noqa: A002  # the flag's name
    output_dir: opt.OutputDirOption = None,
    output_name: opt.OutputNameOption = None,
    tracker: opt.TrackerOption = None,
    tracker_project: opt.TrackerProjectOption = None,
    tracker_run: opt.TrackerRunOption = None,
    output: OutputOption = None,
    resume: opt.ResumeOption = None,
    root: RootOption = None,
    dry_run: DryRunOption = False,
    estimate: EstimateOption = True,
    show_config: opt.ShowConfigOption = False,
    json: JsonOption = False,
    quiet: QuietOption = False,
    config_path: opt.ConfigPathOption = None,
    device: opt.Hidden = None,
    ckpt_path: opt.Hidden = None,
    template_name: opt.Hidden = None,
    dataset_type: opt.Hidden = None,
    use_sample: opt.Hidden = None,
    raw_dataset_dir: opt.Hidden = None,
    processed_dataset_dir: opt.Hidden = None,
    interpolation: opt.Hidden = None,
    ddim_eta: opt.Hidden = None,
    num_workers: opt.Hidden = None,
    pin_memory: opt.Hidden = None,
    wandb_project: opt.Hidden = None,
    wandb_run: opt.Hidden = None,
) -> None:
    """Erase a concept from a model; print the run folder.

    Example: esdctl train --concept Abstractionism
    """
    began = time.perf_counter()
    flags = {key: value for key, value in locals().items() if key not in _NO_SETTINGS}
    if config and config_path:
        raise UsageError("--config and --config_path are one option", "keep one of them")
    is_unlearn_diff_line = bool(context.obj)
    with reporting(quiet) as reporter:
        plan = _plan(
            flags,
            config or config_path,
            preset,
            output,
            resume,
            root,
            is_unlearn_diff_line,
            reporter,
        )
    if show_config:
        return _show_config(plan, json)
    if dry_run:
        return _show_plan(plan, began if estimate else None, json, quiet)
    run, model_path = _run(plan, root, quiet)
    if json:
        print_json(_result(plan, run, model_path))
    else:
        print_path(run.path)


def _plan(
    flags: dict[str, object | None],
    config: Path | None,
    preset: str | None,
    output: Path | None,
    resume: Path | None,
    root: Path | None,
    is_unlearn_diff_line: bool,
    reporter: "Reporter",
) -> "ErasePlan":
    from esdctl.erasing.plan import plan_erase, plan_resume
    from esdctl.storage.workspace import find_workspace

    workspace = find_workspace(root)
    if resume is None:
        return plan_erase(
            flags, os.environ, config, preset, output, workspace, is_unlearn_diff_line, reporter
        )
    given = {**flags, "config": config, "preset": preset, "output": output}
    return plan_resume(resume, given, workspace, reporter)


def _run(plan: "ErasePlan", root: Path | None, quiet: bool) -> "tuple[RunFolder, Path | None]":
    """The finished run, and where the whole model went if one was asked for."""
    from esdctl.cli.interrupt import stopping_on_interrupt

    with reporting(quiet) as reporter:
        for note in plan.notes:
            reporter.notice(note)
        from esdctl.erasing.erase import erase
        from esdctl.erasing.whole_model import whole_model_path, write_whole_model

        whole_model_path(plan)  # a name that cannot be used is told before the training
        prober = _prober(plan, root)
        with stopping_on_interrupt(reporter) as stop:
            run = erase(plan, sys.argv, reporter, stop, prober)
            return run, write_whole_model(plan, run, reporter)


def _prober(plan: "ErasePlan", root: Path | None) -> "Prober | None":
    """What measures the model in training; None where it trains for a number of steps."""
    if plan.config.until is None:
        return None
    from esdctl.evaluation.probe import new_probe, plan_probe
    from esdctl.storage.workspace import find_workspace

    pictures = plan_probe(plan.pipeline, plan.concept.name, find_workspace(root).models)
    return lambda model: new_probe(pictures, model)


def _result(plan: "ErasePlan", run: "RunFolder", model: Path | None) -> dict[str, object]:
    return {
        "run": str(run.path),
        "concept": plan.concept.name,
        "template": plan.concept.template,
        "train_method": plan.config.train_method,
        "iterations": run.steps(),
        "seconds": run.training_seconds(),
        "delta": str(run.delta),
        "model": str(model) if model else None,
        "contact_sheet": str(run.contact_sheet) if run.contact_sheet.is_file() else None,
        "base_sha256": plan.base_digest,
    }


def _show_config(plan: "ErasePlan", json: bool) -> None:
    values = plan.config.model_dump(mode="json")
    if json:
        rows = {key: {"value": value, "origin": plan.origins[key]} for key, value in values.items()}
        return print_json({"preset": plan.preset.name, "note": plan.preset.note, "settings": rows})
    width = max(len(key) for key in values)
    for key, value in values.items():
        print_line(f"{key:<{width}}  {value!s:<24}  {plan.origins[key]}".rstrip())
    if plan.preset.note:
        print_line(f"note: {plan.preset.note}")


def _show_plan(plan: "ErasePlan", began: float | None, json: bool, quiet: bool) -> None:
    document: dict[str, object] = {
        "output": str(plan.output),
        "model": plan.pipeline.name,
        "concept": plan.concept.name,
        "template": plan.concept.template,
        "prompts": list(plan.concept.prompts),
        "retained": len(plan.concept.retained),
        "preset": plan.preset.name,
        "settings": plan.config.model_dump(mode="json"),
        "notes": list(plan.notes),
    }
    if began is not None:
        from esdctl.timing.estimate import estimate_training

        with reporting(quiet) as reporter:
            estimate = estimate_training(plan, began, reporter)
            tell_estimate(estimate, reporter)
        document["estimate"] = estimate.document()
    print_document(document, json)
