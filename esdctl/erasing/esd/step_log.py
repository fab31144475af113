"""The log's rows, from what each step told the host: a few numbers in one copy.

On CUDA they are read when the next step has been launched, so that the device never idles for them.
Before anything of a step is kept, ``settle`` reads what is still on its way.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from esdctl.erasing.esd.step import Loss, Pairs
from esdctl.erasing.esd.team import ALONE, Team
from esdctl.models.memory import peak_memory

Row = dict[str, object]


@dataclass(frozen=True)
class _Told:
    """What a step told.

    Args:
        step: its number; 1 is the first.
        terms: of its loss, one or two.
        numbers: the terms, whether all is finite, the timesteps, (N,), on the host; not there
            before ``event``.
        event: None where they are there.
        memory: the peak, in bytes, when the step was launched.
    """

    step: int
    terms: int
    numbers: torch.Tensor
    event: torch.cuda.Event | None
    memory: int

    def read(self) -> list[float]:
        """The numbers; waits for them."""
        if self.event is not None:
            self.event.synchronize()
        found: list[float] = self.numbers.tolist()
        return found


class StepLog:
    """Gives a row for each step, in order.

    Args:
        device: of the student.
        lr: the learning rate, for the rows.
        report: is given each row.
        not_finite: makes the error that a step deserves which has no numbers any more, given the
            number of steps before it.
        team: the processes that have the rows of a step together.
        count: of those rows.
    """

    def __init__(
        self,
        device: torch.device,
        lr: float,
        report: Callable[[Row], None],
        not_finite: Callable[[int], Exception],
        team: Team = ALONE,
        count: int = 1,
    ) -> None:
        self._team, self._count = team, count
        self._device, self._lr = device, lr
        self._report, self._not_finite = report, not_finite
        self._waiting: list[_Told] = []
        self._since = 0.0
        self.seconds = 0.0

    def begin(self) -> None:
        """A step begins; time counts from here unless the step before is still under way."""
        if not self._waiting:
            self._since = time.perf_counter()

    def add(self, step: int, loss: Loss, largest: torch.Tensor, pairs: Pairs) -> None:
        """A step was launched; on CUDA the one before it is read, elsewhere it is itself.

        Args:
            step: its number.
            loss: its terms.
            largest: what ``Update`` gives.
            pairs: its rows.

        Raises:
            Exception: ``not_finite``'s, for a step that was read.
        """
        terms = [loss.erase] if loss.retain is None else [loss.erase, loss.retain]
        # In one copy, because each keeps the host waiting; fp32 holds 0..999 exactly.
        means = self._team.part(torch.stack([*terms, largest]).detach().float(), self._count)
        told = torch.cat([means, self._team.placed(pairs.t.float(), self._count)])
        numbers, event = _download(self._team.sum(told))
        memory = peak_memory(self._device)
        self._waiting.append(_Told(step, len(terms), numbers, event, memory))
        self.settle(0 if event is None else 1)

    def settle(self, left: int = 0) -> None:
        """Read the steps that are not read yet, but for so many of the last ones.

        Raises:
            Exception: ``not_finite``'s; the rows of that step and of later ones are not given.
        """
        while len(self._waiting) > left:
            told = self._waiting.pop(0)
            numbers = told.read()
            if not all(map(math.isfinite, numbers)):
                raise self._not_finite(told.step - 1)
            now = time.perf_counter()
            seconds, self._since = now - self._since, now
            self.seconds += seconds
            self._report(self._row(told, numbers, seconds))

    def _row(self, told: _Told, numbers: list[float], seconds: float) -> Row:
        timesteps = [int(t) for t in numbers[told.terms + 1 :]]
        row: Row = {
            "step": told.step,
            "loss": numbers[0],
            "lr": self._lr,
            "t": timesteps[0] if len(set(timesteps)) == 1 else timesteps,
            "seconds": round(seconds, 4),
            "memory_bytes": told.memory,
        }
        if told.terms == 2:
            row["retain_loss"] = numbers[1]
        return row


def _download(tensor: torch.Tensor) -> tuple[torch.Tensor, torch.cuda.Event | None]:
    """The same on the host, and the event after which it is there; None where it is."""
    if tensor.device.type != "cuda":
        return tensor.cpu(), None
    host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    host.copy_(tensor, non_blocking=True)
    with torch.cuda.device(tensor.device):
        event = torch.cuda.Event()
        event.record()
    return host, event
