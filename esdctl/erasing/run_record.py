"""run.json: what a run was asked for, on what base, and where it was computed."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import yaml

from esdctl.erasing.plan import ErasePlan
from esdctl.erasing.run_folder import RunFolder, open_run
from esdctl.errors import UsageError
from esdctl.progress import Reporter
from esdctl.storage.atomic import write_json, write_text
from esdctl.storage.provenance import collect


def write_or_compare_record(
    run: RunFolder, plan: ErasePlan, computed: Mapping[str, object], command_line: Sequence[str]
) -> None:
    """Write a new run's record, or see that the old one is of the same settings.

    The record comes first, since it makes the folder a run: a process may die after any write.

    Args:
        run: its folder.
        plan: what the run will do.
        computed: devices and dtype.
        command_line: for the record.

    Raises:
        UsageError: the folder holds a run with other settings.
    """
    if run.record.exists():
        _, record = open_run(run.path)
        if record["settings_digest"] != plan.digest:
            raise UsageError(
                f"{run.path} holds a run with other settings",
                "choose another --output, or go on with that run: esdctl train --resume",
            )
    else:
        write_json(run.record, _record(plan, computed, command_line))
    readable = run.path / "config.yaml"
    if not readable.exists():
        settings = plan.config.model_dump(mode="json")
        write_text(readable, yaml.safe_dump(settings, sort_keys=False))


def _record(
    plan: ErasePlan, computed: Mapping[str, object], command_line: Sequence[str]
) -> Mapping[str, object]:
    return {
        "settings": plan.config.model_dump(mode="json"),
        "settings_digest": plan.digest,
        "lr_batch": plan.lr_batch,
        "preset": plan.preset.name,
        "concept": asdict(plan.concept),
        "base": {"name": plan.pipeline.name, "sha256": plan.base_digest},
        "computed": computed,
        "provenance": collect(command_line),
    }


def dtype_so_far(run: RunFolder) -> str | None:
    """What a run that has begun computes in: a resumed one goes on so, on whatever device."""
    if not run.record.exists():
        return None
    _, record = open_run(run.path)
    computed = record.get("computed")
    return str(computed["dtype"]) if isinstance(computed, dict) and "dtype" in computed else None


def record_devices(run: RunFolder, computed: Mapping[str, Any], reporter: Reporter) -> None:
    """Add to the record that a run goes on elsewhere than where it was last."""
    _, record = open_run(run.path)
    before = record["computed"]
    assert isinstance(before, dict)
    resumed = list(before.get("resumed_on", []))
    if (resumed or [before["devices"]])[-1] == computed["devices"]:
        return
    reporter.notice(
        f"{run.path} was on {', '.join(before['devices'])} and goes on on "
        f"{', '.join(computed['devices'])}, in {computed['dtype']}"
    )
    resumed.append(computed["devices"])
    write_json(run.record, {**record, "computed": {**before, "resumed_on": resumed}})
