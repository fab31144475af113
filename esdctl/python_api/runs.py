"""Erasing from Python: ``erase``, ``resume`` and ``open_run`` give a Run, an erased model."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from esdctl.attacks.harden import hardener_of
from esdctl.erasing.erase import erase as run_erasure
from esdctl.erasing.plan import ErasePlan, plan_erase, plan_resume
from esdctl.erasing.request import EraseRequest
from esdctl.erasing.run_folder import RunFolder
from esdctl.erasing.run_folder import open_run as open_run_folder
from esdctl.erasing.whole_model import whole_model_path, write_whole_model
from esdctl.evaluation.earlier import earlier_probe_of
from esdctl.evaluation.probe import prober_of
from esdctl.models.named import run_path
from esdctl.models.resolve import resolve_model
from esdctl.progress import Reporter
from esdctl.python_api.model import FolderName, Model, as_path, open_model, opened
from esdctl.python_api.progress import reporting, stopping
from esdctl.settings.settings_file import find_settings_file
from esdctl.storage.workspace import Workspace, find_workspace


@dataclass(frozen=True)
class Run(Model):
    """A finished erasure: its folder, its record, and the erased model.

    Args:
        folder: the run folder.
        record: what ``run.json`` says: settings, concept, base, provenance.
    """

    folder: RunFolder = field(kw_only=True)
    record: dict[str, Any] = field(kw_only=True, repr=False)

    @property
    def path(self) -> Path:
        """The run folder."""
        return self.folder.path

    @property
    def concept(self) -> str:
        """What was erased."""
        return str(self.record["concept"]["name"])

    @property
    def delta(self) -> Path:
        """The changed tensors, safetensors."""
        return self.folder.delta

    def base(self) -> Model:
        """The model before the erasure."""
        name, folder = str(self.record["base"]["name"]), self.record["settings"].get("pipeline")
        return open_model(name, root=self.workspace.root, pipeline=folder)

    def contact_sheet(self) -> Image.Image | None:
        """The pictures before and after; None where the run made none."""
        sheet = self.folder.contact_sheet
        return opened(sheet) if sheet.is_file() else None

    def _repr_png_(self) -> bytes | None:
        """What a notebook shows of a run: its contact sheet."""
        sheet = self.folder.contact_sheet
        return sheet.read_bytes() if sheet.is_file() else None


def erase(
    model: str | Path | None = None,
    concept: str | Sequence[str] | None = None,
    *,
    preset: str | None = None,
    config: FolderName | None = None,
    output: FolderName | None = None,
    root: FolderName | None = None,
    reporter: Reporter | None = None,
    **settings: Any,
) -> Run:
    """Erase a concept from a model, as ``esdctl train`` does; a finished run is left as it is.

    Args:
        model: a name (``pocket``, ``compvis``, a run) or a path; None for that command's choice.
        concept: what to erase; a list for several at once.
        preset: named settings; else those that suit model and concept.
        config: a YAML file of settings.
        output: the run folder; else one below ``outputs/runs`` of the workspace.
        root: the workspace; else ``ESDCTL_ROOT``, else the current folder.
        reporter: told of the progress; None for stderr.
        settings: any setting of ``esdctl train --show-config``, such as ``pairs=500``,
            ``prompt=["a teapot"]`` or ``devices="0,1"``.

    Returns:
        The finished run.

    Raises:
        UsageError: a setting or a name makes no sense.
        InputError: the model is missing or invalid.
        Interrupted: Ctrl-C; the state is saved, and ``esdctl.resume`` goes on.
        DeviceError, CheckFailed, StorageError: as the command.
    """
    workspace = find_workspace(as_path(root))
    flags = {**settings, "model": model and str(model), "concept": concept}
    flags = {key: value for key, value in flags.items() if value is not None}
    request = EraseRequest(
        flags, os.environ, as_path(config), find_settings_file(workspace.root), preset,
        as_path(output),
    )  # fmt: skip
    with reporting(reporter) as events:
        plan = plan_erase(request, workspace, events)
        shown = [f"{key}={value!r}" for key, value in flags.items()]
        return _perform(plan, ["esdctl.erase", *shown], workspace, events)


def resume(
    run: str | Path,
    *,
    root: FolderName | None = None,
    reporter: Reporter | None = None,
    **settings: Any,
) -> Run:
    """Go on with an erasure that was interrupted, to the result that it would have had.

    Args:
        run: its folder, or its name in the workspace.
        root, reporter: as in ``erase``.
        settings: those that change no result, such as ``devices`` and ``contact_sheet``.

    Raises:
        InputError: there is no such run.
        UsageError: a setting would change the result, or the base is another model now.
        Interrupted, DeviceError, CheckFailed, StorageError: as ``erase``.
    """
    workspace = find_workspace(as_path(root))
    with reporting(reporter) as events:
        plan = plan_resume(Path(run), EraseRequest(settings), workspace, events)
        return _perform(plan, ["esdctl.resume", str(run)], workspace, events)


def open_run(path: str | Path, root: FolderName | None = None) -> Run:
    """A finished run.

    Args:
        path: its folder, or its name in the workspace, or an unambiguous beginning of that.
        root: the workspace; else ``ESDCTL_ROOT``, else the current folder.

    Raises:
        InputError: there is no such run, or it is not finished.
        IntegrityError: its base is another model now.
    """
    workspace = find_workspace(as_path(root))
    folder, record = open_run_folder(run_path(Path(path), workspace))
    files = resolve_model(str(folder.path), workspace)
    return Run(files, workspace, folder=folder, record=record)


def _perform(
    plan: ErasePlan, command_line: list[str], workspace: Workspace, reporter: Reporter
) -> Run:
    for note in plan.notes:
        reporter.notice(note)
    whole_model_path(plan)  # a name that cannot be used is told before the training
    prober = prober_of(plan, workspace.models)
    with stopping(reporter) as stop:
        hardener = hardener_of(plan, workspace.models, reporter) if plan.config.harden else None
        earlier = earlier_probe_of(plan, workspace.models, reporter)
        run = run_erasure(plan, command_line, reporter, stop, prober, hardener, earlier=earlier)
        write_whole_model(plan, run, reporter)
    return open_run(run.path, workspace.root)
