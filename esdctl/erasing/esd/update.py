"""Adam's step (Kingma and Ba 2015, arXiv 1412.6980): after the backward pass, or within it.

Within it each parameter moves as soon as its gradient is complete, and the gradient goes. Each
parameter moves as it would have moved afterwards; but no two gradients exist at once, which with
``noxattn`` on a full-size U-Net in fp32 are 3 GB.
"""

import math

import torch

from esdctl.erasing.esd.student import Student


class Update:
    """One optimiser step a call, which says whether loss and parameters are still finite.

    In fp16 small gradients vanish, so the loss is scaled. A gradient that is not finite is left out
    by the scaler, which then scales less and therefore has to see all gradients at once.

    Args:
        student: its selected parameters move.
        lr: learning rate.
        is_within: step within the backward pass; fp16 cannot.
    """

    def __init__(self, student: Student, lr: float, is_within: bool) -> None:
        self._parameters = list(student.selected.values())
        self.optimizer = torch.optim.Adam(self._parameters, lr=lr, fused=True)
        is_half = student.dtype == torch.float16
        self.scaler = torch.amp.GradScaler(student.device.type, enabled=is_half)
        self._is_within = is_within and not is_half

    def __call__(self, loss: torch.Tensor) -> torch.Tensor:
        """Move the parameters by a loss, a scalar.

        Returns:
            A scalar on the device, which nothing waits for: finite where the loss was and each
            parameter is. Else nothing of this step may be kept.
        """
        if self._is_within:
            self._step_within(loss)
        else:
            self.scaler.scale(loss).backward()
            self.scaler.step(self.optimizer)
            self.scaler.update()
            self.optimizer.zero_grad(set_to_none=True)
        # The largest value: one number for all of them, finite where each of them is.
        largest = torch.nn.utils.get_total_norm(self._parameters, norm_type=math.inf)
        return largest + loss.detach()

    def _step_within(self, loss: torch.Tensor) -> None:
        (group,) = self.optimizer.param_groups

        def step(parameter: torch.Tensor) -> None:
            group["params"] = [parameter]
            self.optimizer.step()
            parameter.grad = None

        hooks = [each.register_post_accumulate_grad_hook(step) for each in self._parameters]
        try:
            loss.backward()
        finally:
            group["params"] = self._parameters
            for hook in hooks:
                hook.remove()
