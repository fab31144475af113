"""Whether an erasure is what it says: exactly the selected parameters changed, from that base.

What a run, a delta or an exported model says of itself (base, train method) is held against the
tensors, and an export against the run that it was made from. What cannot be looked at here is said,
with its reason, and is neither passed nor failed.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from esdctl.checkpoints.changes.apply import Change, is_change, open_change
from esdctl.checkpoints.changes.delta import FORMAT
from esdctl.checkpoints.changes.diff import Difference
from esdctl.checkpoints.layouts.inspection import inspect
from esdctl.checkpoints.layouts.model_files import open_model
from esdctl.checkpoints.safetensors.metadata import recorded_folder
from esdctl.counting import counted
from esdctl.erasing.train_methods import canonical_method, select
from esdctl.errors import EsdctlError, InputError
from esdctl.models.erased import Erased, open_erased
from esdctl.models.named import DELTA_NAME, run_path
from esdctl.models.resolve import resolve_model
from esdctl.progress import Reporter
from esdctl.storage.workspace import Workspace
from esdctl.verification.checks import Check
from esdctl.verification.origin import Origin, find_origins, is_of_a_run
from esdctl.verification.same_change import check_same_change, differences

UNET = "unet."  # before the names of its tensors in a difference


def check_erasure(
    path: Path, workspace: Workspace, reporter: Reporter, run: Path | None = None
) -> list[Check]:
    """Hold a run's delta, a delta or an export against its base and its run.

    Args:
        path: of the run folder, the file, or the exported folder or checkpoint.
        workspace: where its base and its run are looked for.
        reporter: told of a slow first reading.
        run: what it was made from, by folder or name; else it is looked for.

    Returns:
        Checks of values, base, parameters and run; those that could not be made say why.

    Raises:
        InputError: ``run`` is no finished run.
    """
    try:
        change = _change_at(path)
        said = _said_by(path, change)
        fault = _fault_of_values(path, change, reporter)
    except EsdctlError as error:
        return [Check("model", error.message, "readable", False, path.name)]
    checks = [Check("values", fault or "finite", "finite", not fault)]
    origins = find_origins(path, said, workspace, run)
    about = {**said, **origins[0].about} if origins and not said.get("base") else said
    if not about.get("base"):
        why = "it does not say what it was made from; --run RUN tells"
        return [*checks, *_unchecked(("base", "parameters", "run"), why)]
    if fault:
        why = "not every value can be read"
        return [*checks, *_unchecked(("base", "parameters", "run"), why)]
    return [*checks, *_against_base(path, change, about, origins, workspace, reporter)]


def _against_base(
    path: Path,
    change: Change | None,
    about: Mapping[str, str],
    origins: list[Origin],
    workspace: Workspace,
    reporter: Reporter,
) -> list[Check]:
    name = about["base"]
    folder = recorded_folder(about)
    supplier = None if folder is None else str(folder)
    try:
        base = open_erased(name, workspace, reporter=reporter, supplier=supplier)
        found = resolve_model(name, workspace, supplier=supplier).digest()
    except EsdctlError as error:
        is_absent = isinstance(error, InputError) and not run_path(Path(name), workspace).exists()
        verdict = None if is_absent else False
        rest = _unchecked(("parameters", "run"), "its base is not here")
        return [Check("base", error.message, "here, and the same", verdict), *rest]
    wanted = about.get("base_digest", "")
    is_same = found == wanted if wanted else None
    allowed = wanted[:16] or "it names no digest"
    checks = [Check("base", found[:16], allowed, is_same)]
    if is_same is False:
        return [*checks, *_unchecked(("parameters", "run"), "its base is another model now")]
    try:
        is_silent = change is not None and "base" not in change.about
        model = open_erased(str(path), workspace, name if is_silent else None, reporter)
        checks.append(_parameters(differences(base.parts(), model.parts()), base, model, about))
        return [*checks, *_against_run(path, origins, base, model, change)]
    except EsdctlError as error:
        return [*checks, Check("model", error.message, "whole, and of its base", False, path.name)]


def _against_run(
    path: Path, origins: list[Origin], base: Erased, model: Erased, change: Change | None
) -> list[Check]:
    """Of several runs that say the same of themselves, equality with any of them is enough."""
    if not origins:
        why = "no run here says the same of itself; --run RUN names it"
        if "sum" in model.about:
            why = "a sum of changes, or one that was scaled"
        return [] if is_of_a_run(path) else _unchecked(("run",), why)
    found = [check_same_change(origin, base, model, change) for origin in origins]
    return next((checks for checks in found if checks[0].passed), found[0])


def _parameters(
    difference: Difference, base: Erased, model: Erased, about: Mapping[str, str]
) -> Check:
    """Exactly the selected parameters changed: some of them, and no other tensor of any part."""
    method = _method(about)
    odd = [*difference.only_in_first, *difference.only_in_second, *difference.misshapen]
    changed = [tensor.name for tensor in difference.tensors]
    if method is None:
        why = f"{counted(len(changed), 'tensor')} changed; it names no train method"
        return Check("parameters", why, "those of a train method", False if odd else None)
    files = base.base.files
    prefix = f"{files.denoiser}."
    every = select(method, files.denoiser_shapes(), files.architecture.family)
    selected = {prefix + name for name in every}
    others = [*(name for name in changed if name not in selected), *odd]
    inside = len(changed) - sum(name not in selected for name in changed)
    if about.get("format") == FORMAT and model.tensors:  # a delta holds every selected parameter
        others += [name for name in selected if name.removeprefix(prefix) not in model.tensors]
    measured = f"{inside} of {len(selected)} changed" + (
        f", and {counted(len(others), 'other')}, such as {others[0]}" if others else ""
    )
    allowed = f"some of {method}'s, no other"
    return Check("parameters", measured, allowed, bool(inside) and not others)


def _fault_of_values(path: Path, change: Change | None, reporter: Reporter) -> str:
    """Which value is not finite; "" when all are, or when the file is of no kind that is known.

    Raises:
        InputError, IntegrityError: the model is not whole.
    """
    whole = {} if change is not None else open_model(path, reporter=reporter).tensors
    try:
        if change is not None:
            for name in change.file.infos:
                change.file.read(name)
        for tensors in whole.values():
            for name in tensors:
                _ = tensors[name]
    except EsdctlError as error:
        return error.message
    return ""


def _change_at(path: Path) -> Change | None:
    """The change that a run, a delta, a LoRA or the authors' form is; None for a whole model.

    Raises:
        InputError, IntegrityError: it cannot be read, or is neither.
    """
    file = path / DELTA_NAME if (path / DELTA_NAME).is_file() else path
    return open_change(file) if file.is_file() and is_change(file) else None


def _said_by(path: Path, change: Change | None) -> Mapping[str, str]:
    """What a run, a change or an exported model says of itself; nothing without metadata."""
    if change is not None:
        return change.about
    about = inspect(path).about
    return {str(k): v if isinstance(v, str) else json.dumps(v) for k, v in about.items()}


def _method(about: Mapping[str, str]) -> str | None:
    try:
        settings = json.loads(about.get("settings", "{}"))
        return canonical_method(about.get("train_method") or settings["train_method"])
    except (ValueError, RecursionError, TypeError, KeyError):
        return None


def _unchecked(names: tuple[str, ...], why: str) -> list[Check]:
    return [Check(name, why, "", None) for name in names]
