"""Whether what a run wrote of its training is whole: its log, step by step, and its provenance."""

import math
from collections.abc import Mapping

from esdctl.counting import counted
from esdctl.erasing.run_folder import RunFolder, planned_steps
from esdctl.errors import InputError
from esdctl.storage.atomic import read_jsonl
from esdctl.verification.checks import Check


def check_log(run: RunFolder, record: Mapping[str, object]) -> Check:
    """Whether a run's log has every step once, in order, each with a finite loss.

    Fewer steps than were planned are right only where ``until`` was set and the log's probe after
    the last step says that it was reached.
    """
    try:
        rows = read_jsonl(run.log)
    except (InputError, OSError) as error:
        return Check("log", str(error), "every step", False, run.log.name)
    iterations, settings = planned_steps(record), record.get("settings")
    until = settings.get("until") if isinstance(settings, dict) else None
    losses = [(row.get("step"), row.get("loss")) for row in rows if "loss" in row]
    steps = [step for step, _ in losses]
    wild = [step for step, loss in losses if not _is_finite(loss)]
    allowed = f"steps 1 to {iterations}"
    faults = [f"no finite loss in step {wild[0]}"] if wild else []
    if steps != list(range(1, len(steps) + 1)):
        faults.append(_disorder(steps))
    elif until:
        allowed += f", or until {until}"
        if len(steps) != iterations and not _was_reached(rows, len(steps), iterations):
            faults.append("which no probe after the last step says was reached")
    measured = ", ".join([counted(len(steps), "step"), *faults])
    is_long_enough = len(steps) == iterations or bool(until)
    return Check("log", measured, allowed, is_long_enough and not faults, run.log.name)


def check_provenance(record: Mapping[str, object]) -> Check:
    """Whether a record says when, by which command and with which versions it was made."""
    origin = record.get("provenance")
    wanted = ("time", "command_line", "versions")
    missing = [key for key in wanted if not (isinstance(origin, dict) and origin.get(key))]
    measured = f"no {', '.join(missing)}" if missing else "complete"
    return Check("provenance", measured, "complete", not missing, "run.json")


def _disorder(steps: list[object]) -> str:
    """The first step that is not where it should be."""
    wanted, found = next(
        (place, step) for place, step in enumerate(steps, start=1) if step != place
    )
    return f"step {found} stands where step {wanted} should"


def _was_reached(rows: list[dict[str, object]], steps: int, iterations: object) -> bool:
    """Whether a probe ended the training after so many steps, before the last one."""
    probes = [row for row in rows if "probe" in row and row.get("step") == steps]
    is_short = isinstance(iterations, int) and steps < iterations
    return is_short and any(row.get("is_reached") is True for row in probes)


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
