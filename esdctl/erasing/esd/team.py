"""Processes that share the rows of each step, as torchrun starts them; one process is a team, too.

The loss of a step is a mean over B rows, so its gradient is the sum over the team of n/B times that
of a mean over n rows. Each process draws all choices of a step, which depend on seed and step
alone, computes its own rows, and moves the same parameters by the same sum. The first process alone
writes and speaks.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist

from esdctl.errors import DeviceError, EsdctlError, Interrupted, UsageError
from esdctl.models.devices import find_device, find_devices

WAIT = timedelta(hours=1)  # for the others: the first may hash a model or sample a whole pool
# By whose number the first tells how it failed.
KINDS: tuple[type[EsdctlError], ...] = (EsdctlError, *EsdctlError.__subclasses__())
FINE = len(KINDS)


@dataclass(frozen=True)
class Team:
    """A process's place among those that train together.

    Args:
        rank: 0 for the first.
        size: how many there are.
        local_rank: the place among those of this machine.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def devices(self, named: str | None) -> tuple[torch.device, ...]:
        """This process's device; one that trains alone may have two.

        Args:
            named: the setting.

        Raises:
            UsageError: it names single devices, which the places in the team decide.
            DeviceError: this machine has fewer devices than processes.
        """
        if self.size == 1:
            return find_devices(named)
        if named not in (None, "cpu", "cuda"):
            raise UsageError(
                f"--devices {named} names devices, and each process has the one of its own number",
                "leave --devices out, or say cpu or cuda; CUDA_VISIBLE_DEVICES chooses among them",
            )
        device = find_device(named, "--devices")
        if device.type != "cuda":
            return (device,)
        count = torch.cuda.device_count()
        if self.local_rank >= count:
            raise DeviceError(
                f"process {self.local_rank + 1} of this machine finds {count} GPUs",
                f"torchrun --nproc-per-node {count}",
            )
        torch.cuda.set_device(self.local_rank)
        return (torch.device("cuda", self.local_rank),)

    def check(self, method: str | None, batch_size: int | str | None) -> None:
        """Refuse what cannot be shared.

        Args:
            method: of the erasure.
            batch_size: the setting.

        Raises:
            UsageError: there are fewer rows than processes, or no steps at all.
        """
        if self.size > 1 and method == "edit":
            raise UsageError(
                f"an edit has no steps that {self.size} processes could share",
                "run it without torchrun",
            )
        if isinstance(batch_size, int) and batch_size < self.size:
            raise UsageError(
                f"{self.size} processes share a batch of {batch_size}",
                f"give --batch-size {self.size} or more, or torchrun --nproc-per-node {batch_size}",
            )

    def rows(self, count: int) -> slice:
        """Which of ``count`` rows are this process's: as many as any other's, or one more."""
        return slice(self.rank * count // self.size, (self.rank + 1) * count // self.size)

    def part(self, mean: torch.Tensor, count: int) -> torch.Tensor:
        """What a mean over this process's rows adds to the mean over all ``count``."""
        own = self.rows(count)
        return mean if self.size == 1 else (own.stop - own.start) / count * mean

    def add(self, tensors: Iterable[torch.Tensor]) -> None:
        """Put the sum over the team in place of each."""
        if self.size > 1:
            with _others():
                works = [dist.all_reduce(tensor, async_op=True) for tensor in tensors]
                for work in works:
                    work.wait()

    def sum(self, tensor: torch.Tensor) -> torch.Tensor:
        """The sum over the team, without gradient."""
        if self.size == 1:
            return tensor.detach()
        total = tensor.detach().clone()
        self.add([total])
        return total

    def whole(self, state: torch.Tensor, count: int) -> torch.Tensor:
        """A state of k rows for each of ``count``, each as the process has it whose row that is."""
        if self.size == 1:
            return state
        own, total = self.rows(count), torch.zeros_like(state)
        each = len(state) // count
        mine = slice(own.start * each, own.stop * each)
        total[mine] = state[mine]
        self.add([total])
        return total

    def placed(self, own: torch.Tensor, count: int) -> torch.Tensor:
        """A row of ``count`` zeros with this process's values in their places."""
        if self.size == 1:
            return own
        row = own.new_zeros(count)
        row[self.rows(count)] = own
        return row

    def copy_first(self, tensors: Iterable[torch.Tensor]) -> None:
        """Give all what the first has, in place."""
        if self.size > 1:
            with torch.no_grad(), _others():
                for tensor in tensors:
                    dist.broadcast(tensor, 0)

    def any(self, flag: bool) -> bool:
        """Whether it is so in any of the processes."""
        return bool(self.sum(torch.tensor(float(flag))))

    def as_first(self, flag: bool) -> bool:
        """What the first says."""
        said = torch.tensor(float(flag))
        self.copy_first([said])
        return bool(said)

    @contextmanager
    def first_ahead(self) -> Iterator[None]:
        """Let the first through the block alone, then the others.

        Raises:
            EsdctlError: what the first raised; in the others of the same kind, and silent.
        """
        if self.size == 1:
            yield
        elif self.is_first:
            outcome = FINE
            try:
                yield
            except BaseException as error:
                kind = Interrupted if isinstance(error, KeyboardInterrupt) else type(error)
                outcome = KINDS.index(kind) if kind in KINDS else 0
                raise
            finally:
                self.copy_first([torch.tensor(outcome)])
        else:
            of_first = torch.tensor(FINE)
            self.copy_first([of_first])
            if of_first < FINE:
                raise KINDS[int(of_first)]("")
            yield

    def told_once(self, error: EsdctlError) -> EsdctlError:
        """An error that all processes raise, told by the first alone."""
        return error if self.is_first else type(error)("")


ALONE = Team()


@contextmanager
def joined(rank: int, size: int, local_rank: int) -> Iterator[Team]:
    """Meet the other processes, and part from them where all went well.

    Torch finds them by the environment's MASTER_ADDR and MASTER_PORT.

    Args:
        rank, size, local_rank: as in ``Team``.

    Raises:
        DeviceError: they cannot be reached.
    """
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    try:
        dist.init_process_group(backend, timeout=WAIT)
    except (RuntimeError, ValueError) as error:
        why = str(error).partition("\n")[0]
        raise DeviceError(
            f"the processes of this training do not reach each other: {why}", "start it by torchrun"
        ) from error
    yield Team(rank, size, local_rank)
    dist.destroy_process_group()


@contextmanager
def _others() -> Iterator[None]:
    """Say in the user's terms that another process is gone."""
    try:
        yield
    except RuntimeError as error:
        raise DeviceError(
            "another process of this training ended", "what it printed says why"
        ) from error
