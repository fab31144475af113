"""The ESD objective (Gandikota et al. 2023, arXiv 2303.07345); equations only.

    eq. 7    target(x_t, t) = eps*(x_t, t, 0) - eta (eps*(x_t, t, c) - eps*(x_t, t, 0))
    eq. 8    loss = mean (eps(x_t, t, c) - target)^2

    from     target(x_t, t) = eps*(x_t, t, f) - eta (eps*(x_t, t, c) - eps*(x_t, t, 0)),
             and the student is asked with f: erase c from f

eps* is the frozen U-Net, eps the student, c the concept's prompt, 0 the empty prompt. With a
v-prediction model the same holds for v, which is linear in eps at a fixed (x_t, t). All tensors are
(B, 4, h, w).
"""

import torch


def esd_target(
    frozen_from: torch.Tensor, frozen_c: torch.Tensor, frozen_0: torch.Tensor, eta: float
) -> torch.Tensor:
    """The target of eq. 7, in the paper's convention of eta.

    Args:
        frozen_from: eps*(x_t, t, f); without erase-from it is ``frozen_0``.
        frozen_c: eps*(x_t, t, c).
        frozen_0: eps*(x_t, t, 0).
        eta: negative guidance; 0 makes the target unconditional.

    Returns:
        (B, 4, h, w).
    """
    return frozen_from - eta * (frozen_c - frozen_0)


def esd_loss(student: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """eq. 8: the mean squared error over all elements, a scalar."""
    return (student - target).square().mean()


def retain_loss(student_k: torch.Tensor, frozen_k: torch.Tensor) -> torch.Tensor:
    """What keeps a retained concept k: mean (eps(x_t, t, k) - eps*(x_t, t, k))^2, a scalar."""
    return (student_k - frozen_k).square().mean()
