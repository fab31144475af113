"""``esdctl train``: erase a concept."""

import os
import sys
import time
from dataclasses import replace
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from esdctl.cli.estimates import tell_estimate
from esdctl.cli.options import (
    DryRunOption,
    EstimateOption,
    JsonOption,
    OutputOption,
    QuietOption,
    RootOption,
)
from esdctl.cli.output import print_document, print_json, print_line, print_path
from esdctl.cli.setting_options import with_settings
from esdctl.cli.teams import first_ahead, started_team, team_reporting
from esdctl.cli.terminal import reporting
from esdctl.erasing.config import TrainConfig
from esdctl.erasing.preset import preset_names
from esdctl.errors import UsageError
from esdctl.settings.unlearn_diff.keys import ONLY_OF_UNLEARN_DIFF
from esdctl.storage.workspace import find_workspace

if TYPE_CHECKING:
    from esdctl.erasing.erase import EarlierProbe, Hardener, Prober
    from esdctl.erasing.esd.team import Team
    from esdctl.erasing.plan import ErasePlan
    from esdctl.erasing.request import EraseRequest
    from esdctl.erasing.run_folder import RunFolder
    from esdctl.progress import Reporter

SOURCES = "Where settings come from"
PresetOption = Annotated[
    str | None,
    typer.Option(
        "--preset",
        metavar="PRESET",
        help=f"Settings for a purpose, before the defaults. One of {', '.join(preset_names())}. "
        "[default: what suits model and template]",
    ),
]
ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="Settings in YAML; a file of unlearn_diff works unchanged. "
        "[default: esdctl.yaml in the workspace]",
        rich_help_panel=SOURCES,
    ),
]
ConfigPathOption = Annotated[Path | None, typer.Option("--config-path", hidden=True)]
ShowConfigOption = Annotated[
    bool,
    typer.Option(
        "--show-config", help="Print each setting with its origin.", rich_help_panel=SOURCES
    ),
]
ResumeOption = Annotated[
    Path | None,
    typer.Option(
        "--resume", metavar="RUN", help="Go on with an interrupted run.", rich_help_panel=SOURCES
    ),
]


@with_settings(TrainConfig, hidden=sorted(ONLY_OF_UNLEARN_DIFF))
def train(
    context: typer.Context,
    settings: dict[str, object],
    preset: PresetOption = None,
    config: ConfigOption = None,
    config_path: ConfigPathOption = None,
    resume: ResumeOption = None,
    show_config: ShowConfigOption = False,
    output: OutputOption = None,
    root: RootOption = None,
    dry_run: DryRunOption = False,
    estimate: EstimateOption = True,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Erase a concept from a model; print the run folder.

    A flag covers the environment (ESDCTL_TRAIN_LR), that the settings file, that the preset, and
    that the defaults below.

    Example: esdctl train --concept Abstractionism
    """
    began = time.perf_counter()
    if config and config_path:
        raise UsageError("--config and --config_path are one option", "keep one of them")
    from esdctl.erasing.request import EraseRequest

    request = EraseRequest(
        settings, os.environ, config or config_path, None, preset, output, bool(context.obj)
    )
    with started_team() as team:
        is_first = team is None or team.is_first
        with team_reporting(team, quiet) as reporter, first_ahead(team):
            plan = _plan(request, resume, root, reporter)
            # What nothing can measure is told in a dry run too.
            prober = None if show_config else _prober(plan, root)
        if not (show_config or dry_run):
            result = _run(plan, prober, root, quiet, team)
    if not is_first:
        return None
    if show_config:
        return _show_config(plan, json)
    if dry_run:
        return _show_plan(plan, began if estimate else None, json, quiet)
    run, model_path = result
    return print_json(_result(plan, run, model_path)) if json else print_path(run.path)


def _plan(
    request: "EraseRequest", resume: Path | None, root: Path | None, reporter: "Reporter"
) -> "ErasePlan":
    from esdctl.erasing.plan import plan_erase, plan_resume
    from esdctl.settings.settings_file import find_settings_file

    workspace = find_workspace(root)
    if resume is not None:
        return plan_resume(resume, request, workspace, reporter)
    found = find_settings_file(workspace.root)
    return plan_erase(replace(request, workspace_file=found), workspace, reporter)


def _run(
    plan: "ErasePlan",
    prober: "Prober | None",
    root: Path | None,
    quiet: bool,
    team: "Team | None",
) -> "tuple[RunFolder, Path | None]":
    """The finished run, and where the whole model went if one was asked for."""
    from esdctl.cli.interrupt import stopping_on_interrupt

    with team_reporting(team, quiet) as reporter:
        for note in plan.notes:
            reporter.notice(note)
        from esdctl.erasing.erase import erase
        from esdctl.erasing.esd.team import ALONE
        from esdctl.erasing.whole_model import whole_model_path, write_whole_model

        with first_ahead(team):
            whole_model_path(plan)  # a name that cannot be used is told before the training
            hardener = _hardener(plan, root, reporter)
            earlier = _earlier_probe(plan, root, reporter)
        together = team or ALONE
        with stopping_on_interrupt(reporter) as stop:
            run = erase(plan, sys.argv, reporter, stop, prober, hardener, together, earlier)
            return run, write_whole_model(plan, run, reporter) if together.is_first else None


def _prober(plan: "ErasePlan", root: Path | None) -> "Prober | None":
    """What measures the model in training; None where it trains for a number of steps."""
    if plan.config.until is None:
        return None  # a plan loads no torch
    from esdctl.evaluation.probe import prober_of

    return prober_of(plan, find_workspace(root).models)


def _hardener(plan: "ErasePlan", root: Path | None, reporter: "Reporter") -> "Hardener | None":
    """What attacks and edits the model after training; None where nothing asks for it."""
    if not plan.config.harden:
        return None
    from esdctl.attacks.harden import hardener_of

    return hardener_of(plan, find_workspace(root).models, reporter)


def _earlier_probe(
    plan: "ErasePlan", root: Path | None, reporter: "Reporter"
) -> "EarlierProbe | None":
    """What looks at earlier erasures after this one; None where the base is no erased model."""
    if plan.pipeline.delta is None:
        return None
    from esdctl.evaluation.earlier import earlier_probe_of

    return earlier_probe_of(plan, find_workspace(root).models, reporter)


def _result(plan: "ErasePlan", run: "RunFolder", model: Path | None) -> dict[str, object]:
    return {
        "run": str(run.path),
        "concept": plan.concept.name,
        "template": plan.concept.template,
        "train_method": plan.config.train_method,
        "iterations": run.steps(),
        "batch_size": run.chosen_batch_size() or plan.config.batch_size,
        "seconds": run.training_seconds(),
        "delta": str(run.delta),
        "model": str(model) if model else None,
        "contact_sheet": str(run.contact_sheet) if run.contact_sheet.is_file() else None,
        "earlier": str(run.earlier) if run.earlier.is_file() else None,
        "base_sha256": plan.base_digest,
    }


def _show_config(plan: "ErasePlan", json: bool) -> None:
    values = plan.config.model_dump(mode="json")
    if json:
        rows = {key: {"value": value, "origin": plan.origins[key]} for key, value in values.items()}
        return print_json({"preset": plan.preset.name, "note": plan.preset.note, "settings": rows})
    width = max(len(key) for key in values)
    for key, value in values.items():
        written = value if isinstance(value, str) else dumps(value, ensure_ascii=False)  # as YAML
        print_line(f"{key:<{width}}  {written:<24}  {plan.origins[key]}".rstrip())
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
