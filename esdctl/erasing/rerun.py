"""A run once more with the same settings, and whether it came out the same."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from esdctl.checkpoints.changes.delta import read_delta
from esdctl.erasing.batches import with_batch
from esdctl.erasing.erase import Hardener, Prober, erase
from esdctl.erasing.plan import ErasePlan, plan_resume
from esdctl.erasing.request import EraseRequest
from esdctl.erasing.run_folder import RunFolder
from esdctl.erasing.settings_digest import settings_digest
from esdctl.errors import InputError, UsageError
from esdctl.models.named import run_path
from esdctl.progress import Reporter
from esdctl.storage.workspace import Workspace


@dataclass(frozen=True)
class Comparison:
    """Two runs of the same settings.

    Args:
        run, rerun: their folders.
        tensors: how many each changed.
        differing: how many of them are not equal bit for bit.
        largest: the largest absolute difference of two values; 0 where all are equal.
    """

    run: str
    rerun: str
    tensors: int
    differing: int
    largest: float

    @property
    def is_equal(self) -> bool:
        return self.differing == 0

    def document(self) -> dict[str, object]:
        """As a JSON document."""
        return {**asdict(self), "equal": self.is_equal}


def plan_rerun(
    run: Path, output: Path | None, workspace: Workspace, reporter: Reporter
) -> tuple[RunFolder, ErasePlan]:
    """The finished run, and the plan of doing it again.

    Args:
        run: its folder or its name.
        output: where it goes; None for a new folder beside it, ``again-NAME``.
        workspace: where runs and models lie.
        reporter: told of a slow first reading of the model.

    Raises:
        InputError: there is no such run, or it is not finished.
        UsageError: its base is another model now, or ``output`` exists.
    """
    first = RunFolder(run_path(run, workspace))
    plan = plan_resume(first.path, EraseRequest(), workspace, reporter)
    if not first.is_finished:
        raise InputError(
            f"the run in {first.path} is not finished",
            f"finish it first: esdctl train --resume {first.path}",
        )
    folder = output or _free(first.path)
    if folder.exists():
        raise UsageError(f"{folder} exists", "choose another --output")
    config = plan.config.model_copy(update={"contact_sheet": False, "format": "delta"})
    size, digest = first.chosen_batch_size(), plan.digest
    if size is not None and not isinstance(config.batch_size, int):
        config = with_batch(config, size, plan.lr_batch)
        digest = settings_digest(config, plan.concept, plan.base_digest)
    return first, replace(
        plan, config=config, digest=digest, output=folder, notes=(), lr_batch=None
    )


def rerun(
    first: RunFolder,
    plan: ErasePlan,
    command_line: Sequence[str],
    reporter: Reporter,
    stop: Callable[[], bool],
    prober: Prober | None,
    hardener: Hardener | None = None,
) -> Comparison:
    """Do it again, without contact sheet, and compare the deltas.

    Raises:
        Interrupted, DeviceError, StorageError, CheckFailed: as ``erase``.
    """
    second = erase(plan, command_line, reporter, stop, prober, hardener)
    before, after = read_delta(first.delta), read_delta(second.delta)
    differences = [
        float((value.double() - after[name].double()).abs().max())
        for name, value in before.items()
        if not torch.equal(value, after[name])
    ]
    largest = max(differences, default=0.0)
    return Comparison(str(first.path), str(second.path), len(before), len(differences), largest)


def _free(path: Path) -> Path:
    numbers = ("", *(f"-{number}" for number in range(2, 1000)))
    return next(
        free
        for number in numbers
        if not (free := path.with_name(f"again{number}-{path.name}")).exists()
    )
