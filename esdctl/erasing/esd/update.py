"""Adam's step (Kingma and Ba 2015, arXiv 1412.6980): after the backward pass, or within it.

Within it parameters move as soon as their gradients are complete, and the gradients go. Each
parameter moves as it would have moved afterwards; but no more than a few gradients exist at once,
where all of ``noxattn`` on a full-size U-Net in fp32 are 3 GB.
"""

import math
from functools import partial

import torch

from esdctl.erasing.esd.optimizer import open_optimizer
from esdctl.erasing.esd.student import Student
from esdctl.erasing.esd.team import ALONE, Team

AT_ONCE = 2**28  # bytes of working parameters' fp32 gradients that one step of Adam waits for

Pair = tuple[torch.nn.Parameter, torch.nn.Parameter]


class Update:
    """One optimiser step a call, which says whether loss and parameters are still finite.

    In fp16 small gradients vanish, so the loss is scaled. A gradient that is not finite is left out
    by the scaler, which then scales less and therefore has to see all gradients at once. Where the
    U-Net has working copies of the parameters, they are refreshed with each step.

    Args:
        student: its selected parameters move.
        lr: learning rate.
        is_within: step within the backward pass, parameter by parameter. fp16 cannot; with working
            copies it is always so, some parameters at a time.
        team: whose gradients are added up.
        optimizer: which, by its name.
    """

    def __init__(
        self,
        student: Student,
        lr: float,
        is_within: bool,
        team: Team = ALONE,
        optimizer: str = "adam",
    ) -> None:
        self._team = team
        self._parameters = list(student.selected.values())
        self._pairs: list[Pair] = list(zip(self._parameters, student.asked.values(), strict=True))
        self.optimizer = open_optimizer(optimizer, self._parameters, lr)
        is_half = student.dtype == torch.float16
        self.scaler = torch.amp.GradScaler(student.device.type, enabled=is_half)
        self._has_copies = student.working is not None
        self._is_within = self._has_copies or (is_within and not is_half)

    def __call__(self, loss: torch.Tensor) -> torch.Tensor:
        """Move the parameters by a loss, a scalar; of a team, by this process's part of it.

        Returns:
            A scalar on the device, which nothing waits for: finite where the loss was and each
            parameter is. Else nothing of this step may be kept.
        """
        if self._is_within:
            self._step_within(loss)
        else:
            self.scaler.scale(loss).backward()
            self._team.add(_gradients(self._parameters))
            self.scaler.step(self.optimizer)
            self.scaler.update()
            self.optimizer.zero_grad(set_to_none=True)
        # The largest value: one number for all of them, finite where each of them is.
        largest = torch.nn.utils.get_total_norm(self._parameters, norm_type=math.inf)
        return largest + loss.detach()

    def _step_within(self, loss: torch.Tensor) -> None:
        (group,) = self.optimizer.param_groups
        ready: list[Pair] = []
        enough = AT_ONCE if self._has_copies else 0

        def complete(pair: Pair, _: torch.Tensor) -> None:
            ready.append(pair)
            if sum(master.nbytes for master, _ in ready) >= enough:
                self._step(ready)

        hooks = [
            pair[1].register_post_accumulate_grad_hook(partial(complete, pair))
            for pair in self._pairs
        ]
        try:
            loss.backward()
            self._step(ready)
        finally:
            group["params"] = self._parameters
            for hook in hooks:
                hook.remove()

    @torch.no_grad()
    def _step(self, ready: list[Pair]) -> None:
        """Move these parameters and free their gradients; none of them is ready afterwards."""
        (group,) = self.optimizer.param_groups
        masters, asked = [pair[0] for pair in ready], [pair[1] for pair in ready]
        ready.clear()
        if self._has_copies and masters:
            _give_gradients(masters, asked)
        self._team.add(_gradients(masters))
        group["params"] = masters
        self.optimizer.step()
        for parameter in masters:
            parameter.grad = None
        if self._has_copies and masters:
            torch._foreach_copy_([*asked], [*masters])


def _gradients(parameters: list[torch.nn.Parameter]) -> list[torch.Tensor]:
    return [parameter.grad for parameter in parameters if parameter.grad is not None]


def _give_gradients(masters: list[torch.nn.Parameter], asked: list[torch.nn.Parameter]) -> None:
    """Move the working copies' gradients to the parameters themselves, in fp32."""
    given = [parameter.grad for parameter in asked if parameter.grad is not None]
    taken: list[torch.Tensor] = [torch.empty_like(master) for master in masters]
    for master, parameter, gradient in zip(masters, asked, taken, strict=True):
        master.grad, parameter.grad = gradient, None
    torch._foreach_copy_(taken, given)
