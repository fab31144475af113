"""``esdctl train``: erase a concept."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from esdctl.cli.options import (
    DeviceOption,
    DryRunOption,
    JsonOption,
    ModelOption,
    OutputOption,
    QuietOption,
    RootOption,
    SeedOption,
)
from esdctl.cli.output import print_json, print_line, print_path
from esdctl.cli.terminal import reporting

if TYPE_CHECKING:
    from esdctl.esd.plan import ErasePlan
    from esdctl.esd.run_folder import RunFolder

Texts = list[str] | None


def train(
    concept: Annotated[
        str | None, typer.Option(help="What to erase, such as Abstractionism.")
    ] = None,
    model: ModelOption = None,
    prompt: Annotated[
        Texts, typer.Option(help="Training prompt, repeatable; {concept} is filled in.")
    ] = None,
    template: Annotated[
        str | None, typer.Option(help="style, object or i2p; else inferred.")
    ] = None,
    separator: Annotated[str | None, typer.Option(help="Splits a prompt into several.")] = None,
    erase_from: Annotated[
        str | None, typer.Option(help="Erase the concept from this prompt only.")
    ] = None,
    preset: Annotated[str | None, typer.Option(help="Named settings; see --show-config.")] = None,
    config: Annotated[Path | None, typer.Option(metavar="FILE", help="Settings in YAML.")] = None,
    train_method: Annotated[
        str | None, typer.Option(help="Which parameters move: xattn, noxattn, ...")
    ] = None,
    trajectory: Annotated[str | None, typer.Option(help="Where x_t comes from: exact.")] = None,
    negative_guidance: Annotated[
        float | None, typer.Option(help="eta, in the paper's convention.")
    ] = None,
    start_guidance: Annotated[
        float | None, typer.Option(help="Guidance scale of the trajectories.")
    ] = None,
    iterations: Annotated[int | None, typer.Option(help="Optimiser steps.")] = None,
    lr: Annotated[float | None, typer.Option(help="Learning rate.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Latents a step.")] = None,
    ddim_steps: Annotated[
        int | None, typer.Option(help="DDIM steps of a whole trajectory.")
    ] = None,
    image_size: Annotated[int | None, typer.Option(help="Pixels a side; a multiple of 8.")] = None,
    retain: Annotated[Texts, typer.Option(help="A concept to keep, repeatable.")] = None,
    retain_all: Annotated[
        bool | None, typer.Option("--retain-all/--no-retain-all", help="Keep all others.")
    ] = None,
    retain_weight: Annotated[float | None, typer.Option(help="Weight of the retain term.")] = None,
    save_every: Annotated[int | None, typer.Option(help="Steps between checkpoints.")] = None,
    seed: SeedOption = None,
    device: DeviceOption = None,
    output: OutputOption = None,
    resume: Annotated[
        Path | None, typer.Option(metavar="RUN", help="Go on with an interrupted run.")
    ] = None,
    root: RootOption = None,
    dry_run: DryRunOption = False,
    show_config: Annotated[
        bool, typer.Option("--show-config", help="Print each setting with its origin.")
    ] = False,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Erase a concept from a model; print the run folder.

    Example: esdctl train --concept Abstractionism
    """
    flags: dict[str, object | None] = {
        "concept": concept, "model": model, "prompt": prompt, "template": template,
        "separator": separator, "erase_from": erase_from, "train_method": train_method,
        "trajectory": trajectory, "negative_guidance": negative_guidance,
        "start_guidance": start_guidance, "iterations": iterations, "lr": lr,
        "batch_size": batch_size, "ddim_steps": ddim_steps, "image_size": image_size,
        "retain": retain, "retain_all": retain_all, "retain_weight": retain_weight,
        "save_every": save_every, "seed": seed, "devices": device,
    }  # fmt: skip
    plan = _plan(flags, config, preset, output, resume, root)
    if show_config:
        return _show_config(plan, json)
    if dry_run:
        return _show_plan(plan, json)
    run = _run(plan, quiet)
    if json:
        print_json(_result(plan, run))
    else:
        print_path(run.path)


def _plan(
    flags: dict[str, object | None],
    config: Path | None,
    preset: str | None,
    output: Path | None,
    resume: Path | None,
    root: Path | None,
) -> "ErasePlan":
    from esdctl.esd.plan import plan_erase, plan_resume
    from esdctl.storage.workspace import find_workspace

    workspace = find_workspace(root)
    if resume is None:
        return plan_erase(flags, os.environ, config, preset, output, workspace)
    return plan_resume(
        resume, {**flags, "config": config, "preset": preset, "output": output}, workspace
    )


def _run(plan: "ErasePlan", quiet: bool) -> "RunFolder":
    from esdctl.cli.interrupt import stopping_on_interrupt

    with reporting(quiet) as reporter:
        for note in plan.notes:
            reporter.notice(note)
        from esdctl.esd.erase import erase

        with stopping_on_interrupt(reporter) as stop:
            return erase(plan, sys.argv, reporter, stop)


def _result(plan: "ErasePlan", run: "RunFolder") -> dict[str, object]:
    return {
        "run": str(run.path),
        "concept": plan.concept.name,
        "template": plan.concept.template,
        "train_method": plan.config.train_method,
        "iterations": plan.config.iterations,
        "seconds": run.training_seconds(),
        "delta": str(run.delta),
        "contact_sheet": str(run.contact_sheet),
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


def _show_plan(plan: "ErasePlan", json: bool) -> None:
    document = {
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
    if json:
        return print_json(document)
    for key, value in document.items():
        print_line(f"{key}: {value}")
