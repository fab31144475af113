"""Where a run's rows go besides its JSONL log: TensorBoard or Weights & Biases, or nowhere.

Both are extras. A tracker's failure is told once and never stops the training.
"""

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from secrets import token_hex
from typing import Any, Protocol

from esdctl.erasing.config import TrainConfig
from esdctl.progress import Reporter
from esdctl.redaction import redacted_document
from esdctl.storage.atomic import write_text

WAIT = 30  # seconds that a server may take to answer before the run goes on without it


class Tracker(Protocol):
    """Receives the rows of a run."""

    def log(self, step: int, row: Mapping[str, object]) -> None:
        """The row of one step; only its numbers are shown."""

    def close(self) -> None:
        """The run is over, or stops here."""


def open_tracker(config: TrainConfig, run: Path, reporter: Reporter) -> Tracker:
    """The tracker that the settings name.

    Args:
        config: gives tracker, tracker_project and tracker_run.
        run: the run folder; a tracker's own files go there.
        reporter: told when the tracker cannot be used.

    Returns:
        A tracker that never raises; without one in the settings it does nothing.
    """
    return _Guarded(_OPENERS.get(config.tracker or "", _open_nothing), config, run, reporter)


class _Guarded:
    """Keeps every failure of a tracker from the training, and tells the first one."""

    def __init__(
        self, opener: "_Opener", config: TrainConfig, run: Path, reporter: Reporter
    ) -> None:
        self._name = config.tracker
        self._reporter = reporter
        self._tracker: Tracker | None = None
        self._attempt(lambda: self._open(opener, config, run))

    def log(self, step: int, row: Mapping[str, object]) -> None:
        tracker = self._tracker
        if tracker is not None:
            self._attempt(lambda: tracker.log(step, row))

    def close(self) -> None:
        tracker, self._tracker = self._tracker, None
        if tracker is not None:
            self._attempt(tracker.close)

    def _open(self, opener: "_Opener", config: TrainConfig, run: Path) -> None:
        self._tracker = opener(config, run)

    def _attempt(self, action: Callable[[], None]) -> None:
        try:
            action()
        except ModuleNotFoundError as error:
            self._give_up(f"{error.name} is not installed; pip install 'esdctl[{self._name}]'")
        except Exception as error:
            first_line = f"{type(error).__name__}: {error}".partition("\n")[0]
            self._give_up(first_line)

    def _give_up(self, reason: str) -> None:
        self._tracker = None
        self._reporter.warning(f"{self._name} is left out: {reason}; log.jsonl holds every step")


_Opener = Callable[[TrainConfig, Path], Tracker | None]


def _open_nothing(config: TrainConfig, run: Path) -> None:
    return None


class _TensorBoard:
    """Event files in the run's folder ``tensorboard``."""

    def __init__(self, config: TrainConfig, run: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(run / "tensorboard"))

    def log(self, step: int, row: Mapping[str, object]) -> None:
        for key, value in _numbers(row).items():
            self._writer.add_scalar(f"train/{key}", value, step)

    def close(self) -> None:
        self._writer.close()


class _Wandb:
    """A run of Weights & Biases, resumed under the same id; WANDB_MODE decides where it goes."""

    def __init__(self, config: TrainConfig, run: Path) -> None:
        wandb: Any = import_module("wandb")  # an extra, unknown to the type checker
        with _children_print_to_stderr():
            self._run = wandb.init(
                project=config.tracker_project,
                name=config.tracker_run or run.name,
                id=_remembered_id(run / "wandb-id"),
                resume="allow",
                dir=str(run),
                config=redacted_document(config.model_dump(mode="json")),
                settings=wandb.Settings(console="off", init_timeout=WAIT, login_timeout=WAIT),
            )

    def log(self, step: int, row: Mapping[str, object]) -> None:
        self._run.log(_numbers(row), step=step)

    def close(self) -> None:
        self._run.finish()


_OPENERS: dict[str, _Opener] = {"tensorboard": _TensorBoard, "wandb": _Wandb}


@contextmanager
def _children_print_to_stderr() -> Iterator[None]:
    """wandb starts a process that outlives this block and prints; stdout is for results alone."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def _remembered_id(path: Path) -> str:
    """The run's id with the tracker, drawn once."""
    if not path.exists():
        write_text(path, token_hex(8))
    return path.read_text(encoding="utf-8").strip()


def _numbers(row: Mapping[str, object]) -> dict[str, float]:
    return {
        key: float(value)
        for key, value in row.items()
        if isinstance(value, int | float) and key != "step"
    }
