"""Whether an erasure is what it says: exactly the selected parameters changed, from that base.

What a run, a delta or an exported model says of itself (base, train method) is held against the
tensors. What cannot be looked at here is said, and does not fail.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import safe_open

from esdctl.checkpoints.changes.apply import open_change
from esdctl.checkpoints.changes.delta import FORMAT
from esdctl.checkpoints.changes.diff import Difference, compare
from esdctl.checkpoints.layouts.inspection import inspect
from esdctl.checkpoints.safetensors.metadata import METADATA_KEY
from esdctl.erasing.run_folder import RunFolder, planned_steps
from esdctl.erasing.train_methods import canonical_method, select
from esdctl.errors import EsdctlError, InputError
from esdctl.models.erased import Erased, open_erased
from esdctl.models.named import DELTA_NAME, run_path
from esdctl.models.resolve import is_change
from esdctl.progress import Reporter
from esdctl.storage.atomic import read_jsonl
from esdctl.storage.workspace import Workspace
from esdctl.verification.checks import Check

UNET = "unet."  # before the names of its tensors in a difference


def check_erasure(path: Path, workspace: Workspace, reporter: Reporter) -> list[Check]:
    """Hold a run's delta, a delta or an export against its base.

    Args:
        path: of the run folder, the safetensors file, or the exported folder or checkpoint.
        workspace: where its base is looked for.
        reporter: told of a slow first reading.

    Returns:
        Checks of base, parameters and values; none of what says nothing of an erasure.
    """
    try:
        about = _said_by(path)
    except EsdctlError as error:
        return [Check("model", error.message, "readable", False, path.name)]
    if not about.get("base"):
        return []
    try:
        base = open_erased(about["base"], workspace, reporter=reporter)
    except InputError as error:  # a base that is not here cannot be compared
        is_absent = not run_path(Path(about["base"]), workspace).exists()
        return [Check("base", error.message, "here, and the same", is_absent, path.name)]
    try:
        model = open_erased(str(path), workspace, reporter=reporter)
        difference = compare(base.parts(), model.parts())
    except EsdctlError as error:
        return [Check("model", error.message, "whole, and of its base", False, path.name)]
    found = base.base.base_digest()
    wanted = about.get("base_digest", "")
    return [
        Check("base", found[:16], wanted[:16] or "any", not wanted or found == wanted),
        _parameters(difference, base, model, about),
        _values(difference, model),
    ]


def is_ours(path: Path) -> bool:
    """Whether a safetensors file carries what esdctl writes into its metadata."""
    with safe_open(path, framework="pt") as file:
        return METADATA_KEY in (file.metadata() or {})


def check_log(run: RunFolder, record: Mapping[str, object]) -> Check:
    """Whether a run's log has every step once, in order, each with a finite loss."""
    try:
        rows = read_jsonl(run.log)
    except (InputError, OSError) as error:
        return Check("log", str(error), "every step", False, run.log.name)
    losses = [(row.get("step"), row.get("loss")) for row in rows if "loss" in row]
    steps = [step for step, _ in losses]
    wild = [step for step, loss in losses if not _is_finite(loss)]
    iterations, settings = planned_steps(record), record.get("settings")
    may_end = isinstance(settings, dict) and bool(settings.get("until"))
    is_whole = steps == list(range(1, len(steps) + 1)) and (len(steps) == iterations or may_end)
    measured = f"{len(steps)} steps" + (f", no finite loss in step {wild[0]}" if wild else "")
    if steps != sorted(set(map(_number, steps))):
        measured += ", out of order"
    return Check("log", measured, f"steps 1 to {iterations}", is_whole and not wild, run.log.name)


def check_provenance(record: Mapping[str, object]) -> Check:
    """Whether a record says when, by which command and with which versions it was made."""
    origin = record.get("provenance")
    wanted = ("time", "command_line", "versions")
    missing = [key for key in wanted if not (isinstance(origin, dict) and origin.get(key))]
    measured = f"no {', '.join(missing)}" if missing else "complete"
    return Check("provenance", measured, "complete", not missing, "run.json")


def _parameters(
    difference: Difference, base: Erased, model: Erased, about: Mapping[str, str]
) -> Check:
    """Exactly the selected parameters changed: some of them, and no other tensor of any part."""
    method = _method(about)
    odd = [*difference.only_in_first, *difference.only_in_second, *difference.misshapen]
    changed = [tensor.name for tensor in difference.tensors]
    if method is None:
        measured = f"{len(changed)} changed, by no known method"
        return Check("parameters", measured, "those of a train method", not odd and bool(changed))
    selected = {UNET + name for name in select(method, base.base.files.unet_shapes())}
    others = [*(name for name in changed if name not in selected), *odd]
    inside = len(changed) - sum(name not in selected for name in changed)
    if about.get("format") == FORMAT:  # a delta holds every selected parameter
        others += [name for name in selected if name.removeprefix(UNET) not in model.tensors]
    measured = f"{inside} of {len(selected)} changed" + (
        f", and {len(others)} others, such as {others[0]}" if others else ""
    )
    allowed = f"some of {method}'s, no other"
    return Check("parameters", measured, allowed, bool(inside) and not others)


def _values(difference: Difference, model: Erased) -> Check:
    unet = model.parts()["unet"]
    names = [tensor.name.removeprefix(UNET) for tensor in difference.tensors]
    wild = [name for name in names if name in unet and not bool(torch.isfinite(unet[name]).all())]
    measured = f"{wild[0]} holds a value that is not finite" if wild else "finite"
    return Check("values", measured, "finite", not wild)


def _said_by(path: Path) -> Mapping[str, str]:
    """What a run, a change or an exported model says of itself; nothing where it has no metadata.

    Raises:
        InputError: it cannot be read.
    """
    file = path / DELTA_NAME if (path / DELTA_NAME).is_file() else path
    if file.is_file() and is_change(file):
        return open_change(file).about
    about = inspect(path).about
    return {str(k): v if isinstance(v, str) else json.dumps(v) for k, v in about.items()}


def _method(about: Mapping[str, str]) -> str | None:
    try:
        settings = json.loads(about.get("settings", "{}"))
        return canonical_method(about.get("train_method") or settings["train_method"])
    except (ValueError, RecursionError, TypeError, KeyError):
        return None


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and abs(value) < float("inf")


def _number(value: object) -> int:
    return value if isinstance(value, int) else -1
